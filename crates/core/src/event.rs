//! The table of contents of the system: everything that ever happens, as past-tense facts.
//!
//! Invariant: events are for ever. Fields are only added, with defaults; kinds are never reused;
//! `tests/fixtures/events` of every release must still replay. Deliberately absent: secrets, job
//! scripts and environments (blobs by hash), heartbeats, progress and job output (volatile).
use crate::job::{Outcome, Owner};
use crate::ledger::Span;
use crate::standing::Standing;
use crate::step::{Step, StepPartEnd};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::config::{Config, ProviderKind};
use pcluster_model::{
    ClusterId, DurationMs, IndexRanges, InstanceRef, JobId, JobSpec, LaunchId, MicroUsd, NodeId,
    PoolName, Price, Resources, RunId, Shape, Timestamp, UserName,
};
use pcluster_wire::{Exit, Usage};
use serde::{Deserialize, Serialize};

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// From 1, without gaps.
    pub seq: u64,
    /// Steady time of the head.
    pub at: Timestamp,
    pub event: Event,
}

/// One machine's part of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub node: NodeId,
    pub resources: Resources,
}

/// One task placed: a run is born.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Array index; 0 for a plain job.
    #[serde(default)]
    pub task: u32,
    pub run: RunId,
    /// The task's own id for those who know no arrays; the last task keeps the array's.
    pub raw_job: JobId,
    pub attempt: u32,
    pub parts: Vec<Part>,
    /// Money reserved on each of these nodes up to this moment.
    pub reserved_until: Timestamp,
}

/// How one part of a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartEnd {
    Ended {
        exit: Exit,
        usage: Usage,
        started_at: Timestamp,
        ended_at: Timestamp,
    },
    /// Nothing of the user ran there, nor ever will.
    NotStarted {
        why: String,
    },
    /// The provider says that the machine is gone, or it came back under another boot.
    NodeGone {
        why: String,
    },
}

/// The end of one part, one row of `TasksEnded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnded {
    pub run: RunId,
    pub node: NodeId,
    pub end: PartEnd,
}

/// What to do with a run once every part of it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    Finish(Outcome),
    Requeue {
        why: String,
    },
    /// Its machine is taken back: it runs again as often as after a lost node, else it is `Preempted`.
    Preempt {
        why: String,
    },
}

/// The class of a launch failure, as the provider told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchErrorClass {
    NoCapacity,
    Quota { limit: String, used: String },
    RateLimited { retry_at: Timestamp },
    NeverFits,
    Denied,
    BadConfig,
    Unknown,
}

/// One kind of machine of one pool in one place, bought in one way: what failures belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfferingKey {
    pub pool: PoolName,
    pub shape: String,
    #[serde(default)]
    pub spot: bool,
    /// One of the pool's subnets; empty: the provider's choice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subnet: String,
}

impl OfferingKey {
    /// The shape in the pool, wherever and however it is bought.
    #[must_use]
    pub fn of_shape(&self) -> Self {
        Self { spot: false, subnet: String::new(), ..self.clone() }
    }
}

/// A committed wish for machines of one offering; the effect `Launch` follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchIntent {
    pub launch: LaunchId,
    pub offering: OfferingKey,
    pub shape: Shape,
    pub image: String,
    pub price: Option<Price>,
    /// Names for people, one for each machine.
    pub names: Vec<String>,
    /// The first number of the pool's names that is free after this launch.
    pub next_number: u32,
    /// Money reserved on each of these nodes up to this moment.
    pub reserved_until: Timestamp,
    /// In words: whom they are for.
    pub why: String,
    /// Who makes them: the pool may have left the configuration by the time they end.
    #[serde(default)]
    pub provider: Option<ProviderKind>,
    /// The provider bills at least this much of each.
    #[serde(default)]
    pub minimum_billing_ms: DurationMs,
}

/// Why a node leaves service; decides what is said and what counts as a boot failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Nothing needs it.
    Idle,
    /// Its boot made no progress or took too long, or it is not what was ordered.
    BootFailed { phase: String, why: String },
    /// It was silent for too long.
    Lost,
    /// The demand went away while it booted.
    Unneeded,
    /// An admin asked.
    Asked { by: UserName },
    /// The cluster goes down.
    Down,
    /// It misbehaves.
    Unfit { why: String },
    /// It left by itself.
    Left { why: String },
    /// What runs there is not in this log: it goes when that has ended.
    RunsUnknown,
    /// The provider takes it back at this moment (steady time); `None`: it did so without a notice.
    Reclaimed {
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// The provider says that it might be taken back sooner than others.
    Rebalance,
}

