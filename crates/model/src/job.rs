//! What a job asks for. A `JobSpec` is written at submit and never changes but by an update, which
//! makes a new one.
//!
//! Invariant: script and environment are blobs named by hash; they are never in core, in events or
//! in control frames.
use crate::id::{BlobHash, JobId, PoolName};
use crate::money::MicroUsd;
use crate::ranges::IndexRanges;
use crate::resources::Resources;
use crate::time::{DurationMs, Timestamp};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Tells a node on the head's own machine how many open files (soft limit) its jobs start with: the
/// head has raised its own, which nodes inherit.
pub const SOFT_FILES_VARIABLE: &str = "PCLUSTER_SOFT_FILES";

/// The tasks of an array, and how many may run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArraySpec {
    /// Indices as asked for: `1-10:2` is 1, 3, 5, 7, 9.
    pub indices: IndexRanges,
    /// `%N`: at most this many run at once; `None` is no limit.
    #[serde(default)]
    pub throttle: Option<u32>,
}

/// When a dependency counts as met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DependencyKind {
    /// The other job has started (or was cancelled before it could).
    After,
    /// The other job has ended, however it ended.
    AfterAny,
    /// The other job has ended well; every task of an array.
    AfterOk,
    /// The other job has ended badly; any task of an array.
    AfterNotOk,
    /// Task N of this array waits for task N of the other to end well.
    AfterCorr,
    /// Every earlier job of this user with this name has ended; `job` means nothing.
    Singleton,
}

/// One job that this one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub kind: DependencyKind,
    pub job: JobId,
    /// One task of an array (`41_3`); `None` is the whole job.
    #[serde(default)]
    pub task: Option<u32>,
    /// `after:41+5`: this long after the other job started.
    #[serde(default)]
    pub delay_ms: DurationMs,
}

/// What runs on the first node of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// The script.
    #[default]
    Batch,
    /// Nothing: the nodes are held for steps (`salloc`, `srun`) until the job is finished by its
    /// owner, its lease or its time limit.
    Allocation,
}

/// Memory as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryAsk {
    /// Not said: in proportion to the CPUs on the shape it lands on.
    #[default]
    Proportional,
    /// Bytes on each node.
    PerNode(u64),
    /// Bytes for each CPU.
    PerCpu(u64),
}

/// Whether output files are emptied or appended to when the job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenMode {
    /// First attempt empties, a requeued one appends after a line that names it.
    #[default]
    AppendOnRequeue,
    Truncate,
    Append,
}

/// A signal by its number on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

/// `--signal=[B:]SIG@TIME`: sent before the time limit ends the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarnSignal {
    pub signal: Signal,
    /// How long before the end, in milliseconds.
    pub before_ms: DurationMs,
    /// `B:`: only the batch shell, not its children.
    #[serde(default)]
    pub batch_only: bool,
}

/// Who gets a signal that is not to end the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalScope {
    /// Every process of the job.
    #[default]
    All,
    /// The batch shell only, or the program it became by `exec`.
    Batch,
    /// The tasks of its steps only.
    Steps,
}

/// Events a user may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailEvent {
    Begin,
    End,
    Fail,
    Requeue,
}

/// Whether a job's nodes may be spot machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpotAsk {
    /// As its pool has it.
    #[default]
    AsPool,
    /// Spot first, also where the pool buys on demand and its provider has spot.
    Yes,
    /// Never.
    No,
    /// Nothing else.
    Only,
}

impl SpotAsk {
    /// Nothing was said.
    #[must_use]
    pub fn is_as_pool(&self) -> bool {
        *self == Self::AsPool
    }

    /// The value of `--spot`; `None` where nothing was said.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::AsPool => None,
            Self::Yes => Some("yes"),
            Self::No => Some("no"),
            Self::Only => Some("only"),
        }
    }
}

