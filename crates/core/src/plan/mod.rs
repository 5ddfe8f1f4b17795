//! The planners: pure functions from the state to proposals, with the reasons of what they did not
//! do. Invariant: planners never mutate; a plan becomes events.
mod offers;
mod patience;
mod place;
mod scale;
mod suits;

use crate::event::OfferingKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{JobId, MicroUsd, NodeId, PoolName, Price, Resources, Timestamp};

pub use place::may_hold;
pub use suits::{buys_spot, fits, has_spot, spot_use};
pub(crate) use suits::{cheapest_shape, most_cost, number_of, smallest_cpus};

/// Why a job that could start did not start in the last pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Nodes that boot will hold it.
    NodeBoots { nodes: Vec<NodeId> },
    /// A launch for it is decided in this very pass.
    NodeWanted { offering: OfferingKey },
    /// Every node that could hold it is full, and the pool may have no more.
    PoolMax { max: u32, max_cpus: Option<u32> },
    /// The head of the queue needs the room first.
    Turn { after: JobId },
    /// The pass ended before it came to this job.
    NotReached,
    /// The month's money.
    Budget { cap: MicroUsd, spent: MicroUsd, reserved: MicroUsd, needs: MicroUsd },
    /// The offerings that could hold it rest after a failure.
    Rested { offering: OfferingKey, class: String, message: String, next_try: Timestamp },
    /// Spot machines that could hold it rest after a refusal. It gets one on demand from a moment on, or
    /// never where the pool has spot machines only.
    Spot {
        offering: OfferingKey,
        class: String,
        message: String,
        next_try: Timestamp,
        on_demand_at: Option<Timestamp>,
    },
    /// Every machine that could hold it is dearer than the pool allows; this one is the cheapest.
    Dear { offering: OfferingKey, price: Price, most: Price },
    /// Every node that is there refuses its user; this one says why.
    UserRefused { node: NodeId, why: String },
    /// Boots of this image have failed there, and none is tried before this moment.
    BootsFail { offering: OfferingKey, image: String, next_try: Timestamp },
    /// After failed boots of this image one canary is tried at a time: this node.
    Canary { offering: OfferingKey, image: String, canary: String },
    /// No shape of the pool holds it (the configuration changed since it was submitted).
    NoShape,
    /// Machines of launches that the log does not know are there, and no admin has said what
    /// becomes of them.
    UnloggedMachines { machines: u32 },
    /// The cluster goes down.
    Closing,
}

/// The free room that comes nearest to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    pub node: NodeId,
    pub free: Resources,
}

/// What the last pass found, for `why`.
#[derive(Debug, Clone, Default)]
pub struct PlanReport {
    pub at: Timestamp,
    pub waits: BTreeMap<JobId, Wait>,
    /// Pools whose first waiting job needs a larger machine than the ones that are there, while
    /// the pool may have no more: idle machines make room for it at once.
    pub claims: BTreeMap<PoolName, JobId>,
    /// Machines that wait, empty or not, for the others that a gang needs, or for what another machine
    /// is about to lose: none stops as idle.
    pub gangs: BTreeSet<NodeId>,
    /// By pool: jobs that wait with no room, in order.
    pub ahead: BTreeMap<PoolName, Vec<JobId>>,
    /// When the first job that waits for spot gets a machine on demand.
    pub on_demand_at: Option<Timestamp>,
}
