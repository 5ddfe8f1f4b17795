//! `scontrol show node`, `show partition` and `show config`.
//!
//! Invariant: every key of the real one, in its order; what this cluster does not measure (load,
//! free memory, watts) reads as on a node that does not tell. Deliberately absent: addresses of
//! nodes, which clients reach by their names.
use super::lines::Lines;
use crate::queue::sinfo::{fields, version};
use crate::words::{Clock, NodeState, clock, hosts, job, size};
use pcluster_api::{PoolList, PoolNode, PoolRecord};

/// One node; `partitions` are those that it is in.
#[must_use]
pub fn node(node: &PoolNode, partitions: &[&str], clock: &Clock, one_line: bool) -> String {
    let state = NodeState::of(node);
    let mut lines = Lines::default();
    lines.push(format!("NodeName={} Arch={} CoresPerSocket={} ", node.name, node.arch, node.cpus));
    lines.push(format!(
        "CPUAlloc={} CPUEfctv={1} CPUTot={1} CPULoad=N/A",
        node.cpus_used, node.cpus
    ));
    let features = fields::features(node);
    lines.push(format!("AvailableFeatures={features}"));
    lines.push(format!("ActiveFeatures={features}"));
    lines.push(format!("Gres={}", fields::gres(node, node.gpus)));
    lines.push(format!("NodeAddr={0} NodeHostName={0} Version={1}", node.name, version()));
    lines.push("OS=Linux ");
    lines.push(format!(
        "RealMemory={} AllocMem={} FreeMem=N/A Sockets=1 Boards=1",
        size::mebibytes(node.memory_bytes),
        size::mebibytes(node.memory_used_bytes)
    ));
    lines.push(format!(
        "State={} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A",
        state.complete()
    ));
    lines.push(format!("Partitions={} ", partitions.join(",")));
    let boot = clock.date_or(node.booted_at_ms, "None");
    lines.push(format!("BootTime={boot} SlurmdStartTime={boot}"));
    let busy = if state.is_allocated() { Some(clock.now_ms) } else { node.idle_since_ms };
    lines.push(format!("LastBusyTime={}", clock.date_or(busy, "Unknown")));
    lines.push(format!("CfgTRES={}", tres(node.cpus, node.memory_bytes, node.gpus, true)));
    let used = tres(node.cpus_used, node.memory_used_bytes, node.gpus_used, false);
    lines.push(format!("AllocTRES={used}"));
    lines.push("CapWatts=n/a");
    lines.push("CurrentWatts=0 AveWatts=0");
    lines.push("ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s");
    let why = node.why.as_ref().filter(|_| state.is_out() || state == NodeState::Stopping);
    lines.push_some(why.map(|why| format!("Reason={why}")));
    lines.text(one_line, "\n")
}

fn tres(cpus: u32, memory: u64, gpus: u32, billing: bool) -> String {
    let mut parts = Vec::new();
    if cpus > 0 {
        parts.push(format!("cpu={cpus}"));
    }
    if memory > 0 {
        parts.push(format!("mem={}", size::memory(memory)));
    }
    if billing {
        parts.push(format!("billing={cpus}"));
    }
    if gpus > 0 {
        parts.push(format!("gres/gpu={gpus}"));
    }
    parts.join(",")
}

/// One partition.
#[must_use]
pub fn partition(pool: &PoolRecord, one_line: bool) -> String {
    let limit = |ms: Option<u64>, none: &str| {
        let seconds = ms.filter(|ms| *ms > 0).and_then(|ms| i64::try_from(ms / 1000).ok());
        seconds.map_or_else(|| none.to_owned(), clock::long_span)
    };
    let names: Vec<String> = pool.nodes.iter().map(|node| node.name.clone()).collect();
    let cpus: u64 = pool.nodes.iter().map(|node| u64::from(node.cpus)).sum();
    let memory: u64 = pool.nodes.iter().map(|node| node.memory_bytes).sum();
    let gpus: u64 = pool.nodes.iter().map(|node| u64::from(node.gpus)).sum();
    let default = if pool.default { "YES" } else { "NO" };
    let shared = if pool.exclusive { "EXCLUSIVE" } else { "NO" };
    let mut lines = Lines::default();
    lines.push(format!("PartitionName={}", pool.name));
    lines.push("AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL");
    lines.push(format!("AllocNodes=ALL Default={default} QoS=N/A"));
    lines.push(format!(
        "DefaultTime={} DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO",
        limit(pool.default_time_ms, "NONE")
    ));
    lines.push(format!(
        "MaxNodes=UNLIMITED MaxTime={} MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED",
        limit(pool.max_time_ms, "UNLIMITED")
    ));
    lines.push(format!("Nodes={}", job::or_null(&hosts::fold_sorted(&names))));
    lines.push(format!(
        "PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe={shared}"
    ));
    lines.push("OverTimeLimit=NONE PreemptMode=OFF");
    lines.push(format!(
        "State=UP TotalCPUs={cpus} TotalNodes={} SelectTypeParameters=NONE",
        names.len()
    ));
    lines.push("JobDefaults=(null)");
    lines.push("DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED");
    let gpus = if gpus > 0 { format!(",gres/gpu={gpus}") } else { String::new() };
    lines.push(format!(
        "TRES=cpu={cpus},mem={}M,node={},billing={cpus}{gpus}",
        size::mebibytes(memory),
        names.len()
    ));
    lines.text(one_line, "\n")
}

/// What clients ask of `show config`, and what holds here of the rest.
#[must_use]
pub fn config(list: &PoolList, clock: &Clock) -> String {
    let kill_wait = list.term_grace_ms / 1000;
    let array = list.max_array_tasks;
    let rows: [(&str, String); 24] = [
        ("AccountingStorageEnforce", "none".into()),
        ("AccountingStorageType", "accounting_storage/slurmdbd".into()),
        ("AuthType", "auth/none".into()),
        ("BatchStartTimeout", "10 sec".into()),
        ("ClusterName", list.cluster.clone()),
        ("DefMemPerNode", "UNLIMITED".into()),
        ("EnforcePartLimits", "ALL".into()),
        ("GresTypes", "gpu".into()),
        ("InactiveLimit", "300 sec".into()),
        ("JobAcctGatherType", "jobacct_gather/cgroup".into()),
        ("JobRequeue", "1".into()),
        ("KillWait", format!("{kill_wait} sec")),
        ("MaxArraySize", array.to_string()),
        ("MaxJobCount", "1000000".into()),
        ("MinJobAge", "300 sec".into()),
        ("MpiDefault", "pmi2".into()),
        ("PreemptMode", "OFF".into()),
        ("PriorityType", "priority/basic".into()),
        ("ProctrackType", "proctrack/cgroup".into()),
        ("SchedulerType", "sched/backfill".into()),
        ("SelectType", "select/cons_tres".into()),
        ("SelectTypeParameters", "CR_CPU_MEMORY".into()),
        ("SLURM_VERSION", version()),
        ("TaskPlugin", "task/cgroup".into()),
    ];
    let mut out = format!("Configuration data as of {}\n", clock.standard(clock.now_ms));
    for (key, value) in rows {
        out.push_str(&format!("{key:<23} = {value}\n"));
    }
    out.push_str(&format!("\nSlurmctld(primary) at {} is UP\n", list.cluster));
    out
}