/// Everything a job asks for. Fields are only ever added, with defaults: events are for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    pub name: String,
    /// Pools in order of preference; empty is the default pool.
    #[serde(default)]
    pub pools: Vec<PoolName>,
    /// Nodes; each gets `per_node`.
    #[serde(default = "one")]
    pub nodes: u32,
    /// Tasks over all nodes (what `srun` starts).
    #[serde(default = "one")]
    pub tasks: u32,
    #[serde(default = "one")]
    pub cpus_per_task: u32,
    /// Tasks on each node where asked for.
    #[serde(default)]
    pub tasks_per_node: Option<u32>,
    #[serde(default)]
    pub memory: MemoryAsk,
    /// GPUs on each node.
    #[serde(default)]
    pub gpus_per_node: u32,
    /// GPU model in lower case; empty is any.
    #[serde(default)]
    pub gpu_type: String,
    /// Local scratch in bytes on each node; 0 is a share of what is left.
    #[serde(default)]
    pub tmp_bytes: u64,
    /// `None` is no limit (after the pool's default was applied at submit).
    #[serde(default)]
    pub time_limit_ms: Option<DurationMs>,
    /// The node is for this job alone.
    #[serde(default)]
    pub exclusive: bool,
    #[serde(default)]
    pub array: Option<ArraySpec>,
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// True: one met dependency is enough (`?` between them).
    #[serde(default)]
    pub any_dependency: bool,
    /// Not before.
    #[serde(default)]
    pub begin: Option<Timestamp>,
    /// Higher starts first; order of submission decides ties.
    #[serde(default)]
    pub priority: i64,
    /// Submitted held.
    #[serde(default)]
    pub hold: bool,
    /// May run again after its node was lost.
    #[serde(default = "yes")]
    pub requeue: bool,
    #[serde(default)]
    pub warn_signal: Option<WarnSignal>,
    /// A pattern (`crate::pattern`); relative to `work_dir`.
    pub output: String,
    /// `None`: the same file as `output`.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub input: Option<String>,
    #[serde(default)]
    pub open_mode: OpenMode,
    /// Create missing directories of the output files, as the user.
    #[serde(default)]
    pub make_output_dirs: bool,
    /// The script; its interpreter is its first line.
    pub script: BlobHash,
    /// Arguments of the script.
    #[serde(default)]
    pub args: Vec<String>,
    /// `NAME=VALUE` records, each ended by a NUL byte.
    pub environment: BlobHash,
    pub work_dir: String,
    /// Starts in `/tmp`, and says so, where `work_dir` is not there; else it does not start.
    #[serde(default)]
    pub tmp_fallback: bool,
    /// File mode mask at submit.
    #[serde(default)]
    pub umask: Option<u32>,
    /// Soft limits at submit: `nofile`, `stack`, … with the value, `None` for unlimited.
    #[serde(default)]
    pub soft_limits: Vec<(String, Option<u64>)>,
    #[serde(default)]
    pub comment: String,
    #[serde(default)]
    pub account: String,
    /// Never start what could cost more.
    #[serde(default)]
    pub max_cost: Option<MicroUsd>,
    /// Image of the nodes; `None` is the pool's.
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "SpotAsk::is_as_pool")]
    pub spot: SpotAsk,
    #[serde(default)]
    pub mail: Vec<MailEvent>,
    #[serde(default)]
    pub kind: JobKind,
    /// An allocation ends when its client has not renewed it for this long; `None` is never.
    #[serde(default)]
    pub lease_ms: Option<DurationMs>,
    /// It must have ended by then: a waiting job is given up, a running one ended.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Only on nodes with all of these names among the features of their pool and shape.
    #[serde(default)]
    pub features: Vec<String>,
    /// And with all names of one of these lists; none at all asks for nothing more.
    #[serde(default)]
    pub feature_choices: Vec<Vec<String>>,
    /// Every node by the same of these lists.
    #[serde(default)]
    pub same_choice: bool,
    /// The allocation contains these nodes, by name.
    #[serde(default)]
    pub only_nodes: Vec<String>,
    /// Never on these nodes, by name.
    #[serde(default)]
    pub not_nodes: Vec<String>,
    /// A label without effect.
    #[serde(default)]
    pub qos: String,
    /// The number of tasks was asked for, not derived.
    #[serde(default)]
    pub tasks_given: bool,
    /// The CPUs of a task were asked for, not derived.
    #[serde(default)]
    pub cpus_given: bool,
    /// The script's path at submit, for people; empty when it had none.
    #[serde(default)]
    pub command: String,
    /// The command that submitted it, for people.
    #[serde(default)]
    pub submit_line: String,
    /// Name of the machine it was submitted on.
    #[serde(default)]
    pub submit_host: String,
    /// Where it was submitted; empty is `work_dir`.
    #[serde(default)]
    pub submit_dir: String,
    /// Given up once its dependencies can never be met; otherwise it waits to be seen.
    #[serde(default)]
    pub end_when_never: bool,
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

