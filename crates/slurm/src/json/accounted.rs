//! A job of `sacct --json`.
use super::{exit, infinite, joined, number, object, seconds};
use crate::accounting::sacct::rows::{Part, Row, step_exit};
use crate::accounting::used;
use crate::words::{State, hosts, job, size, state};
use pcluster_api::{JobRecord, MostOfTask, StepRecord};
use serde_json::{Map, Value, json};

/// A job by its rows: its own first, then those of its script and steps.
#[must_use]
pub fn job(rows: &[Row]) -> Value {
    let Some(own) = rows.first() else { return json!({}) };
    let steps: Vec<Value> = rows.iter().filter_map(step).collect();
    joined([
        who(&own.job, own),
        times(own),
        resources(own),
        nothing(),
        object([("steps", json!(steps))]),
    ])
}

fn by(r: &JobRecord) -> String {
    let uid = r.outcome.as_ref().and_then(|outcome| outcome.by_uid);
    match uid {
        Some(uid) if uid == r.uid => r.user.clone(),
        Some(0) => "root".to_owned(),
        Some(uid) => uid.to_string(),
        None => String::new(),
    }
}

fn who(r: &JobRecord, row: &Row) -> Map<String, Value> {
    let state = State::in_accounting(r);
    let highest = r.steps.iter().filter_map(|step| step.exit_code).max().unwrap_or(0);
    let array = json!({
        "job_id": if r.array { r.job } else { 0 },
        "limits": { "max": { "running": { "tasks": r.throttle.unwrap_or(0) } } },
        "task_id": number(r.task.map(u64::from)),
        "task": r.tasks.clone().unwrap_or_default(),
    });
    let association = json!({
        "account": r.account,
        "cluster": row.setting.view.cluster,
        "partition": "",
        "user": r.user,
    });
    let reason = if job::waits(r) { state::reason(r) } else { "None" };
    object([
        ("account", json!(r.account)),
        ("array", array),
        ("association", association),
        ("cluster", json!(row.setting.view.cluster)),
        ("comment", json!({ "administrator": "", "job": r.comment, "system": "" })),
        ("constraints", json!(job::features(r))),
        ("submit_line", json!(r.submit_line)),
        ("derived_exit_code", exit(state.is_end(), (highest, 0))),
        ("exit_code", exit(state.is_end(), state::exit_in_accounting(r))),
        ("flags", json!([])),
        ("group", json!(r.group)),
        ("hold", json!(r.held_by.is_some())),
        ("job_id", json!(r.raw_job)),
        ("kill_request_user", json!(by(r))),
        ("name", json!(r.name)),
        ("partition", json!(r.pool)),
        ("priority", number(Some(job::priority(r).into()))),
        ("qos", json!(job::qos(r))),
        ("state", json!({ "current": [state.long()], "reason": reason })),
        ("user", json!(r.user)),
        ("wckey", json!({ "wckey": "", "flags": [] })),
        ("working_directory", json!(r.work_dir)),
    ])
}

fn cpu_time(ms: u64) -> Value {
    json!({ "seconds": ms / 1000, "microseconds": ms % 1000 * 1000 })
}

fn times(row: &Row) -> Map<String, Value> {
    let (user, system) = row.cpu_ms();
    let limit = job::limit_seconds(&row.job).and_then(|seconds| u64::try_from(seconds / 60).ok());
    let time = json!({
        "elapsed": row.elapsed(),
        "eligible": seconds(job::eligible_ms(&row.job)),
        "end": seconds(row.end_ms()),
        "start": seconds(row.start_ms()),
        "submission": seconds(Some(row.job.submitted_at_ms)),
        "suspended": 0,
        "limit": limit.map_or_else(infinite, |minutes| number(Some(minutes))),
        "system": cpu_time(system),
        "total": cpu_time(user + system),
        "user": cpu_time(user),
    });
    object([("time", time)])
}

fn tres(kind: &str, name: &str, id: u32, count: u64) -> Value {
    json!({ "type": kind, "name": name, "id": id, "count": count })
}

/// An amount with the task that has it.
fn tres_of_task(kind: &str, id: u32, most: &MostOfTask) -> Value {
    let mut value = tres(kind, "", id, most.amount);
    value["node"] = json!(most.node);
    value["task"] = json!(most.task);
    value
}

