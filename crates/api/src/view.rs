//! What the head answers.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// States as users see them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    Ending,
    Starting,
    #[default]
    Queued,
    Held,
    Finished,
}

/// How a job or task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeView {
    /// `completed failed timed_out out_of_memory disk_full cancelled node_failed preempted
    /// deadline_missed client_gone cannot_run`.
    pub word: String,
    /// Exit code of the batch process, where it had one.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// In words: who cancelled, why it could not run.
    pub detail: String,
    /// What `wait` and `run` return: the job's own code, 128 + signal, 1 for other bad ends.
    pub wait_code: u8,
    /// The number of the user who cancelled it.
    #[serde(default)]
    pub by_uid: Option<u32>,
}

/// Why something waits: a stable word and a short text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonView {
    /// `node_boots no_room dependency dependency_failed throttle held begin pool_max budget
    /// no_capacity launch_failed priority closing …`
    pub word: String,
    /// Fits a table: `node boots`, `after 41`, `held by you`.
    pub short: String,
}

/// One row of `queue`: a job, a task of an array, or the pending rest of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// `42`, `41_3`, `41_[5-12]`.
    pub id: String,
    pub job: u64,
    pub task: Option<u32>,
    /// The pending rest of an array: `5-12`.
    pub tasks: Option<String>,
    /// How many jobs this row stands for.
    pub count: u64,
    pub name: String,
    pub user: String,
    pub account: String,
    pub pool: String,
    pub state: JobState,
    pub outcome: Option<OutcomeView>,
    pub reason: Option<ReasonView>,
    pub nodes: u32,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub gpus: u32,
    pub attempt: u32,
    pub submitted_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub elapsed_ms: u64,
    pub time_limit_ms: Option<u64>,
    /// Expected start of what waits.
    pub expected_start_ms: Option<i64>,
    /// `None`: not for this reader's eyes.
    pub cost_micro_usd: Option<i64>,
    /// Names of its nodes.
    pub node_names: Vec<String>,
    pub priority: i64,
}

/// `GET /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub schema: String,
    pub now_ms: i64,
    pub jobs: Vec<JobView>,
    /// Jobs of others that were left out, and how many people they are of.
    pub others: u64,
    pub other_users: u64,
}

/// One attempt, in `show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    pub run: u64,
    pub attempt: u32,
    pub node_names: Vec<String>,
    pub placed_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub end: Option<String>,
    pub cpu_ms: u64,
    pub max_rss_bytes: u64,
}

/// `GET /v1/jobs/{id}`: everything about one job (an array with all its rows).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    pub schema: String,
    pub now_ms: i64,
    pub rows: Vec<JobView>,
    pub runs: Vec<RunView>,
    /// Words of the request: label and value, in order of showing.
    pub asked: Vec<(String, String)>,
    /// For the owner and admins only.
    pub output: Option<String>,
    pub error: Option<String>,
    pub work_dir: Option<String>,
    pub comment: Option<String>,
    pub script: Option<String>,
}

/// What will happen, said at submit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EstimateView {
    /// `8 CPUs, 16 GB, at most 2 h, pool compute`.
    pub asked: String,
    /// `at once on compute-7`, `about 14:21: starting 1 x c6i.4xlarge for it` without the time.
    pub start: String,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    /// From how many earlier runs of this name of this user `end_ms` comes; 0: not known.
    pub history_runs: u32,
    pub cost_micro_usd: Option<i64>,
    pub cost_at_most_micro_usd: Option<i64>,
    pub price_per_hour_micro_usd: Option<i64>,
    pub budget_left_micro_usd: Option<i64>,
    pub output: String,
    /// Said once each: defaults applied, limits of this machine.
    pub notes: Vec<String>,
}

/// `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubmitResponse {
    pub schema: String,
    /// 0 with `estimate_only`.
    pub job: u64,
    /// The key was known: this is the earlier job.
    pub repeated: bool,
    pub name: String,
    pub estimate: EstimateView,
}