impl Default for JobSpec {
    /// One task on one node of the default pool, with nothing said: a start for `..` in
    /// initializers, not yet a job (no name, output, directory, script).
    fn default() -> Self {
        Self {
            name: String::new(),
            pools: Vec::new(),
            nodes: 1,
            tasks: 1,
            cpus_per_task: 1,
            tasks_per_node: None,
            memory: MemoryAsk::default(),
            gpus_per_node: 0,
            gpu_type: String::new(),
            tmp_bytes: 0,
            time_limit_ms: None,
            exclusive: false,
            array: None,
            dependencies: Vec::new(),
            any_dependency: false,
            begin: None,
            priority: 0,
            hold: false,
            requeue: true,
            warn_signal: None,
            output: String::new(),
            error: None,
            input: None,
            open_mode: OpenMode::default(),
            make_output_dirs: false,
            script: BlobHash([0; 32]),
            args: Vec::new(),
            environment: BlobHash([0; 32]),
            work_dir: String::new(),
            tmp_fallback: false,
            umask: None,
            soft_limits: Vec::new(),
            comment: String::new(),
            account: String::new(),
            max_cost: None,
            image: None,
            spot: SpotAsk::AsPool,
            mail: Vec::new(),
            kind: JobKind::default(),
            lease_ms: None,
            deadline: None,
            features: Vec::new(),
            feature_choices: Vec::new(),
            same_choice: false,
            only_nodes: Vec::new(),
            not_nodes: Vec::new(),
            qos: String::new(),
            tasks_given: false,
            cpus_given: false,
            command: String::new(),
            submit_line: String::new(),
            submit_host: String::new(),
            submit_dir: String::new(),
            end_when_never: false,
        }
    }
}

impl JobSpec {
    /// CPUs on each node: tasks are spread evenly, the fullest node counts.
    #[must_use]
    pub fn cpus_per_node(&self) -> u32 {
        let tasks = self.tasks_per_node.unwrap_or_else(|| self.tasks.div_ceil(self.nodes.max(1)));
        tasks.max(1).saturating_mul(self.cpus_per_task.max(1))
    }

    /// Whether a machine with these features is of the kind that is asked for.
    pub fn wants_of<'a>(&self, features: impl Iterator<Item = &'a str> + Clone) -> bool {
        let has = |asked: &String| features.clone().any(|has| has == asked);
        self.features.iter().all(has)
            && (self.feature_choices.is_empty()
                || self.feature_choices.iter().any(|choice| choice.iter().all(has)))
    }

    /// What one node must have free on a machine with `usable` for jobs: unspecified memory is in
    /// proportion to the CPUs, an exclusive job takes all of it.
    #[must_use]
    pub fn per_node_on(&self, usable: &Resources) -> Resources {
        if self.exclusive {
            let asked = self.least_per_node();
            return if usable.holds(&asked) { *usable } else { asked };
        }
        let cpus = self.cpus_per_node();
        let memory_bytes = match self.memory {
            MemoryAsk::Proportional => {
                let share = u128::from(usable.memory_bytes) * u128::from(cpus);
                let all = u128::from(usable.cpus.max(1));
                u64::try_from(share / all).unwrap_or(u64::MAX).min(usable.memory_bytes)
            }
            MemoryAsk::PerNode(bytes) => bytes,
            MemoryAsk::PerCpu(bytes) => bytes.saturating_mul(u64::from(cpus)),
        };
        Resources { cpus, memory_bytes, gpus: self.gpus_per_node, tmp_bytes: self.tmp_bytes }
    }

    /// The smallest room on one node in which this job could start.
    #[must_use]
    pub fn least_per_node(&self) -> Resources {
        let cpus = self.cpus_per_node();
        let memory_bytes = match self.memory {
            MemoryAsk::Proportional => 0,
            MemoryAsk::PerNode(bytes) => bytes,
            MemoryAsk::PerCpu(bytes) => bytes.saturating_mul(u64::from(cpus)),
        };
        Resources { cpus, memory_bytes, gpus: self.gpus_per_node, tmp_bytes: self.tmp_bytes }
    }
}
