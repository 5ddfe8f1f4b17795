//! What clients send.
use pcluster_model::job::SpotAsk;
use pcluster_model::{Dependency, JobSpec, SignalScope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `POST /v1/jobs`. The hashes in `spec` are filled in by the head from the blobs sent here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SubmitRequest {
    /// `pcluster_model::JobSpec` as JSON. `script` and `environment` may be all zeros.
    #[schema(value_type = Object)]
    pub spec: JobSpec,
    /// The script, base64.
    pub script_base64: String,
    /// `NAME=VALUE` records ended by NUL bytes, base64.
    pub environment_base64: String,
    /// The same key from the same user again answers with the first job: a retry is safe.
    #[serde(default)]
    pub key: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    pub estimate_only: bool,
    /// Words for the time limit came from the pool's default, and such: who asked (`submit`, `run`,
    /// `sbatch`). Decides names of default output files only.
    #[serde(default)]
    pub face: String,
}

/// `GET /v1/jobs`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct JobsQuery {
    /// Jobs of everybody.
    pub all: bool,
    /// Finished ones too.
    pub finished: bool,
    /// Only these jobs: `41,42_3`.
    pub ids: Option<String>,
    /// Only jobs of this user.
    pub user: Option<String>,
}

/// `POST /v1/jobs/{id}/cancel`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CancelRequest {
    /// Send this signal by its number instead of ending the job.
    pub signal: Option<i32>,
    /// Who gets the signal: `all`, `batch` or `steps`.
    #[schema(value_type = String)]
    pub scope: SignalScope,
}

/// `POST /v1/jobs/{id}/requeue`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RequeueRequest {
    /// It is held there.
    pub hold: bool,
}

/// `POST /v1/jobs/{id}/update`; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateRequest {
    pub name: Option<String>,
    pub memory_bytes_per_node: Option<u64>,
    pub cpus_per_task: Option<u32>,
    /// Milliseconds; 0 is no limit.
    pub time_limit_ms: Option<u64>,
    pub pool: Option<String>,
    pub priority: Option<i64>,
    /// Replaces all dependencies; empty is none.
    #[schema(value_type = Option<Vec<Object>>)]
    pub dependencies: Option<Vec<Dependency>>,
    /// Tasks of an array at once; 0 is no limit.
    pub throttle: Option<u32>,
    pub requeue: Option<bool>,
    /// `as_pool`, `yes`, `no` or `only`: whether its nodes may be spot machines.
    #[schema(value_type = Option<String>)]
    pub spot: Option<SpotAsk>,
    pub comment: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    pub memory_bytes_per_cpu: Option<u64>,
    /// Nodes; where the number of tasks was not asked for, one task on each.
    pub nodes: Option<u32>,
    pub tasks: Option<u32>,
    /// 0 is as many as fall on each.
    pub tasks_per_node: Option<u32>,
    pub gpus_per_node: Option<u32>,
    pub exclusive: Option<bool>,
    /// Not before, milliseconds since the epoch; 0 is at once.
    pub begin_ms: Option<i64>,
    /// 0 is none.
    pub deadline_ms: Option<i64>,
    /// Each replaces the whole list; empty is none.
    pub features: Option<Vec<String>>,
    /// Goes with `features`: what is not said is none.
    pub feature_choices: Option<Vec<Vec<String>>>,
    pub same_choice: Option<bool>,
    pub only_nodes: Option<Vec<String>>,
    pub not_nodes: Option<Vec<String>>,
    /// One met dependency is enough.
    pub any_dependency: Option<bool>,
    pub output: Option<String>,
    pub error: Option<String>,
    pub work_dir: Option<String>,
}

/// `GET /v1/jobs/{id}/output`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct OutputQuery {
    /// Bytes to skip from the start of the file.
    pub offset: u64,
    /// Keep the answer open until the job has ended.
    pub follow: bool,
}

/// `GET /v1/jobs/{id}/wait`: a long poll.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct WaitQuery {
    /// Answer at the latest after this, ended or not; at most 60,000.
    pub timeout_ms: u64,
}

/// `GET /v1/history`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct HistoryQuery {
    pub all: bool,
    pub user: Option<String>,
    /// Ended at or after this, milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Newest first, at most this many; 0 is 100.
    pub limit: u32,
}

/// What `cost` is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CostBy {
    #[default]
    User,
    Job,
    Pool,
    Day,
    Account,
}

/// `GET /v1/cost`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(default)]
pub struct CostQuery {
    #[param(inline)]
    pub by: CostBy,
    /// From (milliseconds since the epoch); absent is the start of this month in the head's zone.
    pub since_ms: Option<i64>,
    pub all: bool,
}

/// `POST /v1/unlogged/adopt`, `POST /v1/unlogged/terminate`: machines of launches that the log does
/// not know.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UnloggedRequest {
    /// Only these, by the provider's names; empty is all of them.
    pub instances: Vec<String>,
}

/// `POST /v1/down`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DownRequest {
    /// Cancel what runs instead of waiting for it.
    pub now: bool,
}
