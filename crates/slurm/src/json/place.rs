//! Nodes and partitions of `sinfo --json` and `scontrol show --json`.
use super::{infinite, moment, number};
use crate::queue::sinfo::{Group, fields, version};
use crate::words::{Clock, NodeState, hosts, size};
use pcluster_api::{PoolNode, PoolRecord};
use serde_json::{Value, json};

fn states(state: NodeState) -> Vec<&'static str> {
    state.complete().split('+').collect()
}

fn plain(text: String) -> String {
    if text == "(null)" { String::new() } else { text }
}

fn used(node: &PoolNode) -> String {
    let memory = size::mebibytes(node.memory_used_bytes);
    if node.cpus_used == 0 {
        String::new()
    } else {
        format!("cpu={},mem={memory}M", node.cpus_used)
    }
}

/// A node.
#[must_use]
pub fn node(node: &PoolNode, partitions: &[&str], cluster: &str, clock: &Clock) -> Value {
    let state = NodeState::of(node);
    let busy = if state.is_allocated() { Some(clock.now_ms) } else { node.idle_since_ms };
    let why = node.why.clone().filter(|_| state.is_out()).unwrap_or_default();
    let memory = size::mebibytes(node.memory_bytes);
    let what = json!({
        "name": node.name,
        "address": node.name,
        "hostname": node.name,
        "architecture": node.arch,
        "operating_system": "Linux",
        "cluster_name": cluster,
        "partitions": partitions,
        "state": states(state),
        "next_state_after_reboot": ["INVALID"],
        "cpus": node.cpus,
        "effective_cpus": node.cpus,
        "cores": node.cpus,
        "sockets": 1,
        "threads": 1,
        "boards": 1,
        "alloc_cpus": node.cpus_used,
        "alloc_idle_cpus": node.cpus.saturating_sub(node.cpus_used),
        "real_memory": memory,
        "alloc_memory": size::mebibytes(node.memory_used_bytes),
        "free_mem": number(None),
        "cpu_load": 0,
    });
    let how = json!({
        "temporary_disk": 0,
        "features": node.features,
        "active_features": node.features,
        "gres": plain(fields::gres(node, node.gpus)),
        "gres_used": plain(fields::gres(node, node.gpus_used)),
        "gres_drained": "N/A",
        "tres": format!("cpu={},mem={memory}M,billing={}", node.cpus, node.cpus),
        "tres_used": used(node),
        "tres_weighted": 0.0,
        "reason": why,
        "reason_changed_at": moment(None),
        "reason_set_by_user": "",
        "boot_time": moment(node.booted_at_ms),
        "slurmd_start_time": moment(node.booted_at_ms),
        "last_busy": moment(busy),
        "resume_after": number(None),
        "version": version(),
        "weight": 1,
        "port": 0,
        "owner": "",
        "comment": "",
        "extra": "",
        "instance_id": "",
        "instance_type": node.shape,
        "mcs_label": "",
        "reservation": "",
    });
    merged(what, how)
}

fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, _) => first,
    }
}

/// A partition.
#[must_use]
pub fn partition(pool: &PoolRecord, cluster: &str) -> Value {
    let names: Vec<String> = pool.nodes.iter().map(|node| node.name.clone()).collect();
    let cpus: u64 = pool.nodes.iter().map(|node| u64::from(node.cpus)).sum();
    let minutes = |ms: Option<u64>| ms.filter(|ms| *ms > 0).map(|ms| ms / 60_000);
    let jobs = if pool.exclusive { 0 } else { 1 };
    json!({
        "name": pool.name,
        "cluster": cluster,
        "node_sets": "",
        "nodes": { "allowed_allocation": "", "configured": hosts::fold_sorted(&names), "total": names.len() },
        "accounts": { "allowed": "", "deny": "" },
        "groups": { "allowed": "" },
        "qos": { "allowed": "", "deny": "", "assigned": "" },
        "alternate": "",
        "tres": { "billing_weights": "", "configured": format!("cpu={cpus},node={}", names.len()) },
        "cpus": { "task_binding": 0, "total": cpus },
        "defaults": {
            "memory_per_cpu": 0,
            "partition_memory_per_cpu": number(None),
            "partition_memory_per_node": number(None),
            "time": number(minutes(pool.default_time_ms)),
            "job": "",
        },
        "maximums": {
            "cpus_per_node": infinite(),
            "cpus_per_socket": infinite(),
            "memory_per_cpu": 0,
            "partition_memory_per_cpu": number(None),
            "partition_memory_per_node": number(None),
            "nodes": infinite(),
            "shares": jobs,
            "oversubscribe": { "jobs": jobs, "flags": [] },
            "time": minutes(pool.max_time_ms).map_or_else(infinite, |value| number(Some(value))),
            "over_time_limit": number(None),
        },
        "minimums": { "nodes": 0 },
        "grace_time": 0,
        "priority": { "job_factor": 1, "tier": 1 },
        "timeouts": { "resume": number(None), "suspend": number(None) },
        "suspend_time": number(None),
        "partition": { "state": ["UP"] },
        "flags": if pool.default { json!(["DEFAULT"]) } else { json!([]) },
    })
}

