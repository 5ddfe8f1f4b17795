//! Jobs as records, with everything a translation into another scheduler's words needs: one record
//! for each task that has or had a run, and one for the tasks of a job that have not.
use crate::view::{JobState, OutcomeView, ReasonView};
use pcluster_model::job::{JobKind, MemoryAsk};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `GET /v1/records`. Without any field: all jobs of everybody that have not ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct RecordsQuery {
    /// Only these: `41,42_3`; an id that means nothing is left out, see `RecordList::unknown`. Ids
    /// of tasks of their own (`raw_job`) are understood.
    pub ids: Option<String>,
    /// Only jobs of these users: `ana,bert`.
    pub users: Option<String>,
    /// Only jobs with these names: `a,b`.
    pub names: Option<String>,
    /// Those that have ended too, where the end is not before this, milliseconds since the epoch.
    pub ended_since_ms: Option<i64>,
    /// Those of `ids` that have ended too, whenever that was.
    pub ended: bool,
    /// Earlier attempts as records of their own, before the last one.
    pub attempts: bool,
    /// With the steps of each run.
    pub steps: bool,
}

/// `GET /v1/records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordList {
    pub schema: String,
    pub cluster: String,
    pub now_ms: i64,
    /// By job id, then task; a job's waiting tasks before those that ran.
    pub records: Vec<JobRecord>,
    /// Ids of the query that were never given out, or of which nothing is known any more.
    pub unknown: Vec<String>,
}

/// One task of a job (a plain job is one task), or all tasks of an array that wait for their first
/// run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobRecord {
    pub job: u64,
    /// Its own id for those who know no arrays; `job` while it has none.
    pub raw_job: u64,
    /// True for every record of an array.
    pub array: bool,
    /// Its index, once it has had a run of its own.
    pub task: Option<u32>,
    /// The waiting rest of an array: `5-12` or `1,3,7-9`.
    pub tasks: Option<String>,
    /// `%N` of an array.
    pub throttle: Option<u32>,
    /// First, last, step and number of the array's indices.
    pub array_bounds: Option<(u32, u32, u32, u32)>,
    pub name: String,
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// Name of the group of `gid`, or its number.
    pub group: String,
    /// The account asked for, else the user's name.
    pub account: String,
    pub qos: String,
    pub comment: String,
    pub pool: String,
    #[schema(value_type = String)]
    pub kind: JobKind,
    pub state: JobState,
    pub suspended: bool,
    /// How long it stood still in all; its time limit did, too.
    #[serde(default)]
    pub suspended_ms: u64,
    pub outcome: Option<OutcomeView>,
    /// Why it waits; of one that was given up, why it never started.
    pub reason: Option<ReasonView>,
    pub held_by: Option<String>,
    pub dependencies: Vec<DependencyRecord>,
    /// One met dependency is enough.
    pub any_dependency: bool,
    pub priority: i64,
    pub requeue: bool,
    pub exclusive: bool,
    pub features: Vec<String>,
    /// And all of one of these, where there are some; `same_choice`: every node by the same of them.
    #[serde(default)]
    pub feature_choices: Vec<Vec<String>>,
    #[serde(default)]
    pub same_choice: bool,
    pub only_nodes: Vec<String>,
    pub not_nodes: Vec<String>,

    /// Nodes, tasks and CPUs as asked for.
    pub nodes: u32,
    pub ntasks: u32,
    pub ntasks_given: bool,
    pub ntasks_per_node: Option<u32>,
    pub cpus_per_task: u32,
    pub cpus_given: bool,
    #[schema(value_type = Object)]
    pub memory_ask: MemoryAsk,
    pub gpus_per_node: u32,
    pub gpu_type: String,
    pub tmp_bytes: u64,
    /// What it has on each of `node_names`; while it waits what it would need at least on one.
    pub cpus_per_node: Vec<u32>,
    pub memory_per_node_bytes: Vec<u64>,
    /// Names of its nodes; empty while it waits.
    pub node_names: Vec<String>,

    pub submitted_at_ms: i64,
    /// From when it could have started; `None` while it waits for another job or is held.
    #[serde(default)]
    pub eligible_at_ms: Option<i64>,
    /// `--begin`.
    pub begin_ms: Option<i64>,
    pub deadline_ms: Option<i64>,
    /// Placed on its nodes.
    pub placed_at_ms: Option<i64>,
    /// The batch process started.
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub expected_start_ms: Option<i64>,
    pub time_limit_ms: Option<u64>,
    /// 1 for the first; 0 while it never had one.
    pub attempt: u32,
    /// Why this attempt was not the last; only with `attempts`.
    pub requeued: Option<String>,

    /// Empty for those who may not see it.
    pub work_dir: String,
    pub output: String,
    pub error: String,
    pub input: String,
    /// The script's path at submit; empty when it had none.
    pub command: String,
    pub args: Vec<String>,
    /// The command that submitted it.
    #[serde(default)]
    pub submit_line: String,
    pub submit_host: String,

    pub user_cpu_ms: u64,
    pub system_cpu_ms: u64,
    pub max_rss_bytes: u64,
    /// The part of the script: what its node counted less what the steps there did.
    #[serde(default)]
    pub batch_user_cpu_ms: u64,
    #[serde(default)]
    pub batch_system_cpu_ms: u64,
    /// The most that the first node held at once, with the steps there.
    #[serde(default)]
    pub batch_max_rss_bytes: u64,
    /// The run behind this record; what steps are asked of.
    pub run: Option<u64>,
    pub steps: Vec<StepRecord>,
    /// `None`: not for this reader's eyes.
    pub cost_micro_usd: Option<i64>,
}

