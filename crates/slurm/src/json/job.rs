//! A job of `squeue --json` and `scontrol show job --json`, and a step of it.
use super::{exit, infinite, joined, moment, number, object, seconds};
use crate::queue::squeue::{View, is_batch};
use crate::words::{State, hosts, job, size, state};
use pcluster_api::{JobRecord, StepRecord};
use serde_json::{Map, Value, json};

/// A job.
#[must_use]
pub fn job(r: &JobRecord, view: &View) -> Value {
    joined([
        who(r, view),
        array(r),
        asked(r),
        held(r),
        times(r),
        files(r, view),
        nothing(),
        unused(),
    ])
}

fn text(text: Option<String>) -> Value {
    json!(text.unwrap_or_default())
}

fn who(r: &JobRecord, view: &View) -> Map<String, Value> {
    let highest = r.steps.iter().filter_map(|step| step.exit_code).max().unwrap_or(0);
    let state = State::of(r);
    object([
        ("account", json!(r.account)),
        ("cluster", json!(view.cluster)),
        ("comment", json!(r.comment)),
        ("job_id", json!(r.raw_job)),
        ("name", json!(r.name)),
        ("user_id", json!(r.uid)),
        ("user_name", json!(r.user)),
        ("group_id", json!(r.gid)),
        ("group_name", json!(r.group)),
        ("partition", json!(r.pool)),
        ("qos", json!(job::qos(r))),
        ("priority", number(Some(job::priority(r).into()))),
        ("nice", json!(job::nice(r))),
        ("hold", json!(r.held_by.is_some())),
        ("requeue", json!(r.requeue)),
        ("restart_cnt", json!(r.attempt.saturating_sub(u32::from(!job::waits(r))))),
        ("job_state", json!([state.long()])),
        ("state_reason", json!(state::reason(r))),
        ("state_description", json!("")),
        ("exit_code", exit(state.is_end(), state::exit_of(r))),
        ("derived_exit_code", exit(state.is_end(), (highest, 0))),
        ("dependency", text(job::dependency(r))),
        ("batch_flag", json!(is_batch(r))),
        ("allocating_node", json!(r.submit_host)),
    ])
}

fn array(r: &JobRecord) -> Map<String, Value> {
    let job = if r.array { r.job } else { 0 };
    object([
        ("array_job_id", number(Some(job))),
        ("array_task_id", number(r.task.map(u64::from))),
        ("array_task_string", text(r.tasks.clone())),
        ("array_max_tasks", number(Some(u64::from(r.throttle.unwrap_or(0))))),
    ])
}

fn asked(r: &JobRecord) -> Map<String, Value> {
    let (memory, per_cpu) = job::least_memory(r);
    let memory = Some(size::mebibytes(memory));
    let limit = job::limit_seconds(r).and_then(|seconds| u64::try_from(seconds / 60).ok());
    object([
        ("cpus", number(Some(job::cpus(r)))),
        ("tasks", number(Some(r.ntasks.into()))),
        ("cpus_per_task", number(Some(r.cpus_per_task.into()))),
        ("tasks_per_node", number(Some(r.ntasks_per_node.unwrap_or(0).into()))),
        ("node_count", number(Some(job::node_count(r) as u64))),
        ("max_cpus", number(Some(0))),
        ("max_nodes", number(Some(0))),
        ("minimum_cpus_per_node", number(Some(job::least_cpus(r)))),
        ("minimum_tmp_disk_per_node", number(Some(size::mebibytes(r.tmp_bytes)))),
        ("memory_per_cpu", number(memory.filter(|_| per_cpu))),
        ("memory_per_node", number(memory.filter(|_| !per_cpu))),
        ("time_limit", limit.map_or_else(infinite, |minutes| number(Some(minutes)))),
        ("time_minimum", number(Some(0))),
        ("features", json!(job::features(r))),
        ("required_nodes", json!(hosts::fold_sorted(&r.only_nodes))),
        ("excluded_nodes", json!(hosts::fold_sorted(&r.not_nodes))),
        ("tres_per_node", text(job::tres_per_node(r))),
        ("tres_req_str", json!(job::tres(r))),
        ("shared", json!(if r.exclusive { "none" } else { "oversubscribe" })),
        ("exclusive", json!(r.exclusive)),
        ("oversubscribe", json!(!r.exclusive)),
        ("contiguous", json!(false)),
        ("reboot", json!(false)),
        ("profile", json!(["NOT_SET"])),
    ])
}

