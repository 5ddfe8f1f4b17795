//! `submit`: reads the script, asks, prints the bare id and what will happen.
use super::wait::{let_go, say_bad_ends, until_ended};
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::render;
use crate::say;
use crate::submit::options::{JobOptions, LineOptions};
use crate::submit::process::ProcessFacts;
use crate::submit::script::{self, Script};
use crate::submit::spec::{self, Face};
use crate::submit::{directives, environment};
use base64::Engine;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{SubmitRequest, SubmitResponse};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

/// A request whose answer was lost is sent again for so long; its key makes that safe.
const SEND_AGAIN_FOR: Duration = Duration::from_secs(20);

/// Submit a job script; prints the id, and what will happen
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster submit job.sh sample1.fq.gz           options before the script, arguments after it
  pcluster submit -c 8 --mem 16G -t 2h job.sh    8 CPUs, 16 GB, at most 2 hours
  pcluster submit --array 1-96%8 job.sh          96 tasks, 8 at once; $PCLUSTER_TASK_ID
  J=$(pcluster submit a.sh) && pcluster submit --after-ok $J b.sh
  pcluster submit --estimate job.sh              only say when and for how much

A script can hold its options, in lines before its first command:
  #PCLUSTER --time 2h --mem 16G
#SBATCH lines are read as well. The command line wins over PCLUSTER_SUBMIT_* variables
(PCLUSTER_SUBMIT_TIME=2h), which win over #PCLUSTER lines, which win over #SBATCH lines.")]
pub struct SubmitArgs {
    /// Declared for help and errors; read as words, together with those of the script.
    #[command(flatten)]
    pub job: JobOptions,
    /// A shell command instead of a script
    #[arg(long, value_name = "CMD", conflicts_with = "script", help_heading = "Submitting")]
    pub wrap: Option<String>,
    /// Stream the output, and end with the job's exit code
    #[arg(short = 'W', long, help_heading = "Submitting")]
    pub wait: bool,
    /// Only the id on stdout, and nothing else but errors
    #[arg(long, help_heading = "Submitting")]
    pub parsable: bool,
    /// Only say what would happen
    #[arg(long, help_heading = "Submitting")]
    pub estimate: bool,
    /// Say nothing but the id
    #[arg(short, long, help_heading = "Submitting")]
    pub quiet: bool,
    /// The script and its arguments; `-` reads it from stdin
    #[arg(value_name = "SCRIPT [ARGS]", trailing_var_arg = true)]
    pub script: Vec<String>,
}

/// A request that is ready to go.
#[derive(Debug)]
pub struct Prepared {
    pub request: SubmitRequest,
    pub notes: Vec<String>,
    /// From `--wait` on a line of the script.
    pub wait: bool,
}

/// One reading of all words in the order of their importance: the last one wins.
fn merged(words: &[String], given: &[String]) -> Result<LineOptions, Failure> {
    let all = words.iter().chain(given);
    let matches: ArgMatches = LineOptions::command()
        .try_get_matches_from(all)
        .map_err(|error| Failure::usage(error.to_string()))?;
    LineOptions::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))
}

/// Builds the request of `submit` and `run`.
///
/// # Errors
/// Everything that is wrong with options, script or environment.
pub fn prepare(
    script: Script,
    args: Vec<String>,
    given: &[String],
    facts: &ProcessFacts,
    face: Face,
) -> Result<Prepared, Failure> {
    let text = String::from_utf8_lossy(&script.bytes);
    let found = directives::directives(&text, &script.name)?;
    let mut words = directives::words_in_order(&found, &script.name)?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    words.extend(directives::words_of_variables(variables)?);
    let options = merged(&words, given)?;
    let now = jiff::Zoned::now();
    let (spec, notes) = spec::build(&options.job, &script.name, args, facts, face, &now)?;
    let variables: Vec<(Vec<u8>, Vec<u8>)> =
        std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect();
    let environment =
        environment::records(&variables, options.job.export.as_deref().or(facts.export()))?;
    let base64 = base64::engine::general_purpose::STANDARD;
    let request = SubmitRequest {
        spec,
        script_base64: base64.encode(&script.bytes),
        environment_base64: base64.encode(&environment),
        key: Some(options.job.key.clone().map_or_else(pcluster_client::submit::random_key, Ok)?),
        estimate_only: false,
        face: face.word().to_owned(),
    };
    Ok(Prepared { request, notes, wait: options.wait })
}

