//! `cancel`, `hold`, `release`, `requeue`, `rerun`, `update`: what changes jobs.
use super::job_id;
use crate::cluster::{Global, Head, head};
use crate::failure::{Failure, Outcome, code};
use crate::say;
use crate::submit::{spec, words};
use clap::Args;
use pcluster_api::client::ClientError;
use pcluster_api::{ActionResponse, CancelRequest, UpdateRequest};
use pcluster_model::units::parse_time_limit;
use pcluster_model::{Dependency, DependencyKind, SignalScope};
use serde::Serialize;

/// Cancel jobs, or send them a signal
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster cancel 42               end it; what waits leaves the queue
  pcluster cancel 41_3 41_[5-8]    only these tasks of an array
  pcluster cancel -s USR1 42       send a signal and let it go on")]
pub struct CancelArgs {
    #[arg(value_name = "JOB", required = true)]
    pub ids: Vec<String>,
    /// Send this signal instead: USR1, TERM, 10
    #[arg(short, long, value_name = "SIG")]
    pub signal: Option<String>,
    /// Only to the batch shell
    #[arg(short, long, requires = "signal")]
    pub batch: bool,
}

/// Keep waiting jobs from starting
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster hold 42         it waits until it is released
  pcluster release 42      let it start again")]
pub struct HoldArgs {
    #[arg(value_name = "JOB", required = true)]
    pub ids: Vec<String>,
}

/// Let held jobs start
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster release 42
  pcluster release 41_3        one task of an array
  pcluster submit -H job.sh    submits a job that waits for its release")]
pub struct ReleaseArgs {
    #[arg(value_name = "JOB", required = true)]
    pub ids: Vec<String>,
}

/// Stop running jobs and put them back into the queue
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster requeue 42      it starts again from the beginning
  pcluster requeue 41_3    one task of an array")]
pub struct RequeueArgs {
    #[arg(value_name = "JOB", required = true)]
    pub ids: Vec<String>,
}

/// Submit the failed tasks of an ended job once more, as a new job
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster rerun --failed 39             prints the id of the new job
  pcluster update 47 --after-ok ID       lets a dependent job wait for it")]
pub struct RerunArgs {
    /// The tasks that did not end well
    #[arg(long, required = true)]
    pub failed: bool,
    #[arg(value_name = "JOB")]
    pub id: String,
}

/// Change a job that waits; a running job's time limit, too
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster update 42 --mem 12G           ask for less, start sooner
  pcluster update 42 --time 4h           also while it runs
  pcluster update 47 --after-ok 48       wait for another job
  pcluster update 41_3 --mem 12G         one task of an array asks for more
  pcluster update 41 --throttle 8        tasks of an array at once")]
pub struct UpdateArgs {
    #[arg(value_name = "JOB")]
    pub id: String,
    #[arg(short = 'J', long, value_name = "NAME")]
    pub job_name: Option<String>,
    /// Memory on each node
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    #[arg(short = 'c', long, value_name = "N")]
    pub cpus_per_task: Option<u32>,
    /// Time limit
    #[arg(short, long, value_name = "TIME")]
    pub time: Option<String>,
    #[arg(short = 'p', long = "partition", visible_alias = "pool", value_name = "POOL")]
    pub partition: Option<String>,
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i64>,
    /// In Slurm's words; replaces all dependencies; `none` removes them
    #[arg(short, long, value_name = "WORDS")]
    pub dependency: Option<String>,
    /// Start after these have ended, however they ended; replaces all dependencies
    #[arg(long, value_name = "ID,…")]
    pub after: Vec<String>,
    /// Start after these have ended well
    #[arg(long, value_name = "ID,…")]
    pub after_ok: Vec<String>,
    /// Start after these have failed
    #[arg(long, value_name = "ID,…")]
    pub after_notok: Vec<String>,
    /// Start after these have started
    #[arg(long, value_name = "ID,…")]
    pub after_start: Vec<String>,
    /// Tasks of an array at once; 0 is no limit
    #[arg(long, value_name = "N")]
    pub throttle: Option<u32>,
    /// Put back when its node is lost
    #[arg(long, conflicts_with = "no_requeue")]
    pub requeue: bool,
    /// Never run a second time
    #[arg(long)]
    pub no_requeue: bool,
    /// Spot machines: yes (first), no, only
    #[arg(long, value_name = "yes|no|only")]
    pub spot: Option<String>,
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
}

#[derive(Serialize)]
struct Actions<'a> {
    schema: &'static str,
    results: &'a [ActionResponse],
}

