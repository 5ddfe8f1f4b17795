//! Machines that their provider takes back: with a notice, or without a word before.
//!
//! Invariant: nothing new is placed there from the notice on, and what runs there is ended early enough
//! to come to its end by itself; it runs again only once it has ended or the machine is gone. It is no
//! failed boot. Deliberately absent: who noticed it (agent or provider: the same).
use crate::Cluster;
use crate::event::{Event, StopCause};
use crate::job::{Job, Run};
use crate::node::{Node, NodeState};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::{IndexRanges, JobId, RunId, Timestamp};
use pcluster_wire::NoticeKind;

impl Cluster {
    /// Somebody says that this machine will be taken back, at this moment of the wall clock, or that
    /// it might.
    pub(super) fn notice_events(
        &self,
        now: Timestamp,
        node: &Node,
        kind: NoticeKind,
        until: Option<Timestamp>,
    ) -> Vec<Event> {
        let steady = |at: Timestamp| Timestamp(at.0.saturating_sub(self.meta.clock_offset_ms));
        let cause = match kind {
            // A moment that nobody told is now.
            NoticeKind::Reclaim => StopCause::Reclaimed { until: Some(until.map_or(now, steady)) },
            NoticeKind::Rebalance => StopCause::Rebalance,
        };
        let is_hint = kind == NoticeKind::Rebalance;
        match &node.state {
            NodeState::Wanted | NodeState::Booting if !is_hint => {
                vec![Event::NodeStopping { node: node.id, cause }]
            }
            NodeState::Ready => vec![Event::NodeDraining { node: node.id, cause }],
            NodeState::Draining { .. } | NodeState::Lost { .. }
                if !is_hint && !node.is_reclaimed() =>
            {
                vec![Event::NodeDraining { node: node.id, cause }]
            }
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Draining { .. }
            | NodeState::Lost { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => Vec::new(),
        }
    }

    /// A machine has ended that nobody here ended: taken back, or a boot that failed.
    pub(super) fn end_cause(&self, node: &Node, reclaimed: bool) -> Option<StopCause> {
        match node.state {
            NodeState::Booting if !reclaimed => Some(StopCause::BootFailed {
                phase: self.boot_phase(node.id),
                why: "the machine ended by itself".into(),
            }),
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Ready
            | NodeState::Draining { .. }
            | NodeState::Lost { .. }
                if (reclaimed || node.offering.spot) && !node.is_reclaimed() =>
            {
                Some(StopCause::Reclaimed { until: None })
            }
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Ready
            | NodeState::Draining { .. }
            | NodeState::Lost { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => None,
        }
    }

    /// What still runs on a machine that goes, and when it is to be ended; `None`: nothing is left to
    /// be told.
    pub(crate) fn preemption(&self, node: &Node) -> Option<(Timestamp, Vec<Event>)> {
        let until = node.reclaimed_at()?;
        let grace = self.config().map(|config| config.term_grace_ms).unwrap_or_default();
        let runs = node.runs.iter().filter_map(|run| self.runs.get(run));
        let mut by_job: BTreeMap<JobId, IndexRanges> = BTreeMap::new();
        for run in runs.filter(|run| run.then.is_none()) {
            by_job.entry(run.job).or_default().insert(run.task);
        }
        let why = || String::from(RECLAIMED);
        let event = |(job, tasks): (JobId, IndexRanges)| {
            let array = self.jobs.get(&job).is_some_and(Job::is_array);
            let tasks = array.then_some(tasks);
            Event::RequeueWanted { job, tasks, why: why(), preempted: true }
        };
        let events: Vec<Event> = by_job.into_iter().map(event).collect();
        (!events.is_empty()).then(|| (until - grace, events))
    }

    /// The provider has said that it takes a machine of this run back.
    pub(crate) fn is_doomed(&self, run: &Run) -> bool {
        let nodes = run.parts.iter().filter_map(|part| self.nodes.get(&part.part.node));
        nodes.into_iter().any(|node| node.reclaimed_at().is_some())
    }

    /// Runs of a pool that lose this many of their machines and will want others.
    pub(crate) fn doomed_runs(&self, pool: &Pool) -> BTreeMap<RunId, u32> {
        let mut lost = BTreeMap::new();
        for node in self.living_nodes(&pool.name).filter(|node| node.reclaimed_at().is_some()) {
            let again = |run: &&Run| !self.is_finishing(run.id) && self.may_requeue(run);
            for run in node.runs.iter().filter_map(|run| self.runs.get(run)).filter(again) {
                *lost.entry(run.id).or_insert(0) += 1;
            }
        }
        lost
    }

    /// A run that is lost with its machine may run again.
    pub(crate) fn may_requeue(&self, run: &Run) -> bool {
        let Some(job) = self.jobs.get(&run.job) else { return false };
        let limit = self.config().map_or(0, |config| config.requeue_limit);
        let requeues = job.numbers.get(&run.task).map_or(0, |numbers| numbers.requeues);
        let always = self.pool(&job.pool).is_some_and(|pool| pool.requeue_always);
        (always || job.spec_of(run.task).requeue) && requeues < limit
    }

    /// Marks every node of what runs here: what its job is told changes everywhere.
    pub(crate) fn mark_runs_of(&mut self, node: pcluster_model::NodeId) {
        let runs = self.nodes.get(&node).map(|node| node.runs.clone()).unwrap_or_default();
        let parts = runs.iter().filter_map(|run| self.runs.get(run)).flat_map(|run| &run.parts);
        let nodes: BTreeSet<_> = parts.map(|part| part.part.node).collect();
        self.volatile.marked_nodes.extend(nodes);
    }
}

/// Why a run is put back.
pub(crate) const RECLAIMED: &str = "the provider took its node back";
