//! `scontrol update`: `Key=Value` words become a request.
//!
//! Invariant: pure; a key that cannot be changed is named, and nothing is changed then. Deliberately
//! absent: which job or node is meant (`verbs`).
use crate::grammar::{memory, time};
use crate::refusal::Refusal;
use crate::words::hosts;
use jiff::Zoned;
use pcluster_api::UpdateRequest;
use pcluster_client::submit::words;
use pcluster_model::units::format_duration;

/// What an update is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entity {
    Jobs(String),
    /// All jobs of this name.
    JobName(String),
    Nodes(String),
    /// Partitions, reservations and others that a file decides.
    Other(&'static str),
}

/// `Key=Value` words; keys in lower case.
pub(super) fn pairs(words: &[String]) -> Result<Vec<(String, String)>, Refusal> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((key, value)) => found.push((key.to_ascii_lowercase(), value.to_owned())),
            // `scontrol update job 41 …`, and values that people leave blanks in.
            None if found.is_empty() => {
                let value = words.next().cloned().unwrap_or_default();
                found.push((word.to_ascii_lowercase(), value));
            }
            None if word.eq_ignore_ascii_case("nice") => found.push(("nice".into(), String::new())),
            None => return Err(unsupported(word)),
        }
    }
    Ok(found)
}

fn unsupported(word: &str) -> Refusal {
    Refusal::plain(format!("Update of this parameter is not supported: {word}"), 1)
        .line("Request aborted")
}

/// Takes the thing that is meant out of the pairs.
pub(super) fn entity(pairs: &mut Vec<(String, String)>) -> Result<Entity, Refusal> {
    let named = |keys: &[&str]| pairs.iter().position(|(key, _)| keys.contains(&key.as_str()));
    if let Some(at) = named(&["jobid", "job", "jobs"]) {
        return Ok(Entity::Jobs(pairs.remove(at).1));
    }
    if let Some(at) = named(&["nodename", "node"]) {
        return Ok(Entity::Nodes(pairs.remove(at).1));
    }
    let others: [(&[&str], &str); 4] = [
        (&["partitionname", "partition"], "partitions are pools of cluster.toml: pcluster config"),
        (&["reservation", "reservationname"], "there are no reservations here"),
        (&["stepid"], "a step ends with its job; scancel ID.STEP ends one"),
        (&["slurmctlddebug", "frontendname"], "that is an affair of Slurm's own daemons"),
    ];
    // `partition=` alone names one; beside a job it is what changes.
    if let Some((_, why)) = others.iter().find(|(keys, _)| named(keys) == Some(0)) {
        return Ok(Entity::Other(why));
    }
    if let Some(at) = named(&["jobname"]) {
        return Ok(Entity::JobName(pairs.remove(at).1));
    }
    Err(Refusal::plain("No valid entity in update command", 1).line(
        "Input line must include \"NodeName\", \"PartitionName\", \"Reservation\", \"JobId\", or \"SlurmctldDebug\"",
    ))
}

/// What changes of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub request: UpdateRequest,
    /// `TimeLimit=+30`, `-30`: minutes to what the job has.
    pub more_minutes: Option<i64>,
    /// `Priority=0` holds, any other releases.
    pub hold: Option<bool>,
}

/// Reads the keys that are left.
///
/// # Errors
/// A key that cannot be changed, a value that is none.
pub(super) fn changes(pairs: &[(String, String)], now: &Zoned) -> Result<Changes, Refusal> {
    if pairs.is_empty() {
        return Err(Refusal::plain("No changes specified", 1));
    }
    let mut changes = Changes::default();
    for (key, value) in pairs {
        change(&mut changes, key, value, now)?;
    }
    Ok(changes)
}

fn wrong(key: &str) -> Refusal {
    Refusal::error("scontrol", format!("Invalid {key} value"), 1)
}

fn change(changes: &mut Changes, key: &str, value: &str, now: &Zoned) -> Result<(), Refusal> {
    let request = &mut changes.request;
    let text = Some(value.to_owned());
    match key.trim_end_matches(['+', '-']) {
        "timelimit" => return time_limit(changes, key, value),
        "jobname" | "name" => request.name = text,
        "partition" | "partitionname" => request.pool = text,
        "comment" => request.comment = text,
        "account" => request.account = text,
        "qos" => request.qos = text,
        "stdout" => request.output = text,
        "stderr" => request.error = text,
        "workdir" => request.work_dir = text,
        "requeue" => request.requeue = Some(is_yes(value)),
        "oversubscribe" | "shared" => request.exclusive = Some(!is_yes(value)),
        "arraytaskthrottle" => request.throttle = Some(number(value, "ArrayTaskThrottle")?),
        "numtasks" => request.tasks = Some(number(value, "NumTasks")?),
        "numnodes" | "reqnodes" => {
            let least = crate::grammar::number::nodes(value).map_err(|_| wrong("NumNodes"))?.0;
            request.nodes = Some(least);
        }
        "ntaskspernode" => request.tasks_per_node = Some(number(value, "NtasksPerNode")?),
        "cpuspertask" | "cpus/task" => {
            request.cpus_per_task = Some(number(value, "CPUs/Task")?);
        }
        "priority" => {
            let number: i64 = value.parse().map_err(|_| wrong("Priority"))?;
            changes.hold = Some(number == 0);
            request.priority = Some(number).filter(|number| *number > 0);
        }
        "nice" if value.is_empty() => request.priority = Some(-100),
        "nice" => {
            let nice: i64 = value.parse().map_err(|_| wrong("Nice"))?;
            request.priority = Some(nice.saturating_neg());
        }
        _ => return change_rest(request, key, value, now),
    }
    Ok(())
}