/// Nodes of one partition that say the same.
#[must_use]
pub fn group(group: &Group<'_>) -> Value {
    let state = group.nodes.first().map(|node| NodeState::of(node));
    let span = |of: fn(&PoolNode) -> u64| {
        let values = || group.nodes.iter().map(|node| of(node));
        json!({ "minimum": values().min().unwrap_or(0), "maximum": values().max().unwrap_or(0) })
    };
    let names: Vec<&str> = group.nodes.iter().map(|node| node.name.as_str()).collect();
    let count = |is: fn(NodeState) -> bool| {
        group.nodes.iter().filter(|node| is(NodeState::of(node))).count()
    };
    let allocated = count(NodeState::is_allocated);
    let other = count(|state| state.is_out() && !state.is_allocated());
    let sum = |of: fn(&PoolNode) -> u64| group.nodes.iter().map(|node| of(node)).sum::<u64>();
    let (cpus, cpus_used) = (sum(|node| node.cpus.into()), sum(|node| node.cpus_used.into()));
    let first = |of: &dyn Fn(&PoolNode) -> String| {
        group.nodes.first().map_or_else(String::new, |node| plain(of(node)))
    };
    json!({
        "port": 0,
        "node": { "state": state.map_or_else(Vec::new, states) },
        "nodes": {
            "allocated": allocated,
            "idle": names.len() - allocated - other,
            "other": other,
            "total": names.len(),
            "addresses": names,
            "hostnames": names,
            "nodes": names,
        },
        "cpus": {
            "allocated": cpus_used,
            "idle": cpus.saturating_sub(cpus_used),
            "other": 0,
            "total": cpus,
            "minimum": group.nodes.iter().map(|node| node.cpus).min().unwrap_or(0),
            "maximum": group.nodes.iter().map(|node| node.cpus).max().unwrap_or(0),
            "per_node": { "max": infinite() },
            "load": { "minimum": 0, "maximum": 0 },
        },
        "sockets": span(|_| 1),
        "cores": span(|node| node.cpus.into()),
        "threads": span(|_| 1),
        "disk": span(|_| 0),
        "memory": {
            "minimum": group.nodes.iter().map(|node| size::mebibytes(node.memory_bytes)).min().unwrap_or(0),
            "maximum": group.nodes.iter().map(|node| size::mebibytes(node.memory_bytes)).max().unwrap_or(0),
            "allocated": size::mebibytes(sum(|node| node.memory_used_bytes)),
            "free": { "minimum": number(None), "maximum": number(None) },
        },
        "weight": span(|_| 1),
        "features": { "total": first(&fields::features), "active": first(&fields::features) },
        "gres": {
            "total": first(&|node| fields::gres(node, node.gpus)),
            "used": first(&|node| fields::gres(node, node.gpus_used)),
        },
        "cluster": group.cluster,
        "comment": "",
        "extra": "",
        "reason": { "description": first(&|node| node.why.clone().unwrap_or_default()), "time": 0, "user": "" },
        "reservation": "",
        "partition": partition(group.pool, group.cluster),
    })
}
