//! Nodes: one launch attempt each, from the wish to the provider's "gone".
//!
//! Invariant: billing opens at `InstanceSeen` and closes only when the provider says gone, never
//! when an agent goes silent. Deliberately absent: Idle and Busy (they follow from `runs`), and
//! whether the agent is connected (volatile).
use crate::event::{OfferingKey, StopCause};
use crate::ledger::Meter;
use crate::limits::{BREAKER_FAILURES, REFUSALS_APART};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::{
    DurationMs, InstanceRef, LaunchId, NodeId, Price, Resources, RunId, Shape, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Where a node is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The launch is committed; the provider has not accepted this machine yet.
    Wanted,
    /// The machine exists and has not been found fit yet.
    Booting,
    /// Jobs may be placed (when its agent is connected).
    Ready,
    /// No new jobs; ends when the last one has.
    Draining { cause: StopCause },
    /// Silent since then; it may return, to its drain if it had one.
    Lost {
        since: Timestamp,
        #[serde(default)]
        drain: Option<StopCause>,
    },
    /// To be ended, until the provider's list says gone.
    Stopping { cause: StopCause, since: Timestamp },
    /// The provider refused it: there never was a machine.
    Refused { message: String, at: Timestamp },
    /// The provider says gone.
    Gone { cause: StopCause, at: Timestamp },
}

impl NodeState {
    /// The stable word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Lost { .. } => "lost",
            Self::Stopping { .. } => "stopping",
            Self::Refused { .. } => "refused",
            Self::Gone { .. } => "gone",
        }
    }

    /// True while a machine exists or may exist.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Gone { .. })
    }
}

/// One launch attempt of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// For people: `POOL-N`, N never reused.
    pub name: String,
    pub offering: OfferingKey,
    pub shape: Arc<Shape>,
    pub image: String,
    /// Price per hour at launch; `None` when nobody knows it.
    pub price: Option<Price>,
    pub state: NodeState,
    pub wanted_at: Timestamp,
    #[serde(default)]
    pub instance: Option<InstanceRef>,
    /// Provider's time.
    #[serde(default)]
    pub launched_at: Option<Timestamp>,
    #[serde(default)]
    pub seen_at: Option<Timestamp>,
    /// SHA-256 of its agent's TLS key.
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub boot_id: Option<String>,
    #[serde(default)]
    pub joined_at: Option<Timestamp>,
    #[serde(default)]
    pub ready_at: Option<Timestamp>,
    /// What jobs may use, once it has reported; the order before.
    pub usable: Resources,
    #[serde(default)]
    pub cage: String,
    /// Runs whose part here has not ended.
    #[serde(default)]
    pub runs: BTreeSet<RunId>,
    /// What those runs hold.
    #[serde(default)]
    pub held: Resources,
    /// Since when `runs` is empty (from `ready_at` on).
    #[serde(default)]
    pub idle_since: Option<Timestamp>,
    /// Why it was wanted, in words.
    #[serde(default)]
    pub why: String,
    /// Who made it; `None` in logs that did not say.
    #[serde(default)]
    pub provider: Option<ProviderKind>,
    /// The provider bills at least this much of it.
    #[serde(default)]
    pub minimum_billing_ms: DurationMs,
    /// Money is reserved up to this moment.
    pub reserved_until: Timestamp,
    #[serde(default)]
    pub first_run_at: Option<Timestamp>,
    pub meter: Meter,
}

impl Node {
    /// Room for more.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.usable.minus(&self.held)
    }

    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, NodeState::Ready)
    }

    /// What it drains, stops or has stopped for.
    #[must_use]
    pub const fn cause(&self) -> Option<&StopCause> {
        match &self.state {
            NodeState::Draining { cause }
            | NodeState::Stopping { cause, .. }
            | NodeState::Gone { cause, .. } => Some(cause),
            NodeState::Lost { drain, .. } => drain.as_ref(),
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Ready
            | NodeState::Refused { .. } => None,
        }
    }

    /// The provider takes it back, or has.
    #[must_use]
    pub const fn is_reclaimed(&self) -> bool {
        matches!(self.cause(), Some(StopCause::Reclaimed { .. }))
    }

    /// When the provider takes it back (steady time), while it is still there.
    #[must_use]
    pub const fn reclaimed_at(&self) -> Option<Timestamp> {
        match &self.state {
            NodeState::Draining { cause: StopCause::Reclaimed { until } }
            | NodeState::Lost { drain: Some(StopCause::Reclaimed { until }), .. } => *until,
            _ => None,
        }
    }

    /// Counts as capacity to come.
    #[must_use]
    pub const fn is_coming(&self) -> bool {
        matches!(self.state, NodeState::Wanted | NodeState::Booting)
    }

    /// What an hour of it may cost at most: the price of a spot machine moves, and ends below that on
    /// demand.
    #[must_use]
    pub fn most_price(&self) -> Option<Price> {
        if self.offering.spot { self.price.max(self.shape.price) } else { self.price }
    }

    /// The launch it belongs to.
    #[must_use]
    pub const fn launch(&self) -> LaunchId {
        self.id.launch
    }

    /// Moments of its life for the boot timeline.
    #[must_use]
    pub fn timeline(&self) -> Vec<(Timestamp, String)> {
        let mut line: Vec<(Timestamp, String)> = Vec::new();
        line.push((self.wanted_at, "launch asked".into()));
        let marks = [
            (self.seen_at, "accepted"),
            (self.joined_at, "registered"),
            (self.ready_at, "ready"),
            (self.first_run_at, "first job"),
        ];
        for (at, what) in marks {
            if let Some(at) = at {
                line.push((at, what.into()));
            }
        }
        match &self.state {
            NodeState::Gone { at, .. } => line.push((*at, "gone".into())),
            NodeState::Stopping { since, .. } => line.push((*since, "stopping".into())),
            NodeState::Refused { at, .. } => line.push((*at, "refused".into())),
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Ready
            | NodeState::Draining { .. }
            | NodeState::Lost { .. } => {}
        }
        line
    }
}

/// What is known of one kind of machine of one pool. Failures belong here, with an expiry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct OfferingHealth {
    /// Launch nothing here before.
    #[serde(default)]
    pub rest_until: Option<Timestamp>,
    /// Of spot machines: the first "no" of those that followed one another since there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<Timestamp>,
    /// Pauses in a row; each doubles the next.
    #[serde(default)]
    pub rests: u32,
    /// The provider's words of the last failure.
    #[serde(default)]
    pub message: String,
    /// Stable word of the class of the last failure.
    #[serde(default)]
    pub class: String,
    /// Boots that failed in a row, by the image that was to boot: another image, or another build
    /// of it (`NAME@BUILD`), begins with none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boots: BTreeMap<String, BootHealth>,
}

impl OfferingHealth {
    /// There is none. A "no" long after the pause of the one before was over begins a new series: nobody
    /// has asked meanwhile.
    pub(crate) fn refused(&mut self, at: Timestamp) {
        let goes_on = self.rest_until.is_some_and(|until| at.since(until) <= REFUSALS_APART);
        if self.refused_since.is_none() || !goes_on {
            self.refused_since = Some(at);
        }
    }
}

/// What is known of the boots of one image on one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct BootHealth {
    /// Failed in a row; from `BREAKER_FAILURES` on only one canary boots at a time.
    pub failures: u32,
    /// The last node that failed, phase and reason.
    pub message: String,
    /// No canary before.
    #[serde(default)]
    pub rest_until: Option<Timestamp>,
}

impl BootHealth {
    /// The breaker is open: one canary at a time.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.failures >= BREAKER_FAILURES
    }
}