fn held(r: &JobRecord) -> Map<String, Value> {
    let nodes = job::node_list(r);
    let tres = if nodes.is_empty() { String::new() } else { job::tres(r) };
    let each: Vec<Value> = r
        .node_names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            json!({
                "nodename": name,
                "cpus_used": r.cpus_per_node.get(at).copied().unwrap_or(0),
                "memory_used": 0,
                "memory_allocated":
                    size::mebibytes(r.memory_per_node_bytes.get(at).copied().unwrap_or(0)),
            })
        })
        .collect();
    let resources = json!({
        "nodes": nodes,
        "allocated_cores": job::cpus(r),
        "allocated_cpus": job::cpus(r),
        "allocated_hosts": r.node_names.len(),
        "allocated_nodes": each,
    });
    object([
        ("nodes", json!(nodes)),
        ("scheduled_nodes", json!("")),
        ("batch_host", json!(r.node_names.first().cloned().unwrap_or_default())),
        ("tres_alloc_str", json!(tres)),
        ("billable_tres", json!({ "set": true, "infinite": false, "number": job::cpus(r) })),
        ("job_resources", if r.node_names.is_empty() { json!({}) } else { resources }),
    ])
}

fn times(r: &JobRecord) -> Map<String, Value> {
    object([
        ("submit_time", moment(Some(r.submitted_at_ms))),
        ("eligible_time", moment(job::eligible_ms(r))),
        ("accrue_time", moment(job::eligible_ms(r))),
        ("start_time", moment(job::expected_start_ms(r))),
        ("end_time", moment(job::expected_end_ms(r))),
        ("deadline", moment(r.deadline_ms)),
        ("last_sched_evaluation", moment(job::start_ms(r))),
        ("pre_sus_time", moment(None)),
        ("suspend_time", moment(None)),
        ("preempt_time", moment(None)),
        ("preemptable_time", moment(None)),
        ("resize_time", moment(None)),
        ("delay_boot", number(Some(0))),
    ])
}

fn files(r: &JobRecord, view: &View) -> Map<String, Value> {
    let error = if r.error.is_empty() { view.output_of(r) } else { view.file(&r.error, r) };
    object([
        ("command", text(job::command(r))),
        ("current_working_directory", json!(r.work_dir)),
        ("standard_output", json!(view.output_of(r))),
        ("standard_error", json!(error)),
        ("standard_input", json!(view.file(&r.input, r))),
    ])
}

/// What there is nothing of here.
fn nothing() -> Map<String, Value> {
    let empty = [
        "admin_comment",
        "batch_features",
        "burst_buffer",
        "burst_buffer_state",
        "cluster_features",
        "container",
        "container_id",
        "cpus_per_tres",
        "cron",
        "extra",
        "failed_node",
        "federation_origin",
        "federation_siblings_active",
        "federation_siblings_viable",
        "het_job_id_set",
        "licenses",
        "mail_user",
        "mcs_label",
        "memory_per_tres",
        "network",
        "prefer",
        "resv_name",
        "selinux_context",
        "system_comment",
        "tres_bind",
        "tres_freq",
        "tres_per_job",
        "tres_per_socket",
        "tres_per_task",
        "wckey",
    ];
    empty.into_iter().map(|name| (name.to_owned(), json!(""))).collect()
}

fn unused() -> Map<String, Value> {
    object([
        ("association_id", json!(0)),
        ("core_spec", number(None)),
        ("thread_spec", number(None)),
        ("cores_per_socket", number(None)),
        ("sockets_per_node", number(None)),
        ("threads_per_core", number(None)),
        ("sockets_per_board", json!(0)),
        ("cpu_frequency_minimum", number(None)),
        ("cpu_frequency_maximum", number(None)),
        ("cpu_frequency_governor", number(None)),
        ("het_job_id", number(Some(0))),
        ("het_job_offset", number(Some(0))),
        ("job_size_str", json!([])),
        ("gres_detail", json!([])),
        ("mail_type", json!([])),
        ("flags", json!([])),
        ("show_flags", json!(["DETAIL"])),
        ("power", json!({ "flags": [] })),
        ("tasks_per_core", number(None)),
        ("tasks_per_tres", number(None)),
        ("tasks_per_socket", number(None)),
        ("tasks_per_board", number(Some(0))),
        ("minimum_switches", json!(0)),
        ("maximum_switch_wait_time", json!(0)),
    ])
}

/// A step that runs.
#[must_use]
pub fn step(r: &JobRecord, step: &StepRecord, view: &View) -> Value {
    let passed = view.clock.now_ms - step.started_at_ms;
    json!({
        "id": format!("{}.{}", job::id(r), step.step),
        "array": { "job_id": r.job, "task_id": r.task.unwrap_or(0) },
        "cluster": view.cluster,
        "name": step.name,
        "nodes": hosts::fold_sorted(&step.node_names),
        "number_cpus": step.cpus,
        "number_tasks": step.ntasks,
        "partition": r.pool,
        "state": ["RUNNING"],
        "time": {
            "start": moment(Some(step.started_at_ms)),
            "running": number(Some(seconds(Some(passed)))),
            "limit": infinite(),
        },
        "submit_line": "",
    })
}