/// `GET /v1/jobs/{id}/why` and `/v1/nodes/{id}/why`: one frame for every cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    pub schema: String,
    /// First line: cause and time.
    pub headline: String,
    /// The same as one stable word (see `ReasonView::word`).
    pub word: String,
    /// Label and text, in order.
    pub facts: Vec<(String, String)>,
    /// The smallest change that helps.
    pub change: Vec<String>,
    pub hints: Vec<String>,
}

/// `POST /v1/jobs/{id}/…`: what was done, by task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionResponse {
    pub schema: String,
    pub job: u64,
    /// In words: `job 42 cancelled; it was running on compute-7`.
    pub said: String,
    /// Tasks or jobs that changed.
    pub changed: u64,
}

/// `GET /v1/jobs/{id}/wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitResponse {
    pub schema: String,
    pub ended: bool,
    /// Highest code of all tasks, once ended.
    pub code: u8,
    pub rows: Vec<JobView>,
}

/// One row of `nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// `compute-7`.
    pub name: String,
    /// `launch.index`.
    pub id: String,
    pub pool: String,
    /// `wanted booting idle busy draining stopping lost failed gone`.
    pub state: String,
    pub shape: String,
    pub image: String,
    pub spot: bool,
    pub instance: Option<String>,
    pub cpus_used: u32,
    pub cpus: u32,
    pub memory_used_bytes: u64,
    pub memory_bytes: u64,
    pub gpus_used: u32,
    pub gpus: u32,
    pub price_per_hour_micro_usd: Option<i64>,
    pub wanted_at_ms: i64,
    pub launched_at_ms: Option<i64>,
    pub ready_at_ms: Option<i64>,
    pub gone_at_ms: Option<i64>,
    /// Boot phase, and since when.
    pub phase: Option<String>,
    pub phase_since_ms: Option<i64>,
    /// An idle node stops then.
    pub stops_at_ms: Option<i64>,
    /// `40`, `41_3`.
    pub jobs: Vec<String>,
    /// Why it failed, drains or stops.
    pub why: Option<String>,
    pub cost_micro_usd: i64,
    pub connected: bool,
    /// Of a failed boot, for admins: the last line of its log, or of the machine's console.
    #[serde(default)]
    pub last_line: Option<String>,
}

/// `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    pub schema: String,
    pub now_ms: i64,
    pub nodes: Vec<NodeView>,
    pub price_per_hour_micro_usd: i64,
    /// The head's own machine and storage: what costs whether or not there are nodes.
    #[serde(default)]
    pub standing_per_hour_micro_usd: i64,
    /// Nodes whose price nobody knows.
    pub unknown_prices: u32,
}

/// `GET /v1/nodes/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDetail {
    pub schema: String,
    pub now_ms: i64,
    pub node: NodeView,
    /// Boot timeline: moment and what.
    pub timeline: Vec<(i64, String)>,
    /// What the agent found out: label and text.
    pub facts: Vec<(String, String)>,
    /// Last lines of the boot log.
    pub log: Vec<String>,
}

/// One line of `history`.
pub type HistoryRow = JobView;

/// `GET /v1/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryList {
    pub schema: String,
    pub now_ms: i64,
    pub jobs: Vec<HistoryEntry>,
}

/// A finished job or task, and how well it used what it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    pub job: JobView,
    /// CPU time used in all, milliseconds.
    pub cpu_ms: u64,
    pub max_rss_bytes: u64,
}

/// A sum of money with its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct CostBuckets {
    pub job_micro_usd: i64,
    pub boot_micro_usd: i64,
    /// Free room on busy nodes.
    pub idle_busy_micro_usd: i64,
    /// Empty nodes.
    pub idle_empty_micro_usd: i64,
    pub drain_micro_usd: i64,
}

/// The head's own machine, or storage: it costs whether or not there is work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingCost {
    /// `head` or `storage`.
    pub kind: String,
    /// `t3.large`, `500 GB gp3`.
    pub label: String,
    /// The provider's name of it.
    pub reference: String,
    /// The provider's time, or the end of the piece before.
    pub since_ms: i64,
    /// None while it stands.
    pub until_ms: Option<i64>,
    /// The provider could not tell its end.
    pub estimated: bool,
    /// None when nobody knows it: it is counted as nothing.
    pub price_per_hour_micro_usd: Option<i64>,
    /// In the time asked for.
    pub cost_micro_usd: i64,
}

