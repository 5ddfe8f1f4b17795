//! What the loop needs from the rest of the head; tests put something simpler in its place.
use crate::inbox::LinkId;
use pcluster_core::event::Stamped;
use pcluster_core::reply::Reply;
use pcluster_core::rows::RowChange;
use pcluster_core::{Cluster, Effect};
use pcluster_model::{NodeId, RunId, SignalScope};
use pcluster_store::{EventStore, StoreError};

/// Where batches are kept.
pub trait Log: Send {
    /// Returns once the batch is on disk.
    ///
    /// # Errors
    /// Memory is then ahead of disk, and the process ends.
    fn commit(&mut self, events: &[Stamped], rows: &[RowChange]) -> Result<(), StoreError>;
}

impl Log for EventStore {
    fn commit(&mut self, events: &[Stamped], rows: &[RowChange]) -> Result<(), StoreError> {
        Self::commit(self, events, rows)
    }
}

/// Where answers and effects go. Nothing here may block.
pub trait Outlet: Send {
    /// False: an older connection spoke, or it is not this node's.
    fn admits(&self, link: LinkId, node: NodeId, said: &pcluster_core::AgentSaid) -> bool;
    /// An answer to what an agent said on this connection.
    fn answer(&self, link: LinkId, reply: Reply);
    /// Signals to runs, now or never.
    fn signal(&self, runs: &[(NodeId, RunId)], signal: i32, scope: SignalScope);
    /// Deeds for the hands.
    fn take(&self, effects: Vec<Effect>);
    /// A batch with these events is on disk and in the mirror.
    fn committed(&self, events: &[Stamped]);
    /// The state after a batch: it says how soon providers are to be listed.
    fn settled(&self, cluster: &Cluster);
    /// All machines are gone for good: what was made beside them goes, too. True once that is done, or
    /// given up.
    fn is_clean(&self) -> bool {
        true
    }
}
