//! What the tasks of a step find in their environment.
//!
//! Invariant: what describes the step wins over what came along from the caller, which may itself be
//! a task of another step. Variables of the job that the caller lacks (a client that removed them)
//! are filled in from the allocation.
use super::layout::{Layout, runs};
use crate::words::hosts;
use pcluster_api::AllocationView;
use pcluster_model::job::MemoryAsk;
use std::collections::BTreeMap;

/// Names that belong to the caller's own step, machine or terminal.
const STAYS: [&str; 14] = [
    "HOSTNAME",
    "PCLUSTER_ATTEMPT",
    "PCLUSTER_CONFIG",
    "PCLUSTER_SOCKET",
    "SLURM_TASK_PID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_PROCID",
    "SLURM_GTIDS",
    "SLURMD_NODENAME",
    "PMI_FD",
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_JOBID",
];

/// Names that mean something of the machine where somebody is logged in, and nothing on a node.
const OF_A_LOGIN: [&str; 5] =
    ["TMPDIR", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "DISPLAY", "XAUTHORITY"];

/// What may go along from here: all of it from a node, less from elsewhere.
pub(super) fn of_caller(variables: Vec<(String, String)>) -> Vec<(String, String)> {
    if variables.iter().any(|(name, _)| name == "PCLUSTER_NODE") {
        return variables;
    }
    variables.into_iter().filter(|(name, _)| !OF_A_LOGIN.contains(&name.as_str())).collect()
}

