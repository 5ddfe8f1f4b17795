//! The environment of a job on a node: what it brought from submit, who its user is, and the
//! variables by which programs find out about their allocation.
//!
//! Invariant: a value that describes this run (`SLURM_*`, `PCLUSTER_*`) wins over one that came along
//! from submit, which may describe another job. What an account says (`HOME`, `USER`, `SHELL`) counts
//! where nothing came along: names in an environment say nothing about whose ids a run has. `TMPDIR`
//! is not set here: the keeper makes the directory and names it.
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use pcluster_model::job::MemoryAsk;
use pcluster_model::pattern::{NO_INDEX, PatternNames};
use pcluster_model::{DurationMs, JobKind, Timestamp};
use pcluster_wire::StartOrder;

/// What the agent knows and the order does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNames {
    pub cluster: String,
    /// `compute-7`.
    pub node: String,
}

/// The variable with the number of the script's process, which the keeper knows.
pub const TASK_PID: &str = "SLURM_TASK_PID";

/// The variable with the indexes of the GPUs that a run has on its node.
pub const JOB_GPUS: &str = "SLURM_JOB_GPUS";

/// The variables by which programs find the GPUs that a run has; none without any. `alone`: it sees no
/// others, and programs count from 0 what they see.
#[must_use]
pub fn of_gpus(indexes: &[u32], alone: bool) -> Vec<(String, String)> {
    if indexes.is_empty() {
        return Vec::new();
    }
    let list = |indexes: &mut dyn Iterator<Item = u32>| {
        indexes.map(|index| index.to_string()).collect::<Vec<_>>().join(",")
    };
    let own = list(&mut indexes.iter().copied());
    let seen = if alone { list(&mut (0..).take(indexes.len())) } else { own.clone() };
    let names = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"];
    let seen = names.into_iter().map(|name| (name.to_string(), seen.clone()));
    // An index means what it means to the agent: the order of the bus.
    let order = ("CUDA_DEVICE_ORDER".to_string(), "PCI_BUS_ID".to_string());
    [(JOB_GPUS.to_string(), own), order].into_iter().chain(seen).collect()
}

/// When a run starts and when its time limit ends it, in seconds, for scripts that plan their end.
#[must_use]
pub fn of_times(start: Timestamp, limit: Option<DurationMs>) -> Vec<(String, String)> {
    let named = |name: &str, at: Timestamp| (name.to_string(), at.0.div_euclid(1000).to_string());
    let end = limit.map(|limit| named("SLURM_JOB_END_TIME", start + limit));
    core::iter::once(named("SLURM_JOB_START_TIME", start)).chain(end).collect()
}

/// Names that never travel from submit to a job: they mean something of the other machine.
const LEFT_BEHIND: [&str; 11] = [
    "TMPDIR",
    "HOSTNAME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "DISPLAY",
    "XAUTHORITY",
    "PCLUSTER_SOCKET",
    "PCLUSTER_CONFIG",
    "PCLUSTER_NODE",
    "PCLUSTER_ATTEMPT",
    "CUDA_VISIBLE_DEVICES",
];

/// Of the names of Slurm those that say how a user wants commands to behave, and nothing of a job.
const WISHES: [&str; 7] = [
    "SLURM_CONF",
    "SLURM_EXIT_ERROR",
    "SLURM_EXIT_IMMEDIATE",
    "SLURM_EXPORT_ENV",
    "SLURM_MPI_TYPE",
    "SLURM_TIME_FORMAT",
    "SLURM_UNBUFFEREDIO",
];

/// The records `NAME=VALUE`, each ended by a NUL byte, of the submit environment. Names that
/// describe another job or another machine are left out; so is what is no text, because an
/// environment of this project is text.
#[must_use]
pub fn submitted(blob: &[u8]) -> Vec<(String, String)> {
    let text = |record: &[u8]| core::str::from_utf8(record).ok().map(ToString::to_string);
    blob.split(|byte| *byte == 0)
        .filter_map(text)
        .filter_map(|record| record.split_once('=').map(|(n, v)| (n.to_string(), v.to_string())))
        .filter(|(name, _)| !name.is_empty() && travels(name))
        .collect()
}

fn travels(name: &str) -> bool {
    let foreign =
        ["SLURM_", "SLURMD_", "PCLUSTER_JOB", "PCLUSTER_TASK", "PCLUSTER_RUN", "PMI_", "DBUS_"];
    WISHES.contains(&name)
        || !LEFT_BEHIND.contains(&name) && !foreign.iter().any(|start| name.starts_with(start))
}

/// The whole environment of a run, sorted by name.
#[must_use]
pub fn of_run(order: &StartOrder, blob: &[u8], names: &NodeNames) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = submitted(blob).into_iter().collect();
    let user = &order.user;
    let of_account = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
    ];
    for (name, value) in of_account {
        env.entry(name.to_string()).or_insert_with(|| value.to_string());
    }
    if order.spec.kind == JobKind::Batch {
        env.insert("ENVIRONMENT".to_string(), "BATCH".to_string());
    }
    env.extend(of_pcluster(order, names).map(|(name, value)| (name.to_string(), value)));
    env.extend(of_slurm(order, names).into_iter().map(|(name, value)| (name.to_string(), value)));
    env.into_iter().collect()
}

