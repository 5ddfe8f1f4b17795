//! Why a job waits, composed when it is read, from its own state and the planners' last words.
use crate::Cluster;
use crate::job::Job;
use crate::plan::Wait;
use alloc::string::String;
use pcluster_model::{Dependency, DependencyKind, IndexRanges, JobId, Timestamp, UserName};

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

    /// Why these waiting tasks of a job wait, which are alike (`Job::waiting_alike`).
    #[must_use]
    pub fn reason_of(&self, job: &Job, tasks: &IndexRanges, now: Timestamp) -> Reason {
        match tasks.first().and_then(|task| job.holder_of(task)) {
            Some(by) => Reason::Held { by: by.clone() },
            None => self.reason(job, now),
        }
    }

    /// What keeps a job from being tried at all; `None`: it is eligible.
    pub(crate) fn block(&self, job: &Job, now: Timestamp) -> Option<Reason> {
        if let Some(by) = job.holder() {
            return Some(Reason::Held { by: by.clone() });
        }
        if let Some(block) = self.dependency_block(job, now) {
            return Some(block);
        }
        if let Some(at) = job.spec.begin.filter(|at| self.wall(now) < *at) {
            return Some(Reason::Begin { at });
        }
        let throttle = job.spec.array.as_ref().and_then(|array| array.throttle);
        throttle.filter(|_| job.throttle_room() == 0).map(|limit| Reason::Throttle { limit })
    }

    /// True when the dependencies of what waits can never be met.
    pub(crate) fn can_never_start(&self, job: &Job, now: Timestamp) -> bool {
        let never = || matches!(self.dependency_block(job, now), Some(Reason::DependencyNever(_)));
        !job.pending.is_empty() && never()
    }

    fn dependency_block(&self, job: &Job, now: Timestamp) -> Option<Reason> {
        let states = job.spec.dependencies.iter().map(|d| (self.met(job, d, now), d));
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

    /// Whether a dependency of `job` is met. A job that is no longer in memory ended long ago,
    /// and counts as having ended as it was wanted.
    #[must_use]
    pub fn met(&self, job: &Job, dependency: &Dependency, now: Timestamp) -> Met {
        if dependency.kind == DependencyKind::Singleton {
            return if self.has_earlier_twin(job) { Met::NotYet } else { Met::Yes };
        }
        if dependency.kind == DependencyKind::AfterCorr
            && dependency.task.is_none()
            && let Some(other) = self.jobs.get(&dependency.job)
        {
            return Self::corr_met(job, other);
        }
        self.met_by(dependency, now)
    }

    /// Whether a dependency is met whose kind asks nothing of the job that waits.
    #[must_use]
    pub fn met_by(&self, dependency: &Dependency, now: Timestamp) -> Met {
        let Some(other) = self.jobs.get(&dependency.job) else { return Met::Yes };
        let met = match dependency.task {
            Some(task) => Self::task_met(other, task, dependency.kind),
            None => Self::job_met(other, dependency.kind),
        };
        let waits = other.first_placed_at.is_some_and(|at| now < at + dependency.delay_ms);
        if met == Met::Yes && waits { Met::NotYet } else { met }
    }

    /// Another job of this user with this name is there, submitted before it.
    fn has_earlier_twin(&self, job: &Job) -> bool {
        let twin = |other: &Job| {
            other.id < job.id
                && other.owner.uid == job.owner.uid
                && other.spec.name == job.spec.name
        };
        let live = self.runs.values().filter_map(|run| self.jobs.get(&run.job));
        live.chain(self.queued_jobs()).any(twin)
    }

    /// `aftercorr`: each waiting task has a counterpart; one that may start is enough here.
    fn corr_met(job: &Job, other: &Job) -> Met {
        if !other.is_array() || !job.is_array() {
            return Self::job_met(other, DependencyKind::AfterOk);
        }
        let mut met = Met::Never;
        for task in job.pending.iter() {
            match Self::counterpart_met(other, task) {
                Met::Yes => return Met::Yes,
                Met::NotYet => met = Met::NotYet,
                Met::Never => {}
            }
        }
        met
    }

    fn counterpart_met(other: &Job, task: u32) -> Met {
        if Job::all_indices(&other.spec).contains(task) {
            Self::task_met(other, task, DependencyKind::AfterOk)
        } else {
            Self::job_met(other, DependencyKind::AfterOk)
        }
    }

    /// Waiting tasks of an eligible job whose own dependencies are met: with `aftercorr` each task
    /// waits for its counterpart.
    pub(crate) fn ready_tasks<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = u32> + 'a {
        let others: alloc::vec::Vec<&Job> = job
            .spec
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::AfterCorr)
            .filter(|_| job.is_array())
            .filter_map(|dependency| self.jobs.get(&dependency.job))
            .filter(|other| other.is_array())
            .collect();
        job.pending.iter().filter(|task| job.holder_of(*task).is_none()).filter(move |task| {
            let mut met =
                others.iter().map(|other| Self::counterpart_met(other, *task) == Met::Yes);
            if job.spec.any_dependency {
                others.is_empty() || met.any(|met| met)
            } else {
                met.all(|met| met)
            }
        })
    }

    fn task_met(other: &Job, task: u32, kind: DependencyKind) -> Met {
        let end = other.finished.get(&task);
        match (kind, end) {
            (
                DependencyKind::After | DependencyKind::AfterAny | DependencyKind::Singleton,
                Some(_),
            ) => Met::Yes,
            (DependencyKind::After, None) if other.live.contains_key(&task) => Met::Yes,
            (DependencyKind::AfterOk | DependencyKind::AfterCorr, Some(end))
                if end.outcome.is_success() =>
            {
                Met::Yes
            }
            (DependencyKind::AfterNotOk, Some(end)) if !end.outcome.is_success() => Met::Yes,
            (
                DependencyKind::AfterOk | DependencyKind::AfterCorr | DependencyKind::AfterNotOk,
                Some(_),
            ) => Met::Never,
            (_, None) => Met::NotYet,
        }
    }

    fn job_met(other: &Job, kind: DependencyKind) -> Met {
        match kind {
            DependencyKind::After if other.first_placed_at.is_some() || other.is_finished() => {
                Met::Yes
            }
            DependencyKind::AfterAny | DependencyKind::Singleton if other.is_finished() => Met::Yes,
            DependencyKind::AfterOk | DependencyKind::AfterCorr if other.any_failed() => Met::Never,
            DependencyKind::AfterOk | DependencyKind::AfterCorr if other.is_finished() => Met::Yes,
            DependencyKind::AfterNotOk if other.is_finished() && other.any_failed() => Met::Yes,
            DependencyKind::AfterNotOk if other.is_finished() => Met::Never,
            DependencyKind::After
            | DependencyKind::AfterAny
            | DependencyKind::AfterOk
            | DependencyKind::AfterCorr
            | DependencyKind::Singleton
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