/// The variables of `--export`: `ALL`, `NONE`, names, `NAME=VALUE`.
pub(super) fn exported(
    export: Option<&str>,
    variables: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> = variables.collect();
    let export = export.unwrap_or("ALL");
    let words: Vec<&str> =
        export.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let has = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    let ours =
        |name: &str| ["SLURM_", "SPANK_", "PCLUSTER_"].iter().any(|own| name.starts_with(own));
    let mut chosen: BTreeMap<String, String> = all
        .iter()
        .filter(|(name, _)| has("ALL") || ours(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for word in &words {
        match word.split_once('=') {
            Some((name, value)) => {
                chosen.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Some(value) = all.get(*word) {
                    chosen.insert((*word).to_owned(), value.clone());
                }
            }
        }
    }
    chosen.retain(|name, _| !STAYS.contains(&name.as_str()));
    if has("NONE") && !chosen.contains_key("PATH") {
        // Without it no program would be found.
        chosen.insert("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
    }
    chosen
}

/// Facts of the step beside its layout.
#[derive(Debug, Clone, Default)]
pub(super) struct StepFacts {
    pub step: u32,
    pub cpus_per_task: Option<u32>,
    pub tasks_per_node: Option<u32>,
    pub distribution: String,
    pub label: bool,
    pub umask: Option<u32>,
    pub host: String,
    pub memory: MemoryAsk,
}

/// The part that all tasks share.
pub(super) fn of_step(
    caller: BTreeMap<String, String>,
    job: &AllocationView,
    layout: &Layout,
    facts: &StepFacts,
) -> BTreeMap<String, String> {
    let mut all = caller;
    for (name, value) in of_job(job) {
        all.entry(name.to_owned()).or_insert(value);
    }
    let id = job.raw_job.to_string();
    let tasks = layout.tasks().to_string();
    let nodes = layout.nodes.len().to_string();
    let list = layout.node_list();
    let per_node = layout.tasks_per_node();
    let step = facts.step.to_string();
    let mut set = vec![
        ("SLURM_JOB_ID", id.clone()),
        ("SLURM_JOBID", id),
        ("SLURM_STEP_ID", step.clone()),
        ("SLURM_STEPID", step),
        ("SLURM_STEP_NODELIST", list.clone()),
        ("SLURM_NODELIST", list),
        ("SLURM_STEP_NUM_NODES", nodes.clone()),
        ("SLURM_NNODES", nodes),
        ("SLURM_STEP_NUM_TASKS", tasks.clone()),
        ("SLURM_NTASKS", tasks.clone()),
        ("SLURM_NPROCS", tasks),
        ("SLURM_STEP_TASKS_PER_NODE", per_node.clone()),
        ("SLURM_TASKS_PER_NODE", per_node),
        ("SLURM_DISTRIBUTION", facts.distribution.clone()),
        ("SLURM_SRUN_COMM_HOST", facts.host.clone()),
        ("SLURM_TOPOLOGY_ADDR_PATTERN", "node".to_owned()),
        ("SLURM_PRIO_PROCESS", "0".to_owned()),
    ];
    if facts.label {
        set.push(("SLURM_LABELIO", "1".to_owned()));
    }
    if let Some(mask) = facts.umask {
        set.push(("SLURM_UMASK", format!("{mask:04o}")));
    }
    if let Some(cpus) = facts.cpus_per_task {
        set.push(("SLURM_CPUS_PER_TASK", cpus.to_string()));
    }
    if let Some(count) = facts.tasks_per_node {
        set.push(("SLURM_NTASKS_PER_NODE", count.to_string()));
    }
    all.extend(set.into_iter().map(|(name, value)| (name.to_owned(), value)));
    set_memory(&mut all, facts.memory);
    all
}

/// What the step itself was told to take, instead of what its job has.
fn set_memory(all: &mut BTreeMap<String, String>, memory: MemoryAsk) {
    let (set, unset, bytes) = match memory {
        MemoryAsk::PerNode(bytes) => ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", bytes),
        MemoryAsk::PerCpu(bytes) => ("SLURM_MEM_PER_CPU", "SLURM_MEM_PER_NODE", bytes),
        MemoryAsk::Proportional => return,
    };
    all.remove(unset);
    all.insert(set.to_owned(), (bytes >> 20).to_string());
}

/// What a batch script of the job would have.
pub(super) fn of_job(job: &AllocationView) -> Vec<(&'static str, String)> {
    let names: Vec<&str> = job.parts.iter().map(|part| part.node.as_str()).collect();
    let list = hosts::fold(&names);
    let nodes = job.parts.len().to_string();
    let mut set = vec![
        ("SLURM_JOB_ID", job.raw_job.to_string()),
        ("SLURM_JOBID", job.raw_job.to_string()),
        ("SLURM_JOB_NODELIST", list.clone()),
        ("SLURM_NODELIST", list),
        ("SLURM_JOB_NUM_NODES", nodes.clone()),
        ("SLURM_NNODES", nodes),
        ("SLURM_JOB_CPUS_PER_NODE", runs(job.parts.iter().map(|part| part.cpus))),
        ("SLURM_TASKS_PER_NODE", job_tasks_per_node(job)),
        ("SLURM_JOB_NAME", job.name.clone()),
        ("SLURM_JOB_PARTITION", job.pool.clone()),
        ("SLURM_JOB_ACCOUNT", job.account.clone()),
        ("SLURM_JOB_USER", job.user.clone()),
        ("SLURM_JOB_UID", job.uid.to_string()),
        ("SLURM_JOB_GID", job.gid.to_string()),
        ("SLURM_CLUSTER_NAME", job.cluster.clone()),
        ("SLURM_SUBMIT_DIR", job.work_dir.clone()),
        ("PCLUSTER_JOB_ID", job.job.to_string()),
        ("PCLUSTER_RUN_ID", job.run.to_string()),
    ];
    if let Some(task) = job.task {
        set.push(("SLURM_ARRAY_JOB_ID", job.job.to_string()));
        set.push(("SLURM_ARRAY_TASK_ID", task.to_string()));
    }
    if job.ntasks_given {
        set.push(("SLURM_NTASKS", job.ntasks.to_string()));
        set.push(("SLURM_NPROCS", job.ntasks.to_string()));
    }
    if job.cpus_given {
        set.push(("SLURM_CPUS_PER_TASK", job.cpus_per_task.to_string()));
    }
    if let Some(count) = job.ntasks_per_node {
        set.push(("SLURM_NTASKS_PER_NODE", count.to_string()));
    }
    if let Some(start) = job.started_at_ms {
        set.push(("SLURM_JOB_START_TIME", start.div_euclid(1000).to_string()));
        let limit = job.time_limit_ms.filter(|ms| *ms > 0);
        let end = limit.and_then(|ms| start.checked_add_unsigned(ms));
        set.extend(end.map(|end| ("SLURM_JOB_END_TIME", end.div_euclid(1000).to_string())));
    }
    let mib = |bytes: u64| (bytes >> 20).to_string();
    match (job.memory_per_cpu_bytes, job.parts.first()) {
        (Some(bytes), _) => set.push(("SLURM_MEM_PER_CPU", mib(bytes))),
        (None, Some(part)) => set.push(("SLURM_MEM_PER_NODE", mib(part.memory_bytes))),
        (None, None) => {}
    }
    set.retain(|(_, value)| !value.is_empty());
    set
}

fn job_tasks_per_node(job: &AllocationView) -> String {
    let nodes = u32::try_from(job.parts.len()).unwrap_or(1).max(1);
    let even = |rank: u32| {
        let tasks = job.ntasks.max(1);
        (tasks / nodes + u32::from(rank < tasks % nodes)).max(1)
    };
    runs(job.parts.iter().map(|part| job.ntasks_per_node.unwrap_or_else(|| even(part.rank))))
}

/// What differs from node to node.
pub(super) fn of_node(
    job: &AllocationView,
    layout: &Layout,
    index: usize,
) -> Vec<(String, String)> {
    let Some(placed) = layout.nodes.get(index) else { return Vec::new() };
    let cpus = job.parts.iter().find(|part| part.rank == placed.rank).map_or(1, |part| part.cpus);
    let ids: Vec<String> = placed.tasks.iter().map(u32::to_string).collect();
    [
        ("SLURM_NODEID", index.to_string()),
        ("SLURMD_NODENAME", placed.node.clone()),
        ("SLURM_TOPOLOGY_ADDR", placed.node.clone()),
        ("SLURM_CPUS_ON_NODE", cpus.to_string()),
        ("SLURM_GTIDS", ids.join(",")),
        ("PCLUSTER_NODE", placed.node.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// What differs from task to task.
pub(super) fn of_task(
    task: u32,
    local: usize,
    library: Option<(&str, u32)>,
) -> Vec<(String, String)> {
    let mut set = vec![("SLURM_PROCID", task.to_string()), ("SLURM_LOCALID", local.to_string())];
    if let Some((name, size)) = library {
        set.push(("PMI_RANK", task.to_string()));
        set.push(("PMI_SIZE", size.to_string()));
        set.push(("PMI_JOBID", name.to_owned()));
    }
    set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::allocation;
    use super::*;
    use crate::steps::layout::Placed;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn export_chooses_and_slurms_own_always_go() {
        let vars = || {
            [pair("A", "1"), pair("B", "2"), pair("SLURM_X", "3"), pair("SLURM_PROCID", "0")]
                .into_iter()
        };
        let names = |export| exported(export, vars()).into_keys().collect::<Vec<_>>();
        assert_eq!(names(None), ["A", "B", "SLURM_X"]);
        assert_eq!(names(Some("NONE")), ["PATH", "SLURM_X"]);
        assert_eq!(names(Some("B,C=5")), ["B", "C", "SLURM_X"]);
        assert_eq!(exported(Some("ALL,A=9"), vars())["A"], "9");
    }

    #[test]
    fn a_logins_own_names_stay_and_those_of_a_node_go() {
        let login = vec![pair("TMPDIR", "/tmp"), pair("A", "1")];
        assert_eq!(of_caller(login.clone()), [pair("A", "1")]);
        let node = [login, vec![pair("PCLUSTER_NODE", "c1")]].concat();
        assert_eq!(of_caller(node.clone()), node);
        let socket = vec![pair("PCLUSTER_SOCKET", "/a"), pair("A", "1")];
        assert_eq!(exported(None, socket.into_iter()).into_keys().collect::<Vec<_>>(), ["A"]);
    }

    #[test]
    fn a_step_says_where_it_is_even_to_a_caller_without_variables() {
        let mut job = allocation(&[2, 2]);
        (job.started_at_ms, job.time_limit_ms) = (Some(1_795_476_422_900), Some(60_000));
        let nodes = vec![
            Placed { rank: 0, node: "c1".into(), tasks: vec![0, 1] },
            Placed { rank: 1, node: "c2".into(), tasks: vec![2, 3] },
        ];
        let layout = Layout { nodes, warning: None };
        let facts = StepFacts {
            distribution: "block".into(),
            label: true,
            umask: Some(0o22),
            ..Default::default()
        };
        let env = of_step(BTreeMap::new(), &job, &layout, &facts);
        let wanted = [
            ("SLURM_JOB_ID", "169"),
            ("SLURM_JOB_NODELIST", "c[1-2]"),
            ("SLURM_STEP_NODELIST", "c[1-2]"),
            ("SLURM_JOB_CPUS_PER_NODE", "2(x2)"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x2)"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_NPROCS", "4"),
            ("SLURM_STEP_NUM_NODES", "2"),
            ("SLURM_LABELIO", "1"),
            ("SLURM_UMASK", "0022"),
            ("SLURM_JOB_START_TIME", "1795476422"),
            ("SLURM_JOB_END_TIME", "1795476482"),
            ("SLURM_DISTRIBUTION", "block"),
        ];
        for (name, value) in wanted {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        let of_second: BTreeMap<String, String> = of_node(&job, &layout, 1).into_iter().collect();
        assert_eq!(
            (of_second["SLURM_GTIDS"].as_str(), of_second["SLURM_NODEID"].as_str()),
            ("2,3", "1")
        );
        let task = of_task(3, 1, Some(("169.0", 4)));
        assert!(
            task.contains(&pair("SLURM_LOCALID", "1")) && task.contains(&pair("PMI_RANK", "3"))
        );
    }
}