/// Sends the request, again if the head went away before it answered.
///
/// # Errors
/// What the head refuses, or a head that does not come back.
pub async fn send(client: &Client, request: &SubmitRequest) -> Result<SubmitResponse, Failure> {
    let began = Instant::now();
    let mut sent = false;
    loop {
        match client.submit(request).await {
            Ok(mut answer) => {
                // Our own second try is not worth telling as a repetition.
                answer.repeated &= !sent;
                return Ok(answer);
            }
            Err(error @ (ClientError::Lost(_) | ClientError::NoHead { .. }))
                if began.elapsed() < SEND_AGAIN_FOR =>
            {
                sent |= matches!(error, ClientError::Lost(_));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn script_of(args: &SubmitArgs) -> Result<Script, Failure> {
    match (&args.wrap, args.script.first()) {
        (Some(command), _) => Ok(script::wrapped(command)),
        (None, Some(path)) => script::read(path),
        (None, None) => Err(Failure::usage("which script?")
            .hint("pcluster submit job.sh")
            .hint("pcluster run -- CMD    runs a command without a script")),
    }
}

/// Options after the script are its arguments, as in sbatch; a likely slip gets a word.
fn misplaced(args: &[String]) -> Option<String> {
    let command = LineOptions::command();
    let known: Vec<String> =
        command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    let slip = args.iter().find(|arg| {
        let name = arg.split('=').next().unwrap_or_default();
        known.iter().any(|known| known == name)
    })?;
    Some(format!("note: {slip} stands after the script, so the script gets it, not the job\n"))
}

/// `submit`.
///
/// # Errors
/// See [`Failure`]; with `--wait` its own trouble is 255.
pub async fn run(
    global: &Global,
    args: &SubmitArgs,
    given: &[String],
    facts: &ProcessFacts,
) -> Outcome {
    let wait = args.wait;
    let outcome = submit(global, args, given, facts).await;
    if wait { outcome.map_err(Failure::own_trouble) } else { outcome }
}

async fn submit(
    global: &Global,
    args: &SubmitArgs,
    given: &[String],
    facts: &ProcessFacts,
) -> Outcome {
    let script = script_of(args)?;
    let rest: Vec<String> = args.script.iter().skip(1).cloned().collect();
    let slip = misplaced(&rest);
    let Prepared { mut request, notes, wait } = prepare(script, rest, given, facts, Face::Submit)?;
    request.estimate_only = args.estimate;
    let is_array = request.spec.array.is_some();
    let head = head(global)?;
    let answer = send(&head.client, &request).await?;
    let silent = args.quiet || args.parsable || global.json;
    if !silent {
        slip.iter().for_each(|slip| say::talk(slip));
        notes.iter().for_each(|note| say::line(format!("note: {note}")));
        say::talk(&render::submit::estimate(&answer, &Look::here()));
    }
    if global.json {
        say::json(&answer)?;
    } else if !args.estimate {
        say::data(&format!("{}\n", answer.job))?;
    }
    if args.estimate || !(args.wait || wait) {
        return Ok(code::DONE);
    }
    let id = answer.job.to_string();
    let ended = async {
        if is_array || global.json {
            until_ended(&head.client, &id).await
        } else {
            super::logs::follow(&head.client, &id).await
        }
    };
    tokio::select! {
        ended = ended => {
            let ended = ended.map_err(Failure::own_trouble)?;
            say_bad_ends(&ended.rows);
            Ok(ended.code)
        }
        _ = tokio::signal::ctrl_c() => Ok(let_go(&id)),
    }
}