/// One dependency and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependencyRecord {
    /// `after afterany afterok afternotok aftercorr singleton`.
    pub kind: String,
    /// `41` or `41_3`; empty for `singleton`.
    pub job: String,
    pub delay_ms: u64,
    /// `met`, `waiting` or `never`.
    pub stands: String,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepRecord {
    pub step: u32,
    pub name: String,
    pub ntasks: u32,
    /// CPUs on all its nodes.
    pub cpus: u32,
    /// Its tasks on each of `node_names`.
    #[serde(default)]
    pub tasks_per_node: Vec<u32>,
    pub node_names: Vec<String>,
    pub started_at_ms: i64,
    pub ended_at_ms: Option<i64>,
    /// Highest of its tasks.
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// It was ended with its job, by a cancel or a limit.
    pub cancelled: bool,
    pub user_cpu_ms: u64,
    pub system_cpu_ms: u64,
    /// Of its largest task.
    pub max_rss_bytes: u64,
    /// It took more memory than it may.
    #[serde(default)]
    pub out_of_memory: bool,
    /// By task and node, once it has ended; `None` when one of its nodes did not tell.
    #[serde(default)]
    pub usage: Option<StepUsage>,
}

/// What the tasks of a step used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StepUsage {
    /// Tasks that were measured.
    pub tasks: u32,
    /// The most that each of them had, together.
    pub rss_bytes: u64,
    pub vm_bytes: u64,
    /// Of one task: the largest, and the least CPU time.
    pub max_rss_bytes: MostOfTask,
    pub max_vm_bytes: MostOfTask,
    pub min_cpu_ms: MostOfTask,
}

/// An amount, and the task that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MostOfTask {
    pub amount: u64,
    pub task: u32,
    pub node: String,
}

impl StepUsage {
    /// Takes in what one node tells of these tasks of it: the largest, and the least CPU time.
    pub fn add(&mut self, tasks: u32, sums: (u64, u64), most: [(u64, u32); 3], node: &str) {
        if tasks == 0 {
            return;
        }
        let first = self.tasks == 0;
        let [rss, vm, cpu] = most;
        let all = [&mut self.max_rss_bytes, &mut self.max_vm_bytes, &mut self.min_cpu_ms];
        for ((known, (amount, task)), is_least) in
            all.into_iter().zip([rss, vm, cpu]).zip([false, false, true])
        {
            let beats = if is_least { amount < known.amount } else { amount > known.amount };
            if first || beats {
                *known = MostOfTask { amount, task, node: node.to_owned() };
            }
        }
        self.tasks = self.tasks.saturating_add(tasks);
        self.rss_bytes = self.rss_bytes.saturating_add(sums.0);
        self.vm_bytes = self.vm_bytes.saturating_add(sums.1);
    }
}

/// `GET /v1/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolList {
    pub schema: String,
    pub cluster: String,
    pub now_ms: i64,
    pub pools: Vec<PoolRecord>,
    /// TERM to KILL.
    pub term_grace_ms: u64,
    /// Tasks of an array at most.
    pub max_array_tasks: u64,
}

/// One pool, with its nodes: those that are there and those that could be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolRecord {
    pub name: String,
    pub default: bool,
    pub max_nodes: u32,
    pub max_time_ms: Option<u64>,
    pub default_time_ms: Option<u64>,
    pub exclusive: bool,
    /// What jobs may ask for by name.
    pub features: Vec<String>,
    /// Living nodes by number, then as many that could be started as the pool may have more.
    pub nodes: Vec<PoolNode>,
}

/// A node of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolNode {
    pub name: String,
    /// `none` (could be started) `wanted booting idle busy draining stopping lost`.
    pub state: String,
    pub cpus: u32,
    pub cpus_used: u32,
    pub memory_bytes: u64,
    pub memory_used_bytes: u64,
    pub gpus: u32,
    pub gpus_used: u32,
    pub gpu_type: String,
    pub shape: String,
    pub arch: String,
    /// What jobs may ask for by name: words of its pool, its shape, its architecture, its GPU model.
    #[serde(default)]
    pub features: Vec<String>,
    pub booted_at_ms: Option<i64>,
    pub idle_since_ms: Option<i64>,
    /// Why it drains or stops.
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_nodes_is_put_together() {
        let mut usage = StepUsage::default();
        usage.add(0, (9, 9), [(9, 9); 3], "idle");
        usage.add(2, (30, 300), [(20, 1), (200, 0), (50, 1)], "c1");
        usage.add(1, (25, 100), [(25, 2), (100, 2), (40, 2)], "c2");
        let most = |amount, task, node: &str| MostOfTask { amount, task, node: node.into() };
        assert_eq!((usage.tasks, usage.rss_bytes, usage.vm_bytes), (3, 55, 400));
        assert_eq!(usage.max_rss_bytes, most(25, 2, "c2"));
        assert_eq!(usage.max_vm_bytes, most(200, 0, "c1"));
        assert_eq!(usage.min_cpu_ms, most(40, 2, "c2"));
    }
}
