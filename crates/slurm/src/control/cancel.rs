//! `scancel`: ends jobs, or sends signals.
//!
//! Invariant: an id that has ended or never was is no error, and silent without `-v`, because
//! clients cancel what they no longer know about. Deliberately absent: filters (`pick`).
use super::pick::{Filters, asked, id_of, ids};
use super::said::{is_over, trouble_words};
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::jobid::{JobId, StepId};
use crate::{Context, ask, people};
use pcluster_api::{CancelRequest, JobRecord, RecordsQuery};
use pcluster_client::say;
use pcluster_client::submit::words::signal;
use pcluster_model::SignalScope;
use std::io::Write;

/// Variables of `scancel`, and the options that they are.
pub(super) const VARIABLES: [(&str, &str); 13] = [
    ("SCANCEL_ACCOUNT", "account"),
    ("SCANCEL_BATCH", "batch"),
    ("SCANCEL_CTLD", "ctld"),
    ("SCANCEL_FULL", "full"),
    ("SCANCEL_HURRY", "hurry"),
    ("SCANCEL_INTERACTIVE", "interactive"),
    ("SCANCEL_NAME", "name"),
    ("SCANCEL_PARTITION", "partition"),
    ("SCANCEL_QOS", "qos"),
    ("SCANCEL_STATE", "state"),
    ("SCANCEL_USER", "user"),
    ("SCANCEL_VERBOSE", "verbose"),
    ("SCANCEL_WCKEY", "wckey"),
];

const COMMAND: &str = "scancel";
const KILL: i32 = 9;

/// One thing to end or to signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// As the head reads it, without the step.
    pub id: String,
    pub step: Option<StepId>,
    /// Name and pool, for `-i`.
    pub about: Option<(String, String)>,
}

/// What is sent: nothing ends the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct What {
    pub signal: Option<i32>,
    pub scope: SignalScope,
}

/// Reads what is sent to each target.
pub(super) fn what(words: &Words) -> Result<What, Refusal> {
    let number = match words.value("signal") {
        None => KILL,
        Some(text) => {
            let known = signal("--signal", text).map(|signal| signal.0);
            known.map_err(|_| Refusal::plain(format!("Unknown job signal: {text}"), 1))?
        }
    };
    let scope = match (words.has("batch"), words.has("full")) {
        (true, _) => SignalScope::Batch,
        (false, true) => SignalScope::All,
        (false, false) => SignalScope::Steps,
    };
    // KILL to all of a job is its end; to its shell only it is a signal like any other.
    let ends = number == KILL && scope != SignalScope::Batch;
    Ok(What { signal: (!ends).then_some(number), scope })
}

/// Does it all.
pub(super) async fn run(words: &Words, context: &Context) -> Result<u8, Refusal> {
    let what = what(words)?;
    let ids = ids(&words.rest)?;
    let filters = Filters::of(words, &me())?;
    if ids.is_empty() && filters.are_none() {
        return Err(Refusal::error(COMMAND, "No job identification provided", 1)
            .hint("scancel ID ends a job, scancel --me all of yours"));
    }
    let interactive = words.has("interactive");
    let targets: Vec<Target> = if filters.are_none() && !interactive {
        ids.iter().map(|id| Target { id: asked(id), step: id.step, about: None }).collect()
    } else {
        picked(&ids, &filters, context).await?
    };
    let mut code = 0;
    for target in &targets {
        if interactive && !confirmed(target) {
            continue;
        }
        if words.has("verbose") {
            say::line(doing(target, what));
        }
        code = code.max(one(target, what, words, context).await);
    }
    Ok(code)
}

fn me() -> String {
    // Ids of users are as good as names for the filters.
    rustix::process::getuid().as_raw().to_string()
}

