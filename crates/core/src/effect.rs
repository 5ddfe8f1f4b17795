//! What the hands are to do. Level-triggered: derived from state, derived again after a crash,
//! idempotent by key. There is no outbox.
use crate::event::OfferingKey;
use crate::job::Owner;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::{DurationMs, InstanceRef, LaunchId, NodeId, Price, RunId, Shape, Timestamp};
use pcluster_model::{JobId, JobSpec, Resources, Signal, SignalScope};
use pcluster_wire::EndWhy;

/// The identity of an effect: the same key is the same deed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectKey {
    Launch(LaunchId),
    Terminate(NodeId),
    TerminateUnknown(InstanceRef),
    Tell(NodeId, Told),
}

/// What a node has been told on its present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    Start(RunId),
    End(RunId),
    /// A time limit, with the number of times it was changed.
    Limit(RunId, u32),
    /// Suspended or going on, with the number of times it was changed.
    Suspend(RunId, u32),
    /// Its machine is taken back: the signal that it asked for.
    Notice(RunId),
    Leave,
}

/// A run to be started on one node, before the hand adds what only it knows (the user's groups,
/// home and shell, the image's profile).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPlan {
    pub run: RunId,
    pub order: u64,
    pub job: JobId,
    /// Array index, `None` for plain jobs.
    pub task: Option<u32>,
    pub raw_job: JobId,
    pub attempt: u32,
    pub spec: Arc<JobSpec>,
    pub owner: Owner,
    pub pool: String,
    pub image: String,
    pub resources: Resources,
    pub nodes: Vec<String>,
    /// CPUs of the allocation on each of `nodes`.
    pub node_cpus: Vec<u32>,
    pub rank: u32,
    pub time_limit_ms: Option<DurationMs>,
    pub term_grace_ms: DurationMs,
}

/// One call of a provider for the machines of a launch that are not yet answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    pub launch: LaunchId,
    pub provider: ProviderKind,
    pub offering: OfferingKey,
    pub shape: Shape,
    pub image: String,
    pub price: Option<Price>,
    pub names: Vec<String>,
    pub wanted_at: Timestamp,
}

/// An order to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Start(Box<StartPlan>),
    End { run: RunId, grace_ms: DurationMs, why: EndWhy },
    Limit { run: RunId, time_limit_ms: Option<DurationMs> },
    Suspend { run: RunId, suspended: bool },
    Signal { run: RunId, signal: Signal, scope: SignalScope },
    Leave { why: String },
}

/// A deed for a hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "effects are few and leave at once")]
pub enum Effect {
    Launch(LaunchPlan),
    /// Answered by `ProviderSaid::Terminated`. `instance` is `None` when the launch's answer never
    /// came: then everything of the launch with this index goes.
    Terminate {
        node: NodeId,
        provider: ProviderKind,
        instance: Option<InstanceRef>,
    },
    TerminateUnknown {
        instance: InstanceRef,
        provider: ProviderKind,
    },
    Tell {
        node: NodeId,
        told: Told,
        order: Order,
    },
}

impl Effect {
    #[must_use]
    pub fn key(&self) -> EffectKey {
        match self {
            Self::Launch(plan) => EffectKey::Launch(plan.launch),
            Self::Terminate { node, .. } => EffectKey::Terminate(*node),
            Self::TerminateUnknown { instance, .. } => {
                EffectKey::TerminateUnknown(instance.clone())
            }
            Self::Tell { node, told, .. } => EffectKey::Tell(*node, *told),
        }
    }
}
