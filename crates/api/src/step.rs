//! Allocations and their steps, as `srun` and `salloc` need them.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/jobs/{id}/allocation`: where a job runs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AllocationView {
    pub schema: String,
    pub job: u64,
    pub task: Option<u32>,
    pub raw_job: u64,
    pub run: u64,
    pub name: String,
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    pub account: String,
    pub pool: String,
    pub cluster: String,
    /// Every part has a started run on its node: steps can be made.
    pub started: bool,
    pub parts: Vec<PartView>,
    pub ntasks: u32,
    pub ntasks_given: bool,
    pub ntasks_per_node: Option<u32>,
    pub cpus_per_task: u32,
    pub cpus_given: bool,
    pub memory_per_cpu_bytes: Option<u64>,
    pub work_dir: String,
    pub time_limit_ms: Option<u64>,
    pub started_at_ms: Option<i64>,
}

/// One node of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    pub rank: u32,
    pub node: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub gpus: u32,
}

/// `POST /v1/runs/{run}/steps`: room for a step. Answered with a [`StepGrant`], or with the problem
/// `busy` when the tasks of other steps hold what it needs: ask again then.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StepRequest {
    /// Repeats of one request carry the same key and get the same step.
    pub key: String,
    pub name: String,
    /// Task counts for each part, by rank; 0 leaves a part out. The client made this layout.
    pub tasks_by_rank: Vec<u32>,
    pub cpus_per_task: u32,
    /// GPUs for each part, by rank; empty asks for none of the step's own: it sees those of its job.
    pub gpus_by_rank: Vec<u32>,
    /// Takes nothing from other steps, and waits for nothing.
    pub overlap: bool,
}

/// A step that may start now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepGrant {
    pub schema: String,
    pub run: u64,
    /// From 0 in each run.
    pub step: u32,
}

/// `POST /v1/runs/{run}/steps/{step}/end`: the step daemon of one part says how its tasks ended.
/// Saying it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StepPartEnd {
    pub rank: u32,
    /// Highest exit code of its tasks.
    pub exit_code: i32,
    /// Signal that ended a task, 0 for none.
    pub signal: i32,
    pub user_cpu_ms: u64,
    pub system_cpu_ms: u64,
    /// Of its largest task.
    pub max_rss_bytes: u64,
    pub tasks: Option<TasksUsage>,
    /// A task was killed for want of memory.
    pub out_of_memory: bool,
}

/// What the tasks of a step used on one part, by the number of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TasksUsage {
    /// The one of `max_rss_bytes`.
    pub max_rss_task: u32,
    /// The most that each had, together.
    pub rss_bytes: u64,
    pub vm_bytes: u64,
    /// Of one task.
    pub max_vm_bytes: u64,
    pub max_vm_task: u32,
    pub min_cpu_ms: u64,
    pub min_cpu_task: u32,
}

/// `POST /v1/jobs/{id}/finish`: the owner of an allocation gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FinishRequest {
    /// What its command returned: the job's outcome.
    pub exit_code: i32,
    /// The signal that ended its command, 0 for none.
    pub signal: i32,
}

/// Protocol name of `GET /v1/runs/{run}/parts/{rank}/attach`: the answer is `101`, and what follows
/// is the byte stream to the step daemon of that part.
pub const STREAM_PROTOCOL: &str = "pcluster-stream";
