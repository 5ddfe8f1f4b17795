//! What changes of jobs that wait, or of tasks of them: holds and specifications.
use super::control::{Decided, done, refuse, target_words};
use crate::Cluster;
use crate::event::Event;
use crate::input::{JobTarget, Principal};
use crate::job::Job;
use crate::reply::{Rejection, RejectionKind};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{IndexRanges, JobSpec, UserName};

/// Size, place and time of a start are the same: what runs can have no other.
fn same_place(new: &JobSpec, old: &JobSpec) -> bool {
    let size = |spec: &JobSpec| {
        (spec.nodes, spec.tasks, spec.cpus_per_task, spec.tasks_per_node, spec.gpus_per_node)
    };
    size(new) == size(old)
        && (new.memory, new.exclusive, new.begin) == (old.memory, old.exclusive, old.begin)
        && (&new.pools, &new.features) == (&old.pools, &old.features)
        && new.feature_choices == old.feature_choices
        && (&new.only_nodes, &new.not_nodes) == (&old.only_nodes, &old.not_nodes)
        && new.dependencies == old.dependencies
}

/// What decides the place of a job in the queue, and is of all its tasks.
fn same_turn(new: &JobSpec, old: &JobSpec) -> bool {
    (&new.pools, new.priority, new.begin, new.deadline)
        == (&old.pools, old.priority, old.begin, old.deadline)
        && (&new.dependencies, new.any_dependency) == (&old.dependencies, old.any_dependency)
        && (&new.array, &new.name) == (&old.array, &old.name)
}

/// The set of a target; `None` where it is all that a job is.
fn tasks_of<'a>(job: &Job, target: &'a JobTarget) -> Option<&'a IndexRanges> {
    target.tasks.as_ref().filter(|_| job.is_array())
}

fn nothing_waits(job: &Job, target: &JobTarget) -> Rejection {
    let over = match tasks_of(job, target) {
        None => job.is_finished(),
        Some(_) => job.live_among(target.tasks.as_ref()).is_empty(),
    };
    let words = target_words(job, target);
    refuse(format!("nothing of {words} waits any more"))
        .word(if over { "finished" } else { "not_pending" })
        .hint(format!("pcluster show {}", job.id))
}

impl Cluster {
    pub(super) fn hold(&self, who: &Principal, target: &JobTarget) -> Decided {
        let job = self.target(who, target)?;
        let words = target_words(job, target);
        let waiting = job.pending_among(target.tasks.as_ref());
        if waiting.is_empty() {
            return Err(nothing_waits(job, target));
        }
        let tasks = tasks_of(job, target);
        let free: IndexRanges =
            waiting.iter().copied().filter(|task| job.holder_of(*task).is_none()).collect();
        // A hold of the whole is also for tasks that come back.
        let nothing_to_do = if tasks.is_some() { free.is_empty() } else { job.held_by.is_some() };
        if nothing_to_do {
            let by = waiting.first().and_then(|task| job.holder_of(*task));
            let by = by.unwrap_or(&who.user);
            return done(format!("{words} is already held by {by}"), 0, Vec::new());
        }
        let (job, by) = (job.id, who.user.clone());
        let (said, changed, tasks) = match tasks {
            None => (format!("{words} held; what runs of it goes on"), 1, None),
            Some(_) => (format!("{words} held"), free.len(), Some(free)),
        };
        done(said, changed, vec![Event::JobHeld { job, by, tasks }])
    }