fn of_pcluster(
    order: &StartOrder,
    names: &NodeNames,
) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("PCLUSTER_JOB_ID", order.job.to_string()),
        ("PCLUSTER_RUN_ID", order.run.to_string()),
        ("PCLUSTER_NODE", names.node.clone()),
        ("PCLUSTER_ATTEMPT", order.attempt.to_string()),
        ("PCLUSTER_CLUSTER", names.cluster.clone()),
        ("PCLUSTER_JOB_CLUSTER", names.cluster.clone()),
    ]
    .into_iter()
    .chain(order.task.map(|task| ("PCLUSTER_TASK_ID", task.to_string())))
}

/// The variables of `sbatch`, as far as they have a meaning here.
fn of_slurm(order: &StartOrder, names: &NodeNames) -> Vec<(&'static str, String)> {
    let spec = &order.spec;
    let count = order.nodes.len().max(1);
    let (nodes, list) = (count.to_string(), host_list(&order.nodes));
    let id = order.raw_job.to_string();
    let cpus = order.resources.cpus;
    let cpus_of = |rank: usize| order.node_cpus.get(rank).copied().unwrap_or(cpus);
    let or = |given: &String, other: &str| {
        if given.is_empty() { other.to_string() } else { given.clone() }
    };
    let mut vars = Vec::from([
        ("SLURM_JOB_ID", id.clone()),
        ("SLURM_JOBID", id),
        ("SLURM_JOB_NAME", spec.name.clone()),
        ("SLURM_CPUS_ON_NODE", cpus.to_string()),
        ("SLURM_JOB_CPUS_PER_NODE", counted((0..count).map(cpus_of))),
        ("SLURM_TASKS_PER_NODE", counted(tasks_of(order, count))),
        ("SLURM_JOB_NUM_NODES", nodes.clone()),
        ("SLURM_NNODES", nodes),
        ("SLURM_JOB_NODELIST", list.clone()),
        ("SLURM_NODELIST", list),
        ("SLURM_NODE_ALIASES", aliases(order)),
        ("SLURM_SUBMIT_DIR", or(&spec.submit_dir, &spec.work_dir)),
        ("SLURM_JOB_PARTITION", order.pool.clone()),
        ("SLURM_JOB_ACCOUNT", or(&spec.account, &order.user.name)),
        ("SLURM_JOB_QOS", or(&spec.qos, "normal")),
        ("SLURM_NODEID", order.rank.to_string()),
        ("SLURM_PROCID", "0".to_string()),
        ("SLURM_LOCALID", "0".to_string()),
        ("SLURM_GTIDS", "0".to_string()),
        ("SLURM_PRIO_PROCESS", "0".to_string()),
        ("SLURMD_NODENAME", names.node.clone()),
        ("SLURM_TOPOLOGY_ADDR", names.node.clone()),
        ("SLURM_TOPOLOGY_ADDR_PATTERN", "node".to_string()),
        ("SLURM_CLUSTER_NAME", names.cluster.clone()),
        ("SLURM_JOB_USER", order.user.name.clone()),
        ("SLURM_JOB_UID", order.user.uid.to_string()),
        ("SLURM_JOB_GID", order.user.gid.to_string()),
    ]);
    of_asked(order, count, &mut vars);
    of_array(order, &mut vars);
    vars
}

/// Where nodes are whose names may not resolve, as Slurm tells it of nodes in a cloud.
fn aliases(order: &StartOrder) -> String {
    if order.node_addresses.is_empty() {
        return "(null)".to_string();
    }
    let pairs = order.nodes.iter().zip(&order.node_addresses);
    let one = |(name, address): (&String, &String)| {
        let (open, close) = if address.contains(':') { ("[", "]") } else { ("", "") };
        format!("{name}:{open}{address}{close}:{name}")
    };
    pairs.map(one).collect::<Vec<_>>().join(",")
}

