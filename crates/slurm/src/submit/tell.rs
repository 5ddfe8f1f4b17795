//! What `sbatch` says of a new job: the id, its options, missing directories; and `--wait`.
use super::spec::without_effect;
use crate::options::{Origin, Words};
use crate::refusal::Refusal;
use crate::{Context, ask};
use pcluster_api::client::ClientError;
use pcluster_api::{RecordsQuery, WaitResponse};
use pcluster_model::JobSpec;
use std::path::Path;
use std::time::Duration;

/// One long poll of `--wait`.
const POLL: Duration = Duration::from_secs(50);

/// As `sbatch` does, a `--quiet` in the script is read too late to matter.
pub(super) fn is_quiet(words: &Words) -> bool {
    words.last("quiet").is_some_and(|said| !matches!(said.origin, Origin::Script { .. }))
}

/// All that stdout gets to hear of a new job; with `--quiet` not even the bare id.
pub(super) fn submitted(job: u64, cluster: Option<&str>, words: &Words) -> String {
    match (words.has("parsable"), cluster) {
        _ if is_quiet(words) => String::new(),
        (true, None) => format!("{job}\n"),
        (true, Some(cluster)) => format!("{job};{cluster}\n"),
        (false, None) => format!("Submitted batch job {job}\n"),
        (false, Some(cluster)) => format!("Submitted batch job {job} on cluster {cluster}\n"),
    }
}

/// `-v`: the options that count, and those without effect.
pub(super) fn defined(words: &Words) -> String {
    let mut shown: Vec<(&str, String)> = Vec::new();
    for said in &words.said {
        let name = said.option.name;
        let value = match &said.value {
            Some(value) => value.clone(),
            None if matches!(name, "verbose" | "quiet") => words.count(name).to_string(),
            None => "set".to_owned(),
        };
        shown.retain(|(name, _)| *name != said.option.name);
        shown.push((said.option.name, value));
    }
    shown.sort();
    let rule = "sbatch: -------------------- --------------------\n";
    let mut out = format!("sbatch: defined options\n{rule}");
    for (name, value) in &shown {
        out.push_str(&format!("sbatch: {name:<20}: {value}\n"));
    }
    out.push_str(&format!("{rule}sbatch: end of defined options\n"));
    let mut silent = without_effect(words, "sbatch");
    silent.dedup();
    for line in silent {
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// Directories of the output files that are not there yet: an earlier job may make them.
pub(super) fn missing_directories(spec: &JobSpec) -> Vec<String> {
    let paths = [("--output", Some(&spec.output)), ("--error", spec.error.as_ref())];
    let missing = paths.into_iter().filter_map(|(option, path)| {
        let folder = Path::new(&spec.work_dir).join(path?).parent()?.to_path_buf();
        let shown = folder.to_string_lossy().into_owned();
        // A name that is made when the job starts cannot be looked up now.
        (!shown.contains('%') && !folder.is_dir()).then(|| {
            format!(
                "sbatch: warning: the directory {shown} of {option} does not exist; \
                 the job fails unless it is made before the job starts"
            )
        })
    });
    missing.collect()
}

/// Waits for the end; the job's exit code, 1 for every other bad end.
pub(super) async fn wait(context: &Context, job: u64) -> Result<u8, Refusal> {
    let id = job.to_string();
    loop {
        let asked = ask::again(context, async |client| client.wait(&id, POLL).await).await;
        match asked {
            Ok(WaitResponse { ended: false, .. }) => {}
            Ok(WaitResponse { ended: true, .. }) => break,
            // A head that is away is waited for: the job goes on.
            Err(ask::Trouble::Away(_)) => {}
            Err(ask::Trouble::Refused(ClientError::Problem(problem))) => {
                return Err(Refusal::error("sbatch", problem.message, 1));
            }
            Err(ask::Trouble::Refused(error)) => {
                return Err(Refusal::error("sbatch", error.to_string(), 1));
            }
        }
    }
    let query = RecordsQuery { ids: Some(id), ended: true, ..RecordsQuery::default() };
    let list = ask::records(context, "sbatch", &query).await?;
    let codes = list.records.iter().filter_map(|record| record.outcome.as_ref()).map(|outcome| {
        match (outcome.word.as_str(), outcome.exit_code) {
            ("completed", _) => 0,
            ("failed", Some(code)) => u8::try_from(code & 0xff).unwrap_or(1).max(1),
            _ => 1,
        }
    });
    Ok(codes.max().unwrap_or(1))
}
