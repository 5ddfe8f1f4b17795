//! The request of `sbatch`, `srun` and `salloc` for a new job, and what the head says to it.
//!
//! Invariant: a request carries a key, so sending it again is safe; a no of the head is said in
//! Slurm's words, with the head's own words as hints. Deliberately absent: what is asked for.
use super::spec::failed;
use crate::refusal::Refusal;
use crate::{Context, ask};
use base64::Engine;
use pcluster_api::client::ClientError;
use pcluster_api::{Problem, ProblemKind, SubmitRequest, SubmitResponse};
use pcluster_client::failure::Failure;
use pcluster_model::JobSpec;

/// So much of the command line is kept; the head takes no more.
const LINE_BYTES: usize = 4096;

/// The command line as one text, as `sacct -o SubmitLine` shows it.
#[must_use]
pub fn line(command: &str, args: &[String]) -> String {
    let mut line = command.to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(arg);
    }
    let most = line.floor_char_boundary(LINE_BYTES);
    line.truncate(most);
    line
}

/// A request that is ready to go. `args` are the words after the command's name.
///
/// # Errors
/// No random number for its key.
pub fn request(
    command: &str,
    args: &[String],
    mut spec: JobSpec,
    script: &[u8],
    environment: &[u8],
) -> Result<SubmitRequest, Refusal> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = pcluster_client::submit::random_key()
        .map_err(|failure| Refusal::error(command, "no random number", 1).because(&failure))?;
    spec.submit_line = line(command, args);
    Ok(SubmitRequest {
        spec,
        script_base64: base64.encode(script),
        environment_base64: base64.encode(environment),
        key: Some(key),
        estimate_only: false,
        face: command.to_owned(),
    })
}

/// Sends it, again while the head is away.
///
/// # Errors
/// What the head refuses, or a head that does not come back.
pub async fn send(
    context: &Context,
    command: &str,
    request: &SubmitRequest,
) -> Result<SubmitResponse, Refusal> {
    let answer = ask::again(context, async |client| client.submit(request).await).await;
    answer.map_err(|trouble| match trouble {
        ask::Trouble::Away(failure) => away(command, &failure),
        ask::Trouble::Refused(ClientError::Problem(problem)) => no(command, &problem, request),
        ask::Trouble::Refused(error) => {
            failed(command, "Unexpected message received").because(&Failure::from(error))
        }
    })
}

/// Nobody answers.
#[must_use]
pub fn away(command: &str, failure: &Failure) -> Refusal {
    let timed_out =
        matches!(failure, Failure::Told { problem, .. } if problem.kind == ProblemKind::Timeout);
    let text = if timed_out {
        "Socket timed out on send/recv operation"
    } else {
        "Unable to contact slurm controller (connect failure)"
    };
    failed(command, text).because(failure)
}

/// The head's no in Slurm's words.
#[must_use]
pub fn no(command: &str, problem: &Problem, request: &SubmitRequest) -> Refusal {
    let before = match problem.word.as_str() {
        "no_pool" => {
            let names: Vec<&str> = request.spec.pools.iter().map(|name| name.as_str()).collect();
            Some(format!("invalid partition specified: {}", names.join(",")))
        }
        "too_large_memory" => Some("Memory specification can not be satisfied".to_owned()),
        _ => None,
    };
    let text = match (problem.word.as_str(), problem.kind) {
        ("no_pool", _) => "Invalid partition name specified",
        ("no_node", _) => "Invalid node name specified",
        ("no_feature", _) => "Invalid feature specification",
        ("too_large" | "too_large_memory" | "too_many_nodes", _) => {
            "Requested node configuration is not available"
        }
        ("max_cost", _) => {
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        }
        ("too_large_gpus", _) => "Invalid generic resource (gres) specification",
        ("time_limit" | "no_limit" | "deadline", _) => {
            "Requested time limit is invalid (missing or exceeds some limit)"
        }
        ("array", _) => "Invalid job array specification",
        ("no_dependency" | "dependency", _) => "Job dependency problem",
        ("circular", _) => "Circular job dependency",
        ("queue_full", _) => "Unable to create job record, try again",
        ("closing", _) => "System submissions disabled",
        (_, ProblemKind::NotAllowed) | ("root" | "priority", _) => "Access/permission denied",
        (_, ProblemKind::Unavailable | ProblemKind::Busy | ProblemKind::Timeout) => {
            "Unable to contact slurm controller (connect failure)"
        }
        _ => problem.message.as_str(),
    };
    let last = failed(command, text);
    let mut refusal = match before {
        Some(before) => {
            let first = Refusal::error(command, before, last.code);
            last.lines.iter().fold(first, Refusal::line)
        }
        None => last,
    };
    if text != problem.message {
        refusal = refusal.hint(problem.message.clone());
    }
    for (label, text) in &problem.facts {
        refusal = refusal.hint(format!("{label} {text}").trim());
    }
    problem.hints.iter().fold(refusal, |refusal, hint| refusal.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: &str, kind: ProblemKind, pools: &[&str]) -> String {
        let mut problem = Problem::new(kind, "what the head says").hint("what helps");
        word.clone_into(&mut problem.word);
        let pools = pools.iter().map(|name| (*name).into()).collect();
        let spec = JobSpec { pools, ..JobSpec::default() };
        let request = request("sbatch", &[], spec, b"", b"").unwrap();
        no("sbatch", &problem, &request).text()
    }

    #[test]
    fn the_line_is_kept_as_far_as_it_goes() {
        let args = ["-n2", "--wrap", "echo 'a b'"].map(str::to_owned);
        let made = request("sbatch", &args, JobSpec::default(), b"", b"").unwrap();
        assert_eq!(made.spec.submit_line, "sbatch -n2 --wrap echo 'a b'");
        let long = line("sbatch", &["é".repeat(5000)]);
        assert_eq!((long.len(), long.ends_with('é')), (4095, true));
    }

    #[test]
    fn a_no_is_said_in_slurms_words() {
        insta::assert_snapshot!(said("no_pool", ProblemKind::NotFound, &["nope"]), @r"
        sbatch: error: invalid partition specified: nope
        sbatch: error: Batch job submission failed: Invalid partition name specified
        hint: what the head says
        hint: what helps
        ");
        insta::assert_snapshot!(said("too_large_memory", ProblemKind::Refused, &[]), @r"
        sbatch: error: Memory specification can not be satisfied
        sbatch: error: Batch job submission failed: Requested node configuration is not available
        hint: what the head says
        hint: what helps
        ");
        insta::assert_snapshot!(said("", ProblemKind::Refused, &[]), @r"
        sbatch: error: Batch job submission failed: what the head says
        hint: what helps
        ");
    }
}
