//! `--json`: the answers of `squeue`, `sinfo`, `sacct` and `scontrol show` as data, in the shape of
//! Slurm 23.11 (`data_parser/v0.0.40`).
//!
//! Invariant: a number that may be absent is `{set, infinite, number}`, times are seconds since the
//! epoch, memory is mebibytes. What there is nothing of here is empty, never left out. Deliberately
//! absent: reading JSON.
mod accounted;
mod job;
mod place;

pub use accounted::job as accounted_job;
pub use job::{job, step};
pub use place::{group, node, partition};

use serde_json::{Map, Value, json};

/// Fields as an object.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Several objects as one.
fn joined<const N: usize>(parts: [Map<String, Value>; N]) -> Value {
    let mut all = Map::new();
    for part in parts {
        all.extend(part);
    }
    Value::Object(all)
}

/// `{set, infinite, number}`.
fn number(value: Option<u64>) -> Value {
    json!({ "set": value.is_some(), "infinite": false, "number": value.unwrap_or(0) })
}

/// No limit.
fn infinite() -> Value {
    json!({ "set": false, "infinite": true, "number": 0 })
}

/// Whole seconds since the epoch; 0 where there is no such moment.
fn seconds(at_ms: Option<i64>) -> u64 {
    at_ms.and_then(|at| u64::try_from(at.div_euclid(1000)).ok()).unwrap_or(0)
}

/// A moment as a number that may be absent; absent is 0 and set, as in Slurm.
fn moment(at_ms: Option<i64>) -> Value {
    number(Some(seconds(at_ms)))
}

/// Exit code and signal.
fn exit(ended: bool, (code, signal): (i32, i32)) -> Value {
    let status = match (ended, code, signal) {
        (false, ..) => "PENDING",
        (true, 0, 0) => "SUCCESS",
        (true, _, 0) => "ERROR",
        (true, ..) => "SIGNALED",
    };
    let positive = |value: i32| u64::try_from(value).unwrap_or(0);
    json!({
        "status": [status],
        "return_code": number(ended.then(|| positive(code))),
        "signal": {
            "id": number((signal != 0).then(|| positive(signal))),
            "name": signal_name(signal),
        },
    })
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        6 => "ABRT",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        15 => "TERM",
        _ => "",
    }
}

/// The whole answer: `key` with its values, what else stands beside it, and who made it.
#[must_use]
pub fn answer(cluster: &str, command: &[String], parts: Vec<(&str, Value)>) -> String {
    let release = crate::queue::sinfo::version();
    let mut numbers = release.split('.');
    let mut part = || numbers.next().unwrap_or("0").trim_start_matches('0').to_owned();
    let (major, minor, micro) = (part(), part(), part());
    let whole = |text: &str| text.parse::<u64>().unwrap_or(0);
    // Both spellings: before 23.11 it was `Slurm`, with numbers.
    let meta = json!({
        "plugin": {
            "type": "",
            "name": "",
            "data_parser": "data_parser/v0.0.40",
            "accounting_storage": "accounting_storage/slurmdbd",
        },
        "client": { "source": "", "user": "", "group": "" },
        "command": command,
        "slurm": {
            "version": { "major": major, "micro": micro, "minor": minor },
            "release": release,
            "cluster": cluster,
        },
        "Slurm": {
            "version": {
                "major": whole(&major), "micro": whole(&micro), "minor": whole(&minor),
            },
            "release": release,
        },
    });
    let mut all: Map<String, Value> =
        parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.insert("meta".to_owned(), meta);
    all.insert("errors".to_owned(), json!([]));
    all.insert("warnings".to_owned(), json!([]));
    format!("{:#}\n", Value::Object(all))
}

#[cfg(test)]
mod tests;