/// What the tasks used: the largest, the least, their average and their sum, as far as it is known.
fn used_by_tasks(row: &Row, cpu_ms: u64) -> Value {
    let Some(usage) = used::measured(row) else {
        let most: Vec<Value> =
            row.max_rss().into_iter().map(|bytes| tres("mem", "", 2, bytes)).collect();
        return json!({
            "max": most, "min": [], "average": [], "total": [tres("cpu", "", 1, cpu_ms)],
        });
    };
    let tasks = u64::from(usage.tasks.max(1));
    let sums = |cpu: u64, memory: u64| [tres("cpu", "", 1, cpu), tres("mem", "", 2, memory)];
    json!({
        "max": [tres_of_task("mem", 2, &usage.max_rss_bytes)],
        "min": [tres_of_task("cpu", 1, &usage.min_cpu_ms)],
        "average": sums(cpu_ms / tasks, usage.rss_bytes / tasks),
        "total": sums(cpu_ms, usage.rss_bytes),
    })
}

fn resources(row: &Row) -> Map<String, Value> {
    let r = &row.job;
    let (memory, per_cpu) = job::least_memory(r);
    let memory = Some(size::mebibytes(memory));
    let nodes =
        if r.node_names.is_empty() { "None assigned".to_owned() } else { job::node_list(r) };
    let all = |cpus: u64, bytes: u64, nodes: u64| {
        let mut all = vec![
            tres("cpu", "", 1, cpus),
            tres("mem", "", 2, size::mebibytes(bytes)),
            tres("node", "", 4, nodes),
            tres("billing", "", 5, cpus),
        ];
        if r.gpus_per_node > 0 {
            all.push(tres("gres", "gpu", 1001, job::gpus(r)));
        }
        all
    };
    let held = match r.node_names.len() {
        0 => Vec::new(),
        count => all(job::cpus(r), job::memory(r), count as u64),
    };
    let asked = all(job::asked_cpus(r), job::memory(r), r.nodes.into());
    object([
        ("allocation_nodes", json!(r.node_names.len())),
        ("nodes", json!(nodes)),
        (
            "required",
            json!({
                "CPUs": job::asked_cpus(r),
                "memory_per_cpu": number(memory.filter(|_| per_cpu)),
                "memory_per_node": number(memory.filter(|_| !per_cpu)),
            }),
        ),
        ("tres", json!({ "allocated": held, "requested": asked })),
    ])
}

fn nothing() -> Map<String, Value> {
    let empty = ["block", "container", "extra", "failed_node", "licenses", "script"];
    let mut all: Map<String, Value> =
        empty.into_iter().map(|name| (name.to_owned(), json!(""))).collect();
    all.extend(object([
        ("het", json!({ "job_id": 0, "job_offset": number(None) })),
        ("mcs", json!({ "label": "" })),
        ("reservation", json!({ "id": 0, "name": "" })),
    ]));
    all
}

fn step(row: &Row) -> Option<Value> {
    let record: Option<&StepRecord> = match &row.part {
        Part::Job => return None,
        Part::Batch => None,
        Part::Step(step) => Some(step),
    };
    let ended = row.job.ended_at_ms.is_some() || record.is_some_and(|s| s.ended_at_ms.is_some());
    let code = match record {
        Some(step) => step_exit(step),
        None => {
            let (_, code, signal) = state::batch_end(&row.job);
            (code, signal)
        }
    };
    let (user, system) = row.cpu_ms();
    Some(json!({
        "exit_code": exit(ended, code),
        "kill_request_user": "",
        "nodes": {
            "count": row.nodes().len(),
            "range": hosts::fold_sorted(row.nodes()),
            "list": row.nodes(),
        },
        "pid": "",
        "CPU": { "requested_frequency": { "min": number(None), "max": number(None) }, "governor": "0" },
        "state": [row.state()],
        "statistics": { "CPU": { "actual_frequency": 0 }, "energy": { "consumed": number(Some(0)) } },
        "step": { "id": row.id(), "name": row.name() },
        "task": { "distribution": "Unknown" },
        "tasks": { "count": row.tasks() },
        "time": {
            "elapsed": row.elapsed(),
            "start": number(Some(seconds(row.start_ms()))),
            "end": number(row.end_ms().map(|end| seconds(Some(end)))),
            "suspended": 0,
            "system": cpu_time(system),
            "total": cpu_time(user + system),
            "user": cpu_time(user),
        },
        "tres": {
            "requested": used_by_tasks(row, user + system),
            "consumed": { "max": [], "min": [], "average": [], "total": [] },
            "allocated": [tres("cpu", "", 1, row.cpus()), tres("node", "", 4, row.nodes().len() as u64)],
        },
    }))
}