/// Asks for each id in turn; a failure of one does not keep the others from being asked.
async fn each<F>(global: &Global, ids: &[String], ask: F) -> Outcome
where
    F: AsyncFn(&Head, &str) -> Result<ActionResponse, ClientError>,
{
    let ids = ids.iter().map(|id| job_id(id)).collect::<Result<Vec<_>, _>>()?;
    let head = head(global)?;
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for id in &ids {
        match ask(&head, id).await {
            Ok(result) => {
                if !global.json {
                    say::line(&result.said);
                }
                results.push(result);
            }
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    if global.json {
        say::json(&Actions { schema: "pcluster.actions/1", results: &results })?;
    }
    let last = failures.pop();
    for failure in failures {
        say::talk(&failure.render(crate::look::Look::here().width));
    }
    last.map_or(Ok(code::DONE), Err)
}

/// `cancel`.
///
/// # Errors
/// See [`Failure`].
pub async fn cancel(global: &Global, args: &CancelArgs) -> Outcome {
    let signal = args.signal.as_deref().map(|text| words::signal("--signal", text)).transpose()?;
    let scope = if args.batch { SignalScope::Batch } else { SignalScope::All };
    let request = CancelRequest { signal: signal.map(|signal| signal.0), scope };
    each(global, &args.ids, async |head: &Head, id: &str| head.client.cancel(id, &request).await)
        .await
}

/// `hold`, `release`, `requeue`.
///
/// # Errors
/// See [`Failure`].
pub async fn simple(global: &Global, ids: &[String], verb: &'static str) -> Outcome {
    each(global, ids, async |head: &Head, id: &str| head.client.act_on_job(id, verb).await).await
}

/// `rerun --failed`: the new job's id is the data.
///
/// # Errors
/// See [`Failure`].
pub async fn rerun(global: &Global, args: &RerunArgs) -> Outcome {
    let id = job_id(&args.id)?;
    let answer = head(global)?.client.act_on_job(&id, "rerun").await?;
    if global.json {
        say::json(&answer)?;
        return Ok(code::DONE);
    }
    say::line(&answer.said);
    say::line(format!("hint: pcluster queue {0}   pcluster wait {0}", answer.job));
    say::data(&format!("{}\n", answer.job))?;
    Ok(code::DONE)
}

fn new_dependencies(args: &UpdateArgs) -> Result<Option<Vec<Dependency>>, Failure> {
    let ours = [
        ("--after", DependencyKind::AfterAny, &args.after),
        ("--after-ok", DependencyKind::AfterOk, &args.after_ok),
        ("--after-notok", DependencyKind::AfterNotOk, &args.after_notok),
        ("--after-start", DependencyKind::After, &args.after_start),
    ];
    let given = args.dependency.is_some() || ours.iter().any(|(_, _, texts)| !texts.is_empty());
    if !given {
        return Ok(None);
    }
    let mut found = match args.dependency.as_deref().map(str::trim) {
        None | Some("" | "none") => Vec::new(),
        Some(text) => match words::dependency(text)? {
            (found, false) => found,
            (_, true) => {
                return Err(Failure::refused("`?` cannot be set by an update")
                    .hint("cancel the job and submit it again"));
            }
        },
    };
    for (option, kind, texts) in ours {
        found.extend(words::after(option, kind, texts)?);
    }
    Ok(Some(found))
}

/// `update`.
///
/// # Errors
/// See [`Failure`].
pub async fn update(global: &Global, args: &UpdateArgs) -> Outcome {
    let time_limit_ms = match &args.time {
        None => None,
        Some(text) => {
            let limit =
                parse_time_limit(text).map_err(|e| Failure::usage(format!("--time: {e}")))?;
            Some(limit.map_or(0, |limit| limit.0))
        }
    };
    let requeue = match (args.requeue, args.no_requeue) {
        (false, false) => None,
        (requeue, _) => Some(requeue),
    };
    let request = UpdateRequest {
        name: args.job_name.clone(),
        memory_bytes_per_node: args
            .mem
            .as_deref()
            .map(|text| spec::memory_bytes("--mem", text))
            .transpose()?,
        cpus_per_task: args.cpus_per_task,
        time_limit_ms,
        pool: args.partition.clone(),
        priority: args.priority,
        dependencies: new_dependencies(args)?,
        throttle: args.throttle,
        requeue,
        spot: args.spot.as_deref().map(words::spot).transpose()?,
        comment: args.comment.clone(),
        ..UpdateRequest::default()
    };
    if request_is_empty(&request) {
        return Err(Failure::usage("nothing to change").hint("pcluster update 42 --time 4h"));
    }
    let ids = [args.id.clone()];
    each(global, &ids, async |head: &Head, id: &str| head.client.update(id, &request).await).await
}

fn request_is_empty(request: &UpdateRequest) -> bool {
    let value = serde_json::to_value(request).unwrap_or_default();
    value.as_object().is_some_and(|fields| fields.values().all(serde_json::Value::is_null))
}
