//! What single tasks of an array have of their own: a hold, a specification.
//!
//! Invariant: a task is held by one at most; the hold of a whole job comes before those of tasks.
//! Deliberately absent: what concerns the place of the job as a whole in the queue (pool, priority,
//! dependencies, begin, deadline): a task has none of its own.
use crate::job::Job;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{IndexRanges, JobSpec, UserName};
use serde::{Deserialize, Serialize};

/// Holds and specifications of single tasks; nearly always empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Tasks that start nothing, by the one who holds them.
    #[serde(default)]
    pub held: BTreeMap<UserName, IndexRanges>,
    /// Specifications that differ from the job's.
    #[serde(default)]
    pub specs: BTreeMap<u32, Arc<JobSpec>>,
}

impl Own {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.specs.is_empty()
    }

    fn holder_of(&self, task: u32) -> Option<&UserName> {
        self.held.iter().find(|(_, tasks)| tasks.contains(task)).map(|(by, _)| by)
    }

    fn hold(&mut self, tasks: impl IntoIterator<Item = u32>, by: &UserName) {
        for task in tasks {
            if self.holder_of(task).is_none() {
                self.held.entry(by.clone()).or_default().insert(task);
            }
        }
    }

    fn release(&mut self, tasks: &IndexRanges) {
        for held in self.held.values_mut() {
            let kept: IndexRanges = held.iter().filter(|task| !tasks.contains(*task)).collect();
            *held = kept;
        }
        self.held.retain(|_, tasks| !tasks.is_empty());
    }

    /// The task is over: nothing of it waits.
    pub(crate) fn forget_hold(&mut self, task: u32) {
        if !self.held.is_empty() {
            self.release(&IndexRanges::single(task));
        }
    }
}

impl Job {
    /// What a task asks for: its own specification, else the job's.
    #[must_use]
    pub fn spec_of(&self, task: u32) -> &Arc<JobSpec> {
        self.own.specs.get(&task).unwrap_or(&self.spec)
    }

    /// Who holds this task, alone or with its whole job.
    #[must_use]
    pub fn holder_of(&self, task: u32) -> Option<&UserName> {
        self.held_by.as_ref().or_else(|| self.own.holder_of(task))
    }

    /// Who holds everything that waits; `None`: something of it may start.
    #[must_use]
    pub fn holder(&self) -> Option<&UserName> {
        if self.held_by.is_some() || self.own.held.is_empty() {
            return self.held_by.as_ref();
        }
        let first = self.pending.first().and_then(|task| self.own.holder_of(task))?;
        self.pending.iter().all(|task| self.own.holder_of(task).is_some()).then_some(first)
    }

    /// How many of the tasks that wait are held.
    #[must_use]
    pub fn held_count(&self) -> usize {
        if self.held_by.is_some() {
            return self.pending.len();
        }
        if self.own.held.is_empty() {
            return 0;
        }
        self.pending.iter().filter(|task| self.own.holder_of(*task).is_some()).count()
    }

    /// Waiting tasks among `wanted` (all when `None`), in sets of those that are alike: held by the
    /// same, of the same specification. In order of their first tasks.
    #[must_use]
    pub fn waiting_alike(&self, wanted: Option<&IndexRanges>) -> Vec<IndexRanges> {
        let waiting: IndexRanges = match wanted {
            None => self.pending.clone(),
            Some(_) => self.pending_among(wanted).into_iter().collect(),
        };
        if self.own.is_empty() {
            return if waiting.is_empty() { Vec::new() } else { vec![waiting] };
        }
        let mut alike: BTreeMap<(Option<&UserName>, Option<u32>), IndexRanges> = BTreeMap::new();
        for task in waiting.iter() {
            let own = self.own.specs.contains_key(&task).then_some(task);
            alike.entry((self.holder_of(task), own)).or_default().insert(task);
        }
        let mut sets: Vec<IndexRanges> = alike.into_values().collect();
        sets.sort_by_key(IndexRanges::first);
        sets
    }

    /// The task of a set of one that has something of its own: it is spoken of by itself, as Slurm
    /// does of a task that it split from its array.
    #[must_use]
    pub fn apart(&self, alike: &IndexRanges) -> Option<u32> {
        let task = alike.first().filter(|_| alike.len() == 1)?;
        let own = self.own.specs.contains_key(&task) || self.own.holder_of(task).is_some();
        own.then_some(task)
    }

    pub(crate) fn hold(&mut self, tasks: Option<&IndexRanges>, by: &UserName) {
        match tasks {
            None => self.held_by = Some(by.clone()),
            Some(_) if self.held_by.is_some() => {}
            Some(tasks) => self.own.hold(tasks.iter(), by),
        }
    }

    pub(crate) fn release(&mut self, tasks: Option<&IndexRanges>) {
        let Some(tasks) = tasks else {
            self.held_by = None;
            self.own.held.clear();
            return;
        };
        // The hold of the whole becomes one of each task that stays held.
        if let Some(by) = self.held_by.take() {
            self.own.hold(self.pending.iter(), &by);
        }
        self.own.release(tasks);
    }

    /// Gives tasks a specification of their own; the job's own again when it is the same.
    pub(crate) fn specify(&mut self, tasks: &IndexRanges, spec: &JobSpec) {
        let same = *self.spec == *spec;
        let new = Arc::new(spec.clone());
        for task in tasks.iter() {
            if same {
                self.own.specs.remove(&task);
            } else {
                self.own.specs.insert(task, Arc::clone(&new));
            }
        }
    }
}