/// Variables that are there only when something was asked for: a name is more telling absent than
/// empty or wrong.
fn of_asked(order: &StartOrder, nodes: usize, vars: &mut Vec<(&'static str, String)>) {
    let spec = &order.spec;
    if !spec.submit_host.is_empty() {
        vars.push(("SLURM_SUBMIT_HOST", spec.submit_host.clone()));
    }
    if order.attempt > 1 {
        vars.push(("SLURM_RESTART_COUNT", (order.attempt - 1).to_string()));
    }
    if spec.tasks_given {
        vars.push(("SLURM_NTASKS", spec.tasks.to_string()));
        vars.push(("SLURM_NPROCS", spec.tasks.to_string()));
    }
    if let Some(count) = spec.tasks_per_node {
        vars.push(("SLURM_NTASKS_PER_NODE", count.to_string()));
    }
    if spec.cpus_given {
        vars.push(("SLURM_CPUS_PER_TASK", spec.cpus_per_task.to_string()));
    }
    let mib = |bytes: u64| (bytes >> 20).to_string();
    vars.push(match spec.memory {
        MemoryAsk::PerCpu(bytes) => ("SLURM_MEM_PER_CPU", mib(bytes)),
        MemoryAsk::PerNode(_) | MemoryAsk::Proportional => {
            ("SLURM_MEM_PER_NODE", mib(order.resources.memory_bytes))
        }
    });
    let gpus = order.resources.gpus;
    if gpus > 0 {
        let all = u64::from(gpus) * u64::try_from(nodes).unwrap_or(1);
        vars.push(("SLURM_GPUS_ON_NODE", gpus.to_string()));
        vars.push(("SLURM_GPUS_PER_NODE", gpus.to_string()));
        vars.push(("SLURM_GPUS", all.to_string()));
    }
}

/// Tasks on each node: as many as asked for on each, or spread evenly with the fuller ones first.
fn tasks_of(order: &StartOrder, nodes: usize) -> impl Iterator<Item = u32> + use<> {
    let spec = &order.spec;
    let count = u32::try_from(nodes).unwrap_or(u32::MAX);
    let (each, more) = match spec.tasks_per_node {
        Some(each) => (each, 0),
        None => (spec.tasks / count, spec.tasks % count),
    };
    (0..count).map(move |rank| (each + u32::from(rank < more)).max(1))
}

/// Numbers as Slurm writes them for the nodes of a job: `2(x3),1`.
fn counted(numbers: impl Iterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((known, times)) if *known == number => *times += 1,
            _ => runs.push((number, 1)),
        }
    }
    let shown = runs.iter().map(|(number, times)| match times {
        1 => number.to_string(),
        times => format!("{number}(x{times})"),
    });
    shown.collect::<Vec<_>>().join(",")
}

fn of_array(order: &StartOrder, vars: &mut Vec<(&'static str, String)>) {
    let (Some(task), Some(array)) = (order.task, &order.spec.array) else { return };
    let ranges = array.indices.ranges();
    let first = array.indices.first().unwrap_or(task);
    let last = ranges.last().map_or(task, |(_, last)| *last);
    let second = array.indices.iter().nth(1);
    vars.extend([
        ("SLURM_ARRAY_JOB_ID", order.job.to_string()),
        ("SLURM_ARRAY_TASK_ID", task.to_string()),
        ("SLURM_ARRAY_TASK_MIN", first.to_string()),
        ("SLURM_ARRAY_TASK_MAX", last.to_string()),
        ("SLURM_ARRAY_TASK_STEP", second.map_or(1, |second| second - first).to_string()),
        ("SLURM_ARRAY_TASK_COUNT", array.indices.len().to_string()),
    ]);
}

/// Node names as one word: `compute-[1-3,7],gpu-2`. Names keep their order; only neighbours with
/// the same text before their number are joined.
#[must_use]
pub fn host_list(names: &[String]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &name[stem.len()..];
        match groups.last_mut() {
            Some((before, numbers)) if *before == stem && !number.is_empty() => {
                numbers.push(number)
            }
            _ => groups.push((stem, Vec::from([number]))),
        }
    }
    let shown = groups.iter().map(|(stem, numbers)| match numbers.as_slice() {
        [one] => format!("{stem}{one}"),
        many => format!("{stem}[{}]", spans(many)),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// `1,2,3,7` as `1-3,7`; numbers of different widths (`9`, `010`) are never joined wrongly.
fn spans(numbers: &[&str]) -> String {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for number in numbers {
        let follows = |last: &str| {
            let next = last.parse::<u64>().ok().and_then(|n| n.checked_add(1));
            let padded = |n: u64| format!("{n:0width$}", width = last.len());
            next.is_some_and(|n| padded(n) == **number)
        };
        match out.last_mut() {
            Some((_, last)) if follows(last) => *last = number,
            _ => out.push((number, number)),
        }
    }
    let shown = |(first, last): &(&str, &str)| {
        if first == last { (*first).to_string() } else { format!("{first}-{last}") }
    };
    out.iter().map(shown).collect::<Vec<_>>().join(",")
}

/// The name of an output file of a script: the run's facts in the place of its letters.
#[must_use]
pub fn expand_pattern(pattern: &str, order: &StartOrder, node: &str) -> String {
    let names = PatternNames {
        job: Some(order.job.0),
        raw_job: Some(order.raw_job.0),
        index: Some(order.task.unwrap_or(NO_INDEX)),
        step: None,
        task: Some(0),
        node_index: Some(0),
        node: Some(node),
        user: Some(&order.user.name),
        name: Some(&order.spec.name),
    };
    names.expand(pattern)
}