/// Keys whose values are small languages.
fn change_rest(
    request: &mut UpdateRequest,
    key: &str,
    value: &str,
    now: &Zoned,
) -> Result<(), Refusal> {
    let size = |name: &str| memory::bytes(value).filter(|b| *b > 0).ok_or_else(|| wrong(name));
    let moment = |name: &str| {
        let at = words::moment(name, value, now).map(|at| at.0);
        at.map_err(|failure| wrong(name).because(&failure))
    };
    let nodes = |text: &str| {
        let list = hosts::expand(text);
        list.ok_or_else(|| Refusal::plain("Invalid node name specified", 1))
    };
    match key {
        "minmemorynode" | "minmemory" => {
            request.memory_bytes_per_node = Some(size("MinMemoryNode")?);
        }
        "minmemorycpu" => request.memory_bytes_per_cpu = Some(size("MinMemoryCPU")?),
        "starttime" | "eligibletime" => request.begin_ms = Some(moment("StartTime")?),
        "deadline" => request.deadline_ms = Some(moment("Deadline")?),
        "features" => {
            let asked = crate::submit::spec::constraint(value).map_err(|hints| {
                let refusal = Refusal::plain("Invalid feature specification", 1);
                hints.into_iter().fold(refusal, Refusal::hint)
            })?;
            request.features = Some(asked.features);
            request.feature_choices = Some(asked.choices);
            request.same_choice = Some(asked.same);
        }
        "reqnodelist" | "nodelist" => request.only_nodes = Some(nodes(value)?),
        "excnodelist" => request.not_nodes = Some(nodes(value)?),
        "gres" | "trespernode" => {
            let part = value.trim_start_matches("gres:").trim_start_matches("gres/");
            let (count, _) =
                words::gres(part).map_err(|failure| wrong("Gres").because(&failure))?;
            request.gpus_per_node = Some(count);
        }
        "dependency" if value.is_empty() => request.dependencies = Some(Vec::new()),
        "dependency" => {
            let (found, any) = words::dependency(value)
                .map_err(|failure| Refusal::plain("Job dependency problem", 1).because(&failure))?;
            request.dependencies = Some(found);
            request.any_dependency = Some(any);
        }
        _ => return Err(unsupported(&format!("{key}={value}"))),
    }
    Ok(())
}

fn is_yes(value: &str) -> bool {
    ["1", "yes", "y", "true"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn number(value: &str, key: &str) -> Result<u32, Refusal> {
    value.parse().map_err(|_| wrong(key))
}

fn time_limit(changes: &mut Changes, key: &str, value: &str) -> Result<(), Refusal> {
    let sign = match (key.chars().last(), value.chars().next()) {
        (Some('+'), _) | (_, Some('+')) => Some(1),
        (Some('-'), _) => Some(-1),
        (_, Some('-')) if value != "-1" => Some(-1),
        _ => None,
    };
    let text = if sign.is_some() { value.trim_start_matches(['+', '-']) } else { value };
    let limit = time::limit(text).ok_or_else(|| wrong("TimeLimit"))?;
    match (sign, limit) {
        (None, limit) => changes.request.time_limit_ms = Some(limit.map_or(0, |span| span.0)),
        (Some(sign), Some(span)) => {
            changes.more_minutes =
                i64::try_from(span.0 / 60_000).ok().map(|minutes| minutes * sign);
        }
        (Some(_), None) => return Err(wrong("TimeLimit")),
    }
    Ok(())
}

/// The limit a job gets by `+30` or `-30`.
///
/// # Errors
/// A job without a limit, or less than a minute left of it.
pub(super) fn moved(limit_ms: Option<u64>, minutes: i64) -> Result<u64, Refusal> {
    let Some(limit) = limit_ms else {
        return Err(Refusal::plain(
            "Requested time limit is invalid (missing or exceeds some limit)",
            1,
        )
        .hint("the job has no limit: TimeLimit=2:00:00 gives it one"));
    };
    let span = minutes.unsigned_abs().saturating_mul(60_000);
    let new = if minutes < 0 { limit.saturating_sub(span) } else { limit.saturating_add(span) };
    if new < 60_000 {
        let had = format_duration(pcluster_model::DurationMs(limit));
        return Err(wrong("TimeLimit").hint(format!("the job's limit is {had}")));
    }
    Ok(new)
}