/// One line of `cost --by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostRow {
    /// User, job, pool, day or account.
    pub key: String,
    pub jobs: u64,
    pub cpu_hours_milli: u64,
    pub cost_micro_usd: i64,
    /// CPU time used of CPU time held, percent.
    pub used_cpu_percent: Option<u32>,
    /// Most memory used of memory held, percent, weighted by time.
    pub used_memory_percent: Option<u32>,
    /// What stood on that day, by day only: the head's machine and storage belong to no user, job or pool.
    #[serde(default)]
    pub standing_micro_usd: i64,
}

/// `GET /v1/cost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostView {
    pub schema: String,
    pub cluster: String,
    pub since_ms: i64,
    pub now_ms: i64,
    pub buckets: CostBuckets,
    pub jobs: u64,
    pub boots: u64,
    pub spans: u64,
    /// Spans still open: their sums are up to now.
    pub open_spans: u64,
    /// Spans whose end the provider could not tell.
    pub estimated_spans: u64,
    pub nodes_micro_usd: i64,
    /// The provider's own meter for the same spans, where it keeps one.
    pub provider_micro_usd: Option<i64>,
    /// Nodes with no known price.
    pub unknown_prices: u64,
    /// The head's own machine, where it is the provider's.
    #[serde(default)]
    pub head_micro_usd: i64,
    #[serde(default)]
    pub storage_micro_usd: i64,
    /// What these two sums are made of.
    #[serde(default)]
    pub standing: Vec<StandingCost>,
    /// Nodes, head and storage.
    #[serde(default)]
    pub total_micro_usd: i64,
    pub budget_micro_usd: Option<i64>,
    /// What living nodes may still cost, and what stands will cost until the month's end.
    pub committed_micro_usd: i64,
    pub by: Vec<CostRow>,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    pub schema: String,
    pub cluster: String,
    pub cluster_id: String,
    pub provider: String,
    pub version: String,
    pub pid: u32,
    pub started_at_ms: i64,
    pub now_ms: i64,
    pub config_file: String,
    pub state_dir: String,
    /// `up`, `closing` (down waits), `closed`.
    pub phase: String,
    /// `HOST:PORT` of the TLS port.
    pub node_address: String,
    pub cpu_percent: u32,
    pub memory_bytes: u64,
    pub disk_free_bytes: u64,
    pub jobs_running: u64,
    pub jobs_starting: u64,
    pub jobs_queued: u64,
    pub jobs_held: u64,
    pub jobs_done_this_month: u64,
    pub nodes_busy: u32,
    pub nodes_idle: u32,
    pub nodes_booting: u32,
    pub nodes_max: u32,
    pub nodes_failed_last_hour: u32,
    /// Nodes, head and storage.
    pub price_per_hour_micro_usd: i64,
    /// Of that, what costs whether or not there is work, and its labels.
    #[serde(default)]
    pub standing_per_hour_micro_usd: i64,
    #[serde(default)]
    pub standing: Vec<String>,
    pub month_micro_usd: i64,
    pub budget_micro_usd: Option<i64>,
    /// Instances in the provider's own list, known and unknown, and when it was read.
    pub instances_listed: u32,
    pub instances_unknown: u32,
    pub listed_at_ms: Option<i64>,
    /// Label and text of what needs attention.
    pub attention: Vec<(String, String)>,
    /// Said once: what cannot be had on this machine.
    pub notes: Vec<String>,
}

/// `POST /v1/down`: where it has got to; repeated until `phase` is `closed`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownView {
    pub schema: String,
    pub phase: String,
    pub running: u64,
    pub waiting: u64,
    pub nodes_left: u32,
    /// In the provider's own list.
    pub instances_left: u32,
    /// When the last running job ends at the latest.
    pub last_end_ms: Option<i64>,
    /// Providers whose lists cannot be read, and why: nobody knows what they still have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// What was removed beside machines, and what stays and why, in lines; known once it is `closed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleaned: Vec<String>,
}
