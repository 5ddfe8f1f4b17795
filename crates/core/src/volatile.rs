//! What the head knows and would lose: connections, phases, calls in flight. It steers choices,
//! never truth: a choice itself is an event. Excluded from I16.
use crate::effect::{EffectKey, Told};
use crate::input::{LaunchError, ListedInstance};
use crate::plan::PlanReport;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{InstanceRef, JobId, LaunchId, NodeId, Price, RunId, Timestamp};
use pcluster_wire::{Facts, ShareProof};

/// The newest connection of a node's agent.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// The agent is connected and its `Hello` was taken since the head's start.
    pub connected: bool,
    pub last_word: Timestamp,
    /// Where its boot has got to.
    pub phase: String,
    pub phase_since: Timestamp,
    /// What it found out, as of its last `Hello`.
    pub facts: Option<Facts>,
    /// Shared paths that it was asked to prove, and what it last said of them.
    pub asked_shares: Vec<String>,
    pub shares: Vec<ShareProof>,
    /// Orders given on this connection.
    pub told: BTreeSet<Told>,
    /// Runs that it says are alive there and that the log does not know.
    pub unknown_runs: BTreeSet<RunId>,
}

/// An instance with our tag that no living node is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownInstance {
    pub first_seen: Timestamp,
    /// Of a launch that the log does not know: the log is older than the world. It is left as it is
    /// until an admin says what becomes of it.
    pub is_unlogged: bool,
    pub listed: ListedInstance,
}

/// The last look at one provider.
#[derive(Debug, Clone, Default)]
pub struct ListState {
    /// When the last list that succeeded was asked for.
    pub listed_at: Option<Timestamp>,
    /// Living instances in it.
    pub living: u32,
    pub unknown: BTreeMap<InstanceRef, UnknownInstance>,
    /// Words of the last failure, until a list succeeds.
    pub failure: Option<String>,
}

/// Volatile tables of a head.
#[derive(Debug, Clone, Default)]
pub struct Volatile {
    pub started_at: Timestamp,
    /// The last event before the start.
    pub last_before: Timestamp,
    /// The log was empty at the start: nobody can have launched anything.
    pub is_new: bool,
    /// No deadline set before the start fires before this.
    pub settle_until: Timestamp,
    pub links: BTreeMap<NodeId, Link>,
    /// Starts as the nodes told them (their wall clock), by run and node.
    pub run_starts: BTreeMap<(RunId, NodeId), Timestamp>,
    /// When allocations were last renewed.
    pub renewed: BTreeMap<JobId, Timestamp>,
    /// Nothing is forgotten before this.
    pub forget_from: Timestamp,
    /// No lease counts from before this: nobody could renew.
    pub leases_from: Timestamp,
    /// By the provider's word.
    pub lists: BTreeMap<String, ListState>,
    /// What spot machines cost, as each provider last told: by shape and subnet.
    pub spot_prices: BTreeMap<String, BTreeMap<(String, String), Price>>,
    /// When a provider last told that this thing stands, by its name and the begin that was told.
    pub standing_heard: BTreeMap<(String, Timestamp), Timestamp>,
    /// The end of these nodes was accepted by the provider, then.
    pub ending_accepted: BTreeMap<NodeId, Timestamp>,
    /// Start and end of machines that are over, as the provider's own list told them since the
    /// head's start: what bills are compared with.
    pub metered: BTreeMap<NodeId, (Timestamp, Timestamp)>,
    /// Words of the last failed call to end a node.
    pub ending_trouble: BTreeMap<NodeId, String>,
    /// Launches whose call failed and is made again: the words, and when.
    pub launch_trouble: BTreeMap<LaunchId, (LaunchError, Timestamp)>,
    /// Handed out and not answered yet.
    pub(crate) issued: BTreeSet<EffectKey>,
    /// Not before.
    pub(crate) retry_at: BTreeMap<EffectKey, Timestamp>,
    /// Nodes whose effects may have changed.
    pub(crate) marked_nodes: BTreeSet<NodeId>,
    pub(crate) marked_launches: BTreeSet<LaunchId>,
    pub(crate) marked_unknown: BTreeSet<InstanceRef>,
    /// Since when the head suspects itself; it stops no node for silence then.
    pub suspects_itself_since: Option<Timestamp>,
    /// When nodes fell silent lately.
    pub(crate) silences: BTreeMap<NodeId, Timestamp>,
    /// The planners' last words.
    pub report: PlanReport,
}