    pub(super) fn release(&self, who: &Principal, target: &JobTarget) -> Decided {
        let job = self.target(who, target)?;
        let words = target_words(job, target);
        let tasks = tasks_of(job, target);
        let held: Vec<u32> = job
            .pending_among(tasks)
            .into_iter()
            .filter(|task| job.holder_of(*task).is_some())
            .collect();
        if held.is_empty() && (tasks.is_some() || job.held_by.is_none()) {
            return done(format!("{words} is not held"), 0, Vec::new());
        }
        let mine = |by: &UserName| *by == who.user || who.admin;
        let free: IndexRanges =
            held.iter().copied().filter(|task| job.holder_of(*task).is_none_or(mine)).collect();
        let left = held.len() - free.len();
        let whole = tasks.is_none() && left == 0 && job.held_by.as_ref().is_none_or(mine);
        if free.is_empty() && !whole {
            let by = held.first().map_or(job.held_by.as_ref(), |task| job.holder_of(*task));
            let by = by.unwrap_or(&who.user);
            return Err(Rejection::new(
                RejectionKind::NotAllowed,
                format!("{words} is held by {by}"),
            )
            .hint("they or an admin can release it"));
        }
        let said = match left {
            0 => format!("{words} released"),
            left => format!("{words} released, but for {left} tasks that others hold"),
        };
        let changed = if whole { 1 } else { free.len() };
        let event = Event::JobReleased { job: job.id, tasks: (!whole).then_some(free) };
        done(said, changed, vec![event])
    }

    pub(super) fn update(
        &self,
        who: &Principal,
        target: &JobTarget,
        mut spec: Box<JobSpec>,
    ) -> Decided {
        let job = self.target(who, target)?;
        let tasks = tasks_of(job, target);
        let waits = job.pending_among(tasks);
        let live = job.live_among(tasks);
        if waits.is_empty() && live.is_empty() {
            return Err(self.finished_words(job, target));
        }
        let first = waits.first().copied().or(live.first().map(|(task, _)| *task));
        let old = match tasks {
            None => &job.spec,
            Some(_) => job.spec_of(first.unwrap_or_default()),
        };
        self.may_change(who, job, target, &spec, old)?;
        self.settle_choice(&mut spec);
        let pool = self.check_spec(&spec)?;
        self.name_tasks(&mut spec);
        self.check_dependencies(&spec, job.id)?;
        let time_limit_ms = spec.time_limit_ms;
        let limit_changed = time_limit_ms != old.time_limit_ms;
        let tasks = tasks.map(|_| {
            waits.iter().copied().chain(live.iter().map(|(task, _)| *task)).collect::<IndexRanges>()
        });
        let mut events = vec![Event::JobUpdated { job: job.id, pool, spec, tasks: tasks.clone() }];
        if limit_changed && !live.is_empty() {
            let own = |task: &u32| target.tasks.is_none() && job.own.specs.contains_key(task);
            let tasks = match job.own.specs.is_empty() {
                true => tasks,
                // Theirs is not the job's.
                false => Some(live.iter().map(|(task, _)| *task).filter(|t| !own(t)).collect()),
            };
            let reserved = self.reserve_for_longer(job, tasks.as_ref(), time_limit_ms)?;
            events.push(Event::LimitChanged { job: job.id, tasks, time_limit_ms });
            events.extend(reserved);
        }
        done(format!("{} updated", target_words(job, target)), 1, events)
    }

    /// Whether the principal may make `old`, what the target asks for, into `new`.
    fn may_change(
        &self,
        who: &Principal,
        job: &Job,
        target: &JobTarget,
        new: &JobSpec,
        old: &JobSpec,
    ) -> Result<(), Rejection> {
        let words = target_words(job, target);
        let not_allowed = |text| Err(Rejection::new(RejectionKind::NotAllowed, text));
        if tasks_of(job, target).is_some() && !same_turn(new, &job.spec) {
            return Err(refuse(
                "name, pool, priority, dependencies, begin, deadline and throttle are of a whole array",
            )
            .hint(format!("pcluster update {}", job.id)));
        }
        if new.priority > old.priority && !who.admin {
            return not_allowed("only an admin raises a priority".into());
        }
        let longer = match (new.time_limit_ms, old.time_limit_ms) {
            (Some(new), Some(old)) => new > old,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let runs = !job.live_among(tasks_of(job, target)).is_empty();
        if runs && longer && !who.admin {
            return not_allowed(format!("{words} runs; only an admin gives it more time"));
        }
        if job.pending_among(tasks_of(job, target)).is_empty() && !same_place(new, old) {
            return Err(refuse(format!("{words} runs; that is changed only while it waits"))
                .word("not_pending"));
        }
        Ok(())
    }
}