/// What happened. At most 40 kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    ClusterCreated {
        cluster: ClusterId,
    },
    HeadStarted {
        version: String,
    },
    ConfigChanged {
        config: Box<Config>,
    },
    /// The wall clock is `offset_ms` ahead of steady time.
    ClockStepped {
        offset_ms: i64,
    },
    DownWanted {
        by: UserName,
        now: bool,
    },

    JobSubmitted {
        job: JobId,
        owner: Owner,
        pool: PoolName,
        spec: Box<JobSpec>,
        #[serde(default)]
        key: Option<String>,
    },
    /// `None` is the whole job.
    JobHeld {
        job: JobId,
        by: UserName,
        #[serde(default)]
        tasks: Option<IndexRanges>,
    },
    /// `None` is the whole job, with all that was held of it.
    JobReleased {
        job: JobId,
        #[serde(default)]
        tasks: Option<IndexRanges>,
    },
    /// Replaces the whole specification: of the job, or of these tasks.
    JobUpdated {
        job: JobId,
        pool: PoolName,
        spec: Box<JobSpec>,
        #[serde(default)]
        tasks: Option<IndexRanges>,
    },
    JobPlaced {
        job: JobId,
        placement: Placement,
    },
    /// Tasks of one array, placed in one batch.
    TasksPlaced {
        job: JobId,
        placements: Vec<Placement>,
    },
    /// Pending tasks end at once; live ones are `Ending`. `None` is the whole job.
    CancelWanted {
        job: JobId,
        tasks: Option<IndexRanges>,
        by: UserName,
        /// The number of `by`.
        #[serde(default)]
        uid: Option<u32>,
    },
    RequeueWanted {
        job: JobId,
        tasks: Option<IndexRanges>,
        why: String,
        /// Their machine is taken back: what runs and is not ended otherwise ends as `Then::Preempt`.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        preempted: bool,
    },
    /// They end like this: given back, no lease, past the deadline. Waiting ones at once.
    EndWanted {
        job: JobId,
        tasks: Option<IndexRanges>,
        outcome: Outcome,
        why: String,
    },
    /// Live runs stand still with their time limits, or go on; they keep their room.
    JobSuspended {
        job: JobId,
        tasks: Option<IndexRanges>,
        suspended: bool,
        by: UserName,
    },
    StepStarted {
        step: Box<Step>,
    },
    /// The tasks of a step have ended on one part of its run.
    StepEnded {
        job: JobId,
        run: RunId,
        step: u32,
        rank: u32,
        end: StepPartEnd,
    },
    RunEnded {
        job: JobId,
        ended: TaskEnded,
    },
    /// Tasks of one array that ended in one batch.
    TasksEnded {
        job: JobId,
        ended: Vec<TaskEnded>,
    },

    LaunchWanted {
        intent: Box<LaunchIntent>,
    },
    /// The provider accepted this machine; it bills from `launched_at` (the provider's time).
    InstanceSeen {
        node: NodeId,
        instance: InstanceRef,
        launched_at: Timestamp,
    },
    /// The provider refused this machine; it never existed.
    LaunchRefused {
        node: NodeId,
        class: LaunchErrorClass,
        message: String,
    },
    /// The offering is left alone until then.
    OfferingRested {
        offering: OfferingKey,
        until: Timestamp,
        class: LaunchErrorClass,
        message: String,
    },
    /// The node's key is bound to it.
    NodeJoined {
        node: NodeId,
        key: String,
        boot_id: String,
    },
    /// Facts were checked against the order: jobs may be placed.
    NodeReady {
        node: NodeId,
        usable: Resources,
        cage: String,
        /// `usable` is what the machine has, and what others of its image and shape will have.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        reported: bool,
    },
    /// The machine came back under another boot id; what ran there has ended.
    NodeRebooted {
        node: NodeId,
        boot_id: String,
    },
    NodeDraining {
        node: NodeId,
        cause: StopCause,
    },
    /// The admin took a drain back.
    NodeResumed {
        node: NodeId,
    },
    NodeStopping {
        node: NodeId,
        cause: StopCause,
    },
    NodeLost {
        node: NodeId,
    },
    NodeReturned {
        node: NodeId,
    },
    /// The provider says that it is gone.
    NodeGone {
        node: NodeId,
    },
    /// The bill of one machine is final.
    SpanClosed {
        span: Box<Span>,
    },
    /// A node with jobs may cost up to this moment.
    MoneyReserved {
        node: NodeId,
        until: Timestamp,
        amount: MicroUsd,
    },
    /// Time limit of live runs changed (update of a running job).
    LimitChanged {
        job: JobId,
        tasks: Option<IndexRanges>,
        time_limit_ms: Option<DurationMs>,
    },
    /// The log is a copy, older than the world: up to these, numbers may have been given by a head
    /// whose log is lost, and none is given again.
    NumbersSkipped {
        launch: LaunchId,
        run: RunId,
        job: JobId,
        order: u64,
        /// How many of each pool's names.
        names: u32,
        why: String,
    },
    /// An admin took a machine of an unlogged launch into the log; it bills from the provider's time.
    /// Nothing is placed on it: it goes when what runs there has ended.
    InstanceAdopted {
        node: NodeId,
        instance: InstanceRef,
        launched_at: Timestamp,
        /// What it is, as far as its tags say; of one name.
        intent: Box<LaunchIntent>,
        by: UserName,
    },
    /// They ended long ago and nobody waits for them: they leave the living state, their rows stay.
    JobsForgotten {
        jobs: Vec<JobId>,
    },
    /// All that is known of one thing that costs while it stands, in the place of what was known before of the
    /// same begin.
    StandingSeen {
        standing: Box<Standing>,
    },
}