/// The living jobs that the filters mean, among `ids` where some are named.
async fn picked(
    ids: &[JobId],
    filters: &Filters,
    context: &Context,
) -> Result<Vec<Target>, Refusal> {
    let named: Vec<String> = ids.iter().map(JobId::asked).collect();
    let query = RecordsQuery {
        ids: (!named.is_empty()).then(|| named.join(",")),
        ..RecordsQuery::default()
    };
    let list = ask::records(context, COMMAND, &query).await?;
    if let Some(name) = people::nobodies(&filters.users, &list.records).first() {
        return Err(Refusal::error(COMMAND, format!("Invalid user name: {name}"), 1));
    }
    let meant = |record: &&JobRecord| filters.hold(record);
    let target = |record: &JobRecord, step| Target {
        id: id_of(record),
        step,
        about: Some((record.name.clone(), record.pool.clone())),
    };
    if ids.is_empty() {
        return Ok(list.records.iter().filter(meant).map(|record| target(record, None)).collect());
    }
    let mut targets = Vec::new();
    for id in ids {
        for record in list.records.iter().filter(meant) {
            targets.extend(id.part_of(record).iter().map(|record| target(record, id.step)));
        }
    }
    Ok(targets)
}

fn shown(target: &Target) -> String {
    match target.step {
        None => target.id.clone(),
        Some(StepId::Batch) => format!("{}.batch", target.id),
        Some(StepId::Extern) => format!("{}.extern", target.id),
        Some(StepId::Interactive) => format!("{}.interactive", target.id),
        Some(StepId::Number(step)) => format!("{}.{step}", target.id),
    }
}

/// The line of `-v`.
pub(super) fn doing(target: &Target, what: What) -> String {
    let thing = if target.step.is_some() { "step" } else { "job" };
    let id = shown(target);
    match (what.signal, what.scope) {
        (None, _) => format!("scancel: Terminating {thing} {id}"),
        (Some(signal), SignalScope::Batch) => format!("scancel: Signal {signal} to batch job {id}"),
        (Some(signal), SignalScope::All) => {
            format!("scancel: Signal {signal} to full {thing} {id}")
        }
        (Some(signal), _) => format!("scancel: Signal {signal} to {thing} {id}"),
    }
}

fn confirmed(target: &Target) -> bool {
    let (name, pool) = target.about.clone().unwrap_or_default();
    let question = format!("Cancel job_id={} name={name} partition={pool} [y/n]? ", shown(target));
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(pcluster_client::text::clean(&question).as_bytes());
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && answer.trim_start().starts_with(['y', 'Y'])
}

/// One target; the exit code.
async fn one(target: &Target, what: What, words: &Words, context: &Context) -> u8 {
    let scope = match target.step {
        Some(StepId::Batch) => SignalScope::Batch,
        _ => what.scope,
    };
    let signal = match (target.step, what.signal) {
        (Some(_), None) => Some(KILL),
        (_, signal) => signal,
    };
    let done = match target.step {
        Some(StepId::Number(step)) => {
            let number = signal.unwrap_or(KILL);
            super::verbs::signal_step(context, &target.id, step, number).await
        }
        // There is nothing in these to end.
        Some(StepId::Extern | StepId::Interactive) => return 0,
        Some(StepId::Batch) | None => {
            let request = CancelRequest { signal, scope };
            let sent =
                ask::again(context, async |client| client.cancel(&target.id, &request).await);
            sent.await.map(|_| ())
        }
    };
    let Err(trouble) = done else { return 0 };
    let over = is_over(&trouble);
    if over && !words.has("verbose") {
        return 0;
    }
    let (text, hints) = trouble_words(&trouble);
    let text = if text == "Job has already finished" {
        "Job/step already completing or completed"
    } else {
        text
    };
    if !(over && words.has("quiet")) {
        let thing = if target.step.is_some() { "job step" } else { "job" };
        let error = format!("Kill {thing} error on job id {}: {text}", target.id);
        let refusal = Refusal::error(COMMAND, error, 1);
        let hints = if over { Vec::new() } else { hints };
        let _ = hints.into_iter().fold(refusal, Refusal::hint).tell();
    }
    u8::from(!over)
}
