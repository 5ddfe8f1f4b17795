//! Why a job waits, composed when it is read, from its own state and the planners' last words.
use crate::Cluster;
use crate::job::Job;
use crate::plan::Wait;
use alloc::string::String;
use pcluster_model::{Dependency, DependencyKind, JobId, Timestamp, UserName};

/// How far a dependency is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyState {
    pub dependency: Dependency,
    /// Name of the other job.
    pub name: String,
    pub done: usize,
    pub total: usize,
    pub failed: usize,
}

/// Whether a dependency is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Yes,
    NotYet,
    Never,
}

/// The binding limit of a job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Held {
        by: UserName,
    },
    /// Not before this moment (wall clock).
    Begin {
        at: Timestamp,
    },
    Dependency(DependencyState),
    DependencyNever(DependencyState),
    /// The array's `%`.
    Throttle {
        limit: u32,
    },
    /// What the planners said; `None` before the first pass that saw it.
    Waits(Option<Wait>),
}

impl Cluster {
    /// Wall-clock time of the head at steady time `now`.
    #[must_use]
    pub fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.meta.clock_offset_ms))
    }

    /// Why the pending tasks of this job wait.
    #[must_use]
    pub fn reason(&self, job: &Job, now: Timestamp) -> Reason {
        if let Some(block) = self.block(job, now) {
            return block;
        }
        if self.pool(&job.pool).is_none() {
            // Its pool has left the configuration: no planner looks at it.
            return Reason::Waits(Some(Wait::NoShape));
        }
        Reason::Waits(self.volatile.report.waits.get(&job.id).cloned())
    }

    /// What keeps a job from being tried at all; `None`: it is eligible.
    pub(crate) fn block(&self, job: &Job, now: Timestamp) -> Option<Reason> {
        if let Some(by) = &job.held_by {
            return Some(Reason::Held { by: by.clone() });
        }
        if let Some(block) = self.dependency_block(job) {
            return Some(block);
        }
        if let Some(at) = job.spec.begin.filter(|at| self.wall(now) < *at) {
            return Some(Reason::Begin { at });
        }
        let throttle = job.spec.array.as_ref().and_then(|array| array.throttle);
        throttle.filter(|_| job.throttle_room() == 0).map(|limit| Reason::Throttle { limit })
    }

    fn dependency_block(&self, job: &Job) -> Option<Reason> {
        let states = job.spec.dependencies.iter().map(|d| (self.met(d), d));
        let waiting = |met: Met| states.clone().find(|(state, _)| *state == met).map(|(_, d)| d);
        if job.spec.any_dependency {
            if job.spec.dependencies.is_empty() || waiting(Met::Yes).is_some() {
                return None;
            }
            return match waiting(Met::NotYet) {
                Some(dependency) => Some(Reason::Dependency(self.dependency_state(dependency))),
                None => waiting(Met::Never)
                    .map(|dependency| Reason::DependencyNever(self.dependency_state(dependency))),
            };
        }
        if let Some(dependency) = waiting(Met::Never) {
            return Some(Reason::DependencyNever(self.dependency_state(dependency)));
        }
        waiting(Met::NotYet).map(|dependency| Reason::Dependency(self.dependency_state(dependency)))
    }

    /// Whether a dependency is met. A job that is no longer in memory ended long ago; its
    /// dependants were in memory with it, so this is only asked of jobs that are known.
    #[must_use]
    pub fn met(&self, dependency: &Dependency) -> Met {
        let Some(other) = self.jobs.get(&dependency.job) else { return Met::Never };
        match dependency.task {
            Some(task) => Self::task_met(other, task, dependency.kind),
            None => Self::job_met(other, dependency.kind),
        }
    }

    fn task_met(other: &Job, task: u32, kind: DependencyKind) -> Met {
        let end = other.finished.get(&task);
        match (kind, end) {
            (DependencyKind::After, Some(_)) | (DependencyKind::AfterAny, Some(_)) => Met::Yes,
            (DependencyKind::After, None) if other.live.contains_key(&task) => Met::Yes,
            (DependencyKind::AfterOk, Some(end)) if end.outcome.is_success() => Met::Yes,
            (DependencyKind::AfterNotOk, Some(end)) if !end.outcome.is_success() => Met::Yes,
            (DependencyKind::AfterOk | DependencyKind::AfterNotOk, Some(_)) => Met::Never,
            (_, None) => Met::NotYet,
        }
    }

    fn job_met(other: &Job, kind: DependencyKind) -> Met {
        match kind {
            DependencyKind::After if other.first_placed_at.is_some() || other.is_finished() => {
                Met::Yes
            }
            DependencyKind::AfterAny if other.is_finished() => Met::Yes,
            DependencyKind::AfterOk if other.any_failed() => Met::Never,
            DependencyKind::AfterOk if other.is_finished() => Met::Yes,
            DependencyKind::AfterNotOk if other.is_finished() && other.any_failed() => Met::Yes,
            DependencyKind::AfterNotOk if other.is_finished() => Met::Never,
            DependencyKind::After
            | DependencyKind::AfterAny
            | DependencyKind::AfterOk
            | DependencyKind::AfterNotOk => Met::NotYet,
        }
    }

    /// How far the other job is.
    #[must_use]
    pub fn dependency_state(&self, dependency: &Dependency) -> DependencyState {
        let other = self.jobs.get(&dependency.job);
        DependencyState {
            dependency: *dependency,
            name: other.map_or_else(String::new, |job| job.spec.name.clone()),
            done: other.map_or(0, |job| job.finished.len()),
            total: other.map_or(0, Job::task_count),
            failed: other.map_or(0, |job| {
                job.finished.values().filter(|end| !end.outcome.is_success()).count()
            }),
        }
    }

    /// Jobs that wait for this one, for views.
    pub fn dependants(&self, id: JobId) -> impl Iterator<Item = &Job> {
        self.queued_jobs().filter(move |job| job.spec.dependencies.iter().any(|d| d.job == id))
    }
}
