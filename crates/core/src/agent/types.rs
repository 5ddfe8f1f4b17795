//! What goes into the agent's brain and what comes out.
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{
    ClusterId, DurationMs, InstanceRef, NodeId, RunId, Signal, SignalScope, Timestamp,
};
use pcluster_wire::{
    AgentFrame, EndWhy, Facts, HeadFrame, NoticeKind, OnOrphan, RunEnd, ShareProof, StartOrder,
    UserRefusal,
};
use serde::{Deserialize, Serialize};

/// Who this agent is; the same for the whole life of the process.
#[derive(Debug, Clone)]
pub struct AgentSetup {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub instance: InstanceRef,
    /// The join token, said until the first `Welcome`.
    pub token: Option<String>,
    pub boot_id: String,
    pub facts: Facts,
    /// An idle node without unacknowledged ends gives up after this without a head.
    pub orphan_after: DurationMs,
    /// An idle node with unacknowledged ends gives up after this, counted from its last use.
    pub report_hold: DurationMs,
    pub on_orphan: OnOrphan,
}

/// What survives a restart of the agent beside the run directories. Fields are only added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentMemory {
    /// A head has welcomed this agent's key: the token is of no more use.
    pub joined: bool,
    /// No order up to this number is ever started again; numbers begin at 1.
    pub highest_forgotten: u64,
    /// Runs that never start here, and why; until the head acknowledges.
    pub tombstones: BTreeMap<RunId, String>,
    /// The latest acknowledged tombstones.
    pub buried: BTreeSet<RunId>,
}

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunState {
    /// Taken on: the keeper is being started.
    Starting,
    Running {
        started_at: Timestamp,
    },
    /// The keeper is lost; everything in its cage is being ended.
    Emptying {
        started_at: Timestamp,
    },
    /// Ended, and the head has not acknowledged it.
    Ended(RunEnd),
}

#[derive(Debug, Clone)]
pub(super) struct RunEntry {
    /// The order's number on this node.
    pub order: u64,
    pub state: RunState,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentInput {
    /// At the start of the agent, for each run directory found; `Keeper` inputs follow it.
    Adopted {
        run: RunId,
        order: u64,
    },
    /// A connection stands; `clock` is the wall clock, for `Hello`.
    Connected {
        clock: Timestamp,
    },
    Disconnected,
    Frame(HeadFrame),
    Keeper(KeeperSaid),
    /// What was found of the shared paths, which is not what was found before.
    Shares(Vec<ShareProof>),
    /// What the provider has announced to this machine.
    Notice {
        kind: NoticeKind,
        until: Option<Timestamp>,
    },
    /// Time passed; `clock` is the wall clock and `load_milli` the load, for the heartbeat.
    Tick {
        clock: Timestamp,
        load_milli: u32,
    },
    /// These users, and no others, are refused here.
    Refuses {
        users: Vec<UserRefusal>,
        clock: Timestamp,
    },
}

/// News of one run's keeper. Times are the node's wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperSaid {
    Started {
        run: RunId,
        started_at: Timestamp,
    },
    Ended(RunEnd),
    /// Nothing was spawned and nothing will be.
    NotStarted {
        run: RunId,
        why: String,
    },
    /// A start record without keeper and without exit record.
    Lost {
        run: RunId,
        started_at: Timestamp,
    },
    /// The answer to `EmptyRun`: nothing of the run is alive.
    Emptied {
        run: RunId,
        started_at: Timestamp,
        ended_at: Timestamp,
    },
}

impl KeeperSaid {
    /// The run that is spoken of.
    #[must_use]
    pub fn run(&self) -> RunId {
        match self {
            Self::Started { run, .. }
            | Self::NotStarted { run, .. }
            | Self::Lost { run, .. }
            | Self::Emptied { run, .. } => *run,
            Self::Ended(end) => end.run,
        }
    }
}

/// What is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a handful lives at a time, between two steps")]
pub enum AgentAction {
    /// Store this, so that a restarted agent has it, before the next action.
    Keep(AgentMemory),
    Send(AgentFrame),
    /// Make the run's directory and start its keeper; answered by `Keeper(..)`.
    Spawn(Box<StartOrder>),
    /// TERM now and KILL after the grace. A run that has no keeper yet is not started.
    EndRun {
        run: RunId,
        grace_ms: DurationMs,
        why: EndWhy,
    },
    SignalRun {
        run: RunId,
        signal: Signal,
        scope: SignalScope,
    },
    /// Stop or continue every process of it.
    SuspendRun {
        run: RunId,
        suspended: bool,
    },
    /// Join a stream of the head with the step daemon of this run; refuse it when that is over.
    Attach {
        run: RunId,
        stream: String,
        live: bool,
    },
    LimitRun {
        run: RunId,
        time_limit_ms: Option<DurationMs>,
    },
    /// End all that is left of a run whose keeper is lost; answered by `Emptied`.
    EmptyRun {
        run: RunId,
    },
    /// Remove what is kept of a run.
    ForgetRun {
        run: RunId,
    },
    /// Close the connection and try again after a pause.
    Hangup,
    /// Stop for good.
    Exit(ExitWhy),
}

/// Why an agent stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitWhy {
    /// The head said so, and nothing is left to run or to report.
    Left(String),
    /// No head for too long.
    Orphaned(OnOrphan),
    /// The head does not want this agent.
    Refused(String),
}
