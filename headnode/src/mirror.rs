//! A second copy of the cluster, for readers. It hears of a batch after the commit and before the
//! replies leave, so that `submit && queue` agrees.
use pcluster_core::Cluster;
use pcluster_core::event::Stamped;
use pcluster_core::input::Input;
use pcluster_core::plan::PlanReport;
use pcluster_model::Timestamp;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// The readers' copy. Cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    cluster: Arc<RwLock<Cluster>>,
}

impl Mirror {
    /// Starts from a copy that was loaded from the same rows.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster: Arc::new(RwLock::new(cluster)) }
    }

    /// The cluster as of the last commit. Short reads only, and never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Cluster> {
        // The only writer is `follow`; if that panicked the process is on its way out.
        self.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a committed batch: volatile news first, as the cluster itself does.
    pub fn follow(&self, now: Timestamp, inputs: &[Input], events: &[Stamped]) {
        let mut cluster = self.cluster.write().unwrap_or_else(PoisonError::into_inner);
        for input in inputs {
            cluster.note(now, input);
        }
        for event in events {
            cluster.apply(event);
        }
        cluster.discard_marks();
    }

    /// Takes over what the planners said last: readers compose reasons from it.
    pub(crate) fn hear(&self, report: &PlanReport) {
        let known = {
            let cluster = self.read();
            let last = &cluster.volatile.report;
            last.waits == report.waits && last.ahead == report.ahead && last.claims == report.claims
        };
        if !known {
            let report = report.clone();
            self.cluster.write().unwrap_or_else(PoisonError::into_inner).volatile.report = report;
        }
    }
}
