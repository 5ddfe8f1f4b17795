//! Finished jobs leave the living state when they have been over for `[head] keep_jobs`.
//!
//! Invariant: what is forgotten is decided once, by an event; its rows stay as they were written.
//! Nothing that waits or lives depends on a forgotten job. Deliberately absent: when rows and events
//! of forgotten jobs leave the disk (the store's matter).
use crate::Cluster;
use crate::event::Event;
use crate::job::Job;
use crate::limits::{FORGET_AGAIN, FORGET_JOBS, FORGET_TASKS};
use crate::rows::{RowChange, RowKey};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{JobId, Timestamp};

impl Cluster {
    /// Keeps the index of ends true for one job.
    pub(crate) fn index_end(&mut self, id: JobId) {
        if let Some(at) = self.ended_at.remove(&id) {
            self.ended.remove(&(at, id));
        }
        let Some(job) = self.jobs.get(&id).filter(|job| job.is_finished()) else { return };
        let at = job.finished.values().map(|end| end.at).max().unwrap_or(job.submitted_at);
        self.ended.insert((at, id));
        self.ended_at.insert(id, at);
    }

    /// When there may be something to forget.
    pub(crate) fn next_forgetting(&self) -> Option<Timestamp> {
        let (at, _) = self.ended.first()?;
        Some((*at + self.config()?.head.keep_jobs_ms).max(self.volatile.forget_from))
    }

    /// Jobs whose time is over, oldest first, as many as one batch may forget.
    pub(crate) fn forgetting(&mut self, now: Timestamp) -> Vec<Event> {
        let Some(keep) = self.config().map(|config| config.head.keep_jobs_ms) else {
            return Vec::new();
        };
        if self.next_forgetting().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let kept = self.kept();
        let over = self.ended.iter().take_while(|(at, _)| *at + keep <= now);
        let (mut jobs, mut tasks) = (Vec::new(), 0);
        for job in over.filter(|(_, id)| !kept.contains(id)).filter_map(|(_, id)| self.jobs.get(id))
        {
            jobs.push(job.id);
            tasks += job.finished.len();
            if jobs.len() >= FORGET_JOBS || tasks >= FORGET_TASKS {
                break;
            }
        }
        if jobs.is_empty() {
            self.volatile.forget_from = now + FORGET_AGAIN;
            return Vec::new();
        }
        vec![Event::JobsForgotten { jobs }]
    }

    /// Jobs that stay for now: somebody who waits or lives names them, or their rows are about to
    /// be written.
    fn kept(&self) -> BTreeSet<JobId> {
        let live = self.runs.values().filter_map(|run| self.jobs.get(&run.job));
        let awaited = live.chain(self.queued_jobs()).flat_map(Job::waits_for);
        let touched = self.touched.iter().filter_map(|key| match key {
            RowKey::Job(id) | RowKey::Task(id, _) => Some(*id),
            RowKey::Step(run, _) => self.steps.get(run)?.first().map(|step| step.job),
            _ => None,
        });
        awaited.chain(touched).collect()
    }

    /// Every row of these jobs, in no order: their own, their tasks', their steps'.
    #[must_use]
    pub fn rows_of_jobs(&self, ids: &[JobId]) -> Vec<RowChange> {
        let mut keys = Vec::new();
        for job in ids.iter().filter_map(|id| self.jobs.get(id)) {
            keys.push(RowKey::Job(job.id));
            keys.extend(job.finished.keys().map(|task| RowKey::Task(job.id, *task)));
            let steps = job.runs_over().filter_map(|past| self.steps.get(&past.run)).flatten();
            keys.extend(steps.map(|step| RowKey::Step(step.run, step.step)));
        }
        keys.iter().map(|key| self.row_of(key)).collect()
    }

    /// Jobs leave the living state.
    pub(crate) fn forget(&mut self, ids: &[JobId]) {
        for id in ids {
            let Some(job) = self.jobs.remove(id) else { continue };
            let own = job.finished.values().filter_map(|end| end.numbers);
            for numbers in own {
                self.task_ids.remove(&numbers.raw_job);
            }
            for past in job.runs_over() {
                self.steps.remove(&past.run);
            }
            if let Some(key) = job.key {
                self.submit_keys.remove(&(job.owner.uid, key));
            }
            self.volatile.renewed.remove(id);
            self.index_job(*id);
            self.touched.insert(RowKey::Past(*id, self.log_length));
        }
    }
}
