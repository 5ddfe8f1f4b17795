//! What one step brought about, for the checkers. Invariant: cleared before every step.
//! Deliberately absent: the state, which checkers read from the world.
use crate::cloud::MachineId;
use crate::procs::{Cause, Proc, ProcId};
use pcluster_core::Job;
use pcluster_core::effect::EffectKey;
use pcluster_core::event::Stamped;

/// What one step brought about.
#[derive(Debug, Default)]
pub struct Seen {
    /// Committed in this step.
    pub events: Vec<Stamped>,
    /// A batch was committed and released.
    pub released: bool,
    /// A head has loaded its state in this step.
    pub started: bool,
    /// Keys handed out, and keys of the full sweep just before.
    pub handed_out: Vec<EffectKey>,
    pub full_sweep: Vec<EffectKey>,
    /// Processes of users that began.
    pub began: Vec<ProcId>,
    /// And those that are no more, with the reason.
    pub ended: Vec<(ProcId, Proc, Cause)>,
    /// Living machines in a list that the head has taken in.
    pub listed: Vec<MachineId>,
    /// Clients whose answers have left the head.
    pub acknowledged: Vec<usize>,
    /// Jobs that were forgotten, as they were, with how many waited for them.
    pub forgotten: Vec<(Job, usize)>,
    /// The log has a new base.
    pub pruned: bool,
    /// What the world itself found broken.
    pub broken: Option<String>,
}

impl Seen {
    /// Ready for the next step.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