impl Event {
    /// The stable word of the log's `kind` column.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClusterCreated { .. } => "cluster_created",
            Self::HeadStarted { .. } => "head_started",
            Self::ConfigChanged { .. } => "config_changed",
            Self::ClockStepped { .. } => "clock_stepped",
            Self::DownWanted { .. } => "down_wanted",
            Self::JobSubmitted { .. } => "job_submitted",
            Self::JobHeld { .. } => "job_held",
            Self::JobReleased { .. } => "job_released",
            Self::JobUpdated { .. } => "job_updated",
            Self::JobPlaced { .. } => "job_placed",
            Self::TasksPlaced { .. } => "tasks_placed",
            Self::CancelWanted { .. } => "cancel_wanted",
            Self::RequeueWanted { .. } => "requeue_wanted",
            Self::EndWanted { .. } => "end_wanted",
            Self::JobSuspended { .. } => "job_suspended",
            Self::StepStarted { .. } => "step_started",
            Self::StepEnded { .. } => "step_ended",
            Self::RunEnded { .. } => "run_ended",
            Self::TasksEnded { .. } => "tasks_ended",
            Self::LaunchWanted { .. } => "launch_wanted",
            Self::InstanceSeen { .. } => "instance_seen",
            Self::LaunchRefused { .. } => "launch_refused",
            Self::OfferingRested { .. } => "offering_rested",
            Self::NodeJoined { .. } => "node_joined",
            Self::NodeReady { .. } => "node_ready",
            Self::NodeRebooted { .. } => "node_rebooted",
            Self::NodeDraining { .. } => "node_draining",
            Self::NodeResumed { .. } => "node_resumed",
            Self::NodeStopping { .. } => "node_stopping",
            Self::NodeLost { .. } => "node_lost",
            Self::NodeReturned { .. } => "node_returned",
            Self::NodeGone { .. } => "node_gone",
            Self::SpanClosed { .. } => "span_closed",
            Self::MoneyReserved { .. } => "money_reserved",
            Self::LimitChanged { .. } => "limit_changed",
            Self::NumbersSkipped { .. } => "numbers_skipped",
            Self::InstanceAdopted { .. } => "instance_adopted",
            Self::JobsForgotten { .. } => "jobs_forgotten",
            Self::StandingSeen { .. } => "standing_seen",
        }
    }

    /// The stable text of the log's `subject` column: what the event is about.
    #[must_use]
    pub fn subject(&self) -> String {
        use alloc::format;
        match self {
            Self::ClusterCreated { .. }
            | Self::HeadStarted { .. }
            | Self::ConfigChanged { .. }
            | Self::ClockStepped { .. }
            | Self::NumbersSkipped { .. }
            | Self::JobsForgotten { .. }
            | Self::DownWanted { .. } => "cluster".into(),
            Self::JobSubmitted { job, .. }
            | Self::JobHeld { job, .. }
            | Self::JobReleased { job, .. }
            | Self::JobUpdated { job, .. }
            | Self::JobPlaced { job, .. }
            | Self::TasksPlaced { job, .. }
            | Self::CancelWanted { job, .. }
            | Self::RequeueWanted { job, .. }
            | Self::EndWanted { job, .. }
            | Self::JobSuspended { job, .. }
            | Self::StepEnded { job, .. }
            | Self::RunEnded { job, .. }
            | Self::TasksEnded { job, .. }
            | Self::LimitChanged { job, .. } => format!("job:{job}"),
            Self::StepStarted { step } => format!("job:{}", step.job),
            Self::LaunchWanted { intent } => format!("launch:{}", intent.launch),
            Self::OfferingRested { offering, .. } => {
                format!("offering:{}/{}", offering.pool, offering.shape)
            }
            Self::InstanceSeen { node, .. }
            | Self::InstanceAdopted { node, .. }
            | Self::LaunchRefused { node, .. }
            | Self::NodeJoined { node, .. }
            | Self::NodeReady { node, .. }
            | Self::NodeRebooted { node, .. }
            | Self::NodeDraining { node, .. }
            | Self::NodeResumed { node }
            | Self::NodeStopping { node, .. }
            | Self::NodeLost { node }
            | Self::NodeReturned { node }
            | Self::NodeGone { node }
            | Self::MoneyReserved { node, .. } => format!("node:{node}"),
            Self::SpanClosed { span } => format!("node:{}", span.node),
            Self::StandingSeen { standing } => format!("standing:{}", standing.reference),
        }
    }
}
