//! Everything that can reach the cluster from outside, already authenticated.
use crate::event::LaunchErrorClass;
use crate::standing::Standing;
use crate::step::{StepAsk, StepPartEnd};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::config::{Config, ProviderKind};
use pcluster_model::{
    DurationMs, IndexRanges, InstanceRef, JobId, JobSpec, LaunchId, NodeId, PoolName, Price,
    Timestamp, UserName,
};
use pcluster_model::{RunId, SignalScope};
use pcluster_wire::{Facts, NoticeKind, RunEnd, RunReport, ShareProof, UserRefusal};

/// Who asks, as the transport proved it (peer credentials, never the body).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: UserName,
    pub uid: u32,
    pub gid: u32,
    /// Root, the user who started the head, or one of `[accounts] admins`.
    pub admin: bool,
}

/// A job, or some tasks of an array; `None` is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTarget {
    pub job: JobId,
    pub tasks: Option<IndexRanges>,
}

/// What a user asks for. Reads never come here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `spec` with its hashes filled in and its blobs stored.
    Submit {
        spec: Box<JobSpec>,
        key: Option<String>,
    },
    Cancel(JobTarget),
    /// A signal to what runs; nothing else changes.
    Signal {
        target: JobTarget,
        signal: i32,
        scope: SignalScope,
    },
    Hold(JobTarget),
    Release(JobTarget),
    Requeue(JobTarget),
    /// As `Requeue`, and held there.
    RequeueHeld(JobTarget),
    Suspend(JobTarget),
    /// What is suspended goes on.
    Continue(JobTarget),
    /// The owner gives an allocation back.
    Finish {
        target: JobTarget,
        exit_code: i32,
        signal: i32,
    },
    /// The client of an allocation is still there. Volatile.
    Renew(JobTarget),
    MakeStep {
        run: RunId,
        ask: StepAsk,
    },
    EndStep {
        run: RunId,
        step: u32,
        rank: u32,
        end: StepPartEnd,
    },
    /// A new job of the tasks that failed.
    RerunFailed {
        job: JobId,
    },
    /// The new specification of a job or of tasks of it (the caller merged it with the old one).
    Update {
        target: JobTarget,
        spec: Box<JobSpec>,
    },
    DrainNode {
        node: NodeId,
    },
    ResumeNode {
        node: NodeId,
    },
    TerminateNode {
        node: NodeId,
    },
    /// Machines of launches that the log does not know: all, or these.
    AdoptUnlogged {
        instances: Vec<InstanceRef>,
    },
    EndUnlogged {
        instances: Vec<InstanceRef>,
    },
    Down {
        now: bool,
    },
}

/// What an agent said over the newest connection of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSaid {
    Hello {
        /// SHA-256 of the agent's TLS key, hexadecimal.
        key: String,
        /// The token of the frame was the right one for this launch.
        token_valid: bool,
        boot_id: String,
        facts: Box<Facts>,
        runs: Vec<RunReport>,
    },
    Phase {
        phase: String,
    },
    Heartbeat,
    /// These users' jobs are refused there.
    Refuses(Vec<UserRefusal>),
    RunStarted {
        run: RunId,
        started_at: Timestamp,
    },
    RunEnded(RunEnd),
    NotStarted {
        run: RunId,
        why: String,
    },
    Leaving {
        why: String,
    },
    /// What it found of the shared paths that it was asked to prove.
    Shares {
        shares: Vec<ShareProof>,
    },
    /// The provider takes its machine back, or might; `until` is wall-clock time.
    Notice {
        kind: NoticeKind,
        until: Option<Timestamp>,
    },
    Disconnected,
}

/// A machine in the provider's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInstance {
    pub instance: InstanceRef,
    pub launch: LaunchId,
    pub index: Option<u32>,
    /// Ended at this time (the provider's); `None` while it exists.
    pub ended_at: Option<Timestamp>,
    /// The provider guessed the end.
    pub ended_estimated: bool,
    /// The provider takes it back then (the provider's time).
    pub notice_at: Option<Timestamp>,
    /// It has ended because the provider took it back.
    pub reclaimed: bool,
    pub launched_at: Timestamp,
    pub tags: Tags,
}

/// What a machine's tags say of its launch: all that is left of it when the log is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    pub name: Option<String>,
    pub pool: Option<PoolName>,
    pub shape: Option<String>,
    pub price: Option<Price>,
}

/// One accepted machine of a launch call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchedInstance {
    pub index: u32,
    pub instance: InstanceRef,
    pub launched_at: Timestamp,
}

/// A launch call or one machine of it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchError {
    pub class: LaunchErrorClass,
    pub message: String,
}

/// The answer for one machine of a launch call: it exists, or the index and why not.
pub type LaunchAnswer = Result<LaunchedInstance, (u32, LaunchError)>;

/// What a provider said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSaid {
    /// The answer to the call of this launch: one entry for each index, or an error of the call.
    Launched {
        launch: LaunchId,
        answer: Result<Vec<LaunchAnswer>, LaunchError>,
    },
    /// The call to end this node was accepted, or failed.
    Terminated {
        node: NodeId,
        error: Option<String>,
    },
    /// As `Terminated`, for an instance that no node is bound to.
    TerminatedUnknown {
        instance: InstanceRef,
        error: Option<String>,
    },
    /// Everything with our tag, asked for at `asked_at` (steady time of the head).
    Listed {
        provider: ProviderKind,
        asked_at: Timestamp,
        instances: Vec<ListedInstance>,
    },
    /// Everything that costs while it stands, also what has ended lately; asked for at `asked_at` (steady time
    /// of the head).
    Standing {
        provider: ProviderKind,
        asked_at: Timestamp,
        found: Vec<Standing>,
    },
    ListFailed {
        provider: ProviderKind,
        message: String,
    },
    /// What spot machines cost now, all that it knows.
    SpotPrices {
        provider: ProviderKind,
        prices: Vec<SpotPrice>,
    },
}

/// What a spot machine costs in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotPrice {
    pub shape: String,
    /// Empty: wherever the provider chooses.
    pub subnet: String,
    pub price: Price,
}

/// An input of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The first input of every process of the head. `offset_ms`: wall clock less steady time.
    Started {
        version: String,
        config: Box<Config>,
        offset_ms: i64,
    },
    Request {
        principal: Principal,
        request: Request,
    },
    AgentSaid {
        node: NodeId,
        said: AgentSaid,
    },
    ProviderSaid(ProviderSaid),
    ConfigChanged {
        config: Box<Config>,
    },
    ClockStepped {
        offset_ms: i64,
    },
    /// The driver's own loop stood still for this long: silence in it proves nothing.
    Stalled {
        span: DurationMs,
    },
    Tick,
}
