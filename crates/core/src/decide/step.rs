//! What owners of allocations ask for: steps, the end of an allocation, its lease; and suspending.
use super::Decision;
use super::control::{Decided, done, refuse, target_words};
use crate::Cluster;
use crate::event::{Event, Then};
use crate::input::{JobTarget, Principal};
use crate::job::{Job, Outcome, Run};
use crate::limits::STEPS_MOST;
use crate::reply::{Rejection, RejectionKind, Reply};
use crate::step::{NoRoom, Step, StepAsk, StepPart, StepPartEnd, room_for};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{JobId, RunId, Timestamp};

fn busy(message: impl Into<String>) -> Rejection {
    Rejection::new(RejectionKind::Busy, message)
}

fn no_such_run(run: RunId) -> Rejection {
    Rejection::new(RejectionKind::NotFound, format!("there is no run {run}"))
}

impl Cluster {
    pub(super) fn make_step(&self, who: &Principal, id: RunId, ask: StepAsk) -> Decided {
        let run = self.runs.get(&id).ok_or_else(|| no_such_run(id))?;
        let job = self.own_job(who, run.job)?;
        let steps = self.steps.get(&id).map_or(&[][..], Vec::as_slice);
        let known = steps.iter().find(|step| !ask.key.is_empty() && step.key == ask.key);
        if let Some(step) = known {
            return Ok(Decision::reply(Reply::StepGranted { run: id, step: step.step }));
        }
        let label = job.task_label(run.task);
        if run.is_ending() {
            return Err(refuse(format!("job {label} is ending")));
        }
        if steps.len() >= STEPS_MOST {
            return Err(refuse(format!("a run has at most {STEPS_MOST} steps")));
        }
        room_for(run, steps, &ask).map_err(|no| self.no_room(job, run, no))?;
        if run.suspended_since.is_some() {
            return Err(busy(format!("job {label} is suspended")));
        }
        if !self.all_started(run) {
            return Err(busy(format!("job {label} is still starting on its nodes")));
        }
        let number = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let step = Box::new(Step {
            job: job.id,
            run: id,
            step: number,
            key: ask.key,
            name: ask.name,
            parts: ask.tasks.iter().map(|tasks| StepPart { tasks: *tasks, end: None }).collect(),
            cpus_per_task: ask.cpus_per_task.max(1),
            gpus: ask.gpus,
            overlap: ask.overlap,
            started_at: self.last_at,
            ended_at: None,
            cancelled: false,
        });
        Ok(Decision {
            events: vec![Event::StepStarted { step }],
            reply: Reply::StepGranted { run: id, step: number },
        })
    }

    fn no_room(&self, job: &Job, run: &Run, no: NoRoom) -> Rejection {
        let label = job.task_label(run.task);
        let node = |rank: usize| {
            let part = run.parts.get(rank);
            let node = part.and_then(|part| self.nodes.get(&part.part.node));
            node.map_or_else(|| format!("its node {rank}"), |node| node.name.clone())
        };
        match no {
            NoRoom::Layout => Rejection::new(
                RejectionKind::BadRequest,
                format!(
                    "a step of job {label} has tasks for some of its {} nodes",
                    run.parts.len()
                ),
            ),
            NoRoom::Never { what, rank, asked, has } => {
                refuse(format!("job {label} has fewer {what} than the step asks for"))
                    .fact("asked", format!("{asked} {what} on {}", node(rank)))
                    .fact("has", format!("{has}"))
            }
            NoRoom::Now { what, rank, asked, free } => {
                busy(format!("other steps of job {label} hold the {what} that this one needs"))
                    .fact("asked", format!("{asked} {what} on {}", node(rank)))
                    .fact("free", format!("{free}"))
            }
        }
    }

    pub(super) fn end_step(
        &self,
        who: &Principal,
        (run, number): (RunId, u32),
        rank: u32,
        end: StepPartEnd,
    ) -> Decided {
        let steps = self.steps.get(&run).ok_or_else(|| no_such_run(run))?;
        let step = steps.get(number as usize).ok_or_else(|| {
            Rejection::new(RejectionKind::NotFound, format!("run {run} has no step {number}"))
        })?;
        self.own_job(who, step.job)?;
        let part =
            step.parts.get(rank as usize).filter(|part| part.tasks > 0).ok_or_else(|| {
                Rejection::new(
                    RejectionKind::BadRequest,
                    format!("step {number} of run {run} has no tasks on rank {rank}"),
                )
            })?;
        if part.end.is_some() {
            return done(format!("step {number} had ended there"), 0, Vec::new());
        }
        let event = Event::StepEnded { job: step.job, run, step: number, rank, end };
        done(format!("step {number} has ended there"), 1, vec![event])
    }

    pub(super) fn finish(
        &self,
        who: &Principal,
        target: &JobTarget,
        exit_code: i32,
        signal: i32,
    ) -> Decided {
        let job = self.target(who, target)?;
        if job.spec.kind != JobKind::Allocation {
            return Err(refuse(format!("job {} ends when its script does", job.id))
                .hint(format!("pcluster cancel {}", job.id)));
        }
        let outcome = match (signal, exit_code) {
            (0, 0) => Outcome::Completed,
            (0, code) => Outcome::Failed { code },
            (signal, _) => Outcome::Signaled { signal },
        };
        let changed = job.pending.len() + job.live.len();
        let ending = job.pending.is_empty() && job.live.values().all(|run| self.is_finishing(*run));
        if ending {
            return done(format!("job {} had been given back", job.id), 0, Vec::new());
        }
        let why = format!("given back by {}", who.user);
        let event = Event::EndWanted { job: job.id, tasks: None, outcome, why };
        done(format!("job {} given back", job.id), changed, vec![event])
    }

    /// The lease itself is volatile: `note` has taken the request in.
    pub(super) fn renew(&self, who: &Principal, target: &JobTarget) -> Decided {
        let job = self.target(who, target)?;
        let over = job.pending.is_empty() && job.live.values().all(|run| self.is_finishing(*run));
        if over {
            return Err(self.finished_words(job, target));
        }
        done(format!("job {} is kept", job.id), 1, Vec::new())
    }

    /// For admins, as in Slurm: the time limit stands still, and what stands still can be woken by
    /// any process of its user.
    pub(super) fn suspend(&self, who: &Principal, target: &JobTarget, suspended: bool) -> Decided {
        let job = self.target(who, target)?;
        if !who.admin {
            let word = if suspended { "suspends" } else { "resumes" };
            let text = format!("only an admin {word} a job; you are {}", who.user);
            return Err(Rejection::new(RejectionKind::NotAllowed, text)
                .hint(format!("pcluster requeue {}   gives its nodes back", job.id)));
        }
        let words = target_words(job, target);
        let runs = job.live_among(target.tasks.as_ref());
        let runs = runs.iter().filter_map(|(task, run)| Some((*task, self.runs.get(run)?)));
        let live: Vec<(u32, &Run)> = runs.filter(|(_, run)| !run.is_ending()).collect();
        if live.is_empty() {
            let word =
                if !job.is_finished() && job.live.is_empty() { "pending" } else { "not_running" };
            return Err(refuse(format!("{words} is not running")).word(word));
        }
        if suspended && self.config().is_some_and(|config| config.budget.month.is_some()) {
            return Err(refuse("a suspended job keeps its nodes, and this cluster has a budget")
                .hint(format!("pcluster requeue {}   gives the nodes back", job.id)));
        }
        let change: Vec<u32> = live
            .iter()
            .filter(|(_, run)| run.suspended_since.is_some() != suspended)
            .map(|(task, _)| *task)
            .collect();
        let word = if suspended { "suspended" } else { "running" };
        if change.is_empty() {
            return done(format!("{words} is already {word}"), 0, Vec::new());
        }
        let count = change.len();
        let tasks = job.is_array().then(|| change.into_iter().collect());
        let event = Event::JobSuspended { job: job.id, tasks, suspended, by: who.user.clone() };
        let said = if suspended { "suspended; it keeps its nodes" } else { "goes on" };
        done(format!("{words} {said}"), count, vec![event])
    }

    /// Jobs that time ends: leases that nobody renewed, deadlines, and dependencies that can never
    /// be met any more.
    pub(crate) fn job_timers(&self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        for job in self.open_jobs() {
            if let Some(at) = self.lease_end(job)
                && at <= now
            {
                events.push(Event::EndWanted {
                    job: job.id,
                    tasks: None,
                    outcome: Outcome::ClientGone,
                    why: "its client has not been heard of".into(),
                });
                continue;
            }
            if self.is_hopeless(job, now) {
                events.push(Event::EndWanted {
                    job: job.id,
                    tasks: job.is_array().then(|| job.pending.clone()),
                    outcome: Outcome::Cancelled { by: job.owner.user.clone(), uid: None },
                    why: "what it waits for can never come".into(),
                });
                continue;
            }
            let why = String::from("its deadline");
            let outcome = Outcome::DeadlineMissed;
            if self.give_up_at(job).is_some_and(|at| at <= now) {
                let tasks = job.is_array().then(|| job.pending.clone());
                let outcome = outcome.clone();
                let why = why.clone();
                events.push(Event::EndWanted { job: job.id, tasks, outcome, why });
            }
            if self.deadline_of(job).is_some_and(|at| at <= now) {
                let late = job.live.iter().filter(|(_, run)| !self.is_finishing(**run));
                let late: Vec<u32> = late.map(|(task, _)| *task).collect();
                if !late.is_empty() {
                    let tasks = job.is_array().then(|| late.into_iter().collect());
                    events.push(Event::EndWanted { job: job.id, tasks, outcome, why });
                }
            }
        }
        events
    }

    /// The next moment after `now` at which `job_timers` has something to do.
    pub(crate) fn next_job_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.open_jobs()
            .flat_map(|job| {
                let live = job.live.values().any(|run| !self.is_finishing(*run));
                let deadline = self.deadline_of(job).filter(|_| live);
                let hopeless = self.is_hopeless(job, now).then_some(now);
                [self.lease_end(job), self.give_up_at(job), deadline, hopeless]
            })
            .flatten()
            .map(|at| at.max(now))
            .min()
    }

    fn is_hopeless(&self, job: &Job, now: Timestamp) -> bool {
        job.spec.end_when_never && self.can_never_start(job, now)
    }

    /// Jobs with a lease, a deadline or a wish to be given up, that wait or live.
    fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        let live = self.runs.values().filter_map(|run| self.jobs.get(&run.job));
        let timed = |job: &&Job| {
            let spec = &job.spec;
            spec.lease_ms.is_some() || spec.deadline.is_some() || spec.end_when_never
        };
        let jobs: BTreeMap<JobId, &Job> =
            live.chain(self.queued_jobs()).filter(timed).map(|job| (job.id, job)).collect();
        jobs.into_values()
    }

    /// When an allocation ends whose client is not heard any more.
    fn lease_end(&self, job: &Job) -> Option<Timestamp> {
        let lease = job.spec.lease_ms.filter(|_| job.spec.kind == JobKind::Allocation)?;
        let open = !job.pending.is_empty() || job.live.values().any(|run| !self.is_finishing(*run));
        let heard = self.volatile.renewed.get(&job.id).copied().unwrap_or(job.submitted_at);
        open.then(|| heard.max(self.volatile.leases_from) + lease)
    }

    /// The deadline in steady time.
    fn deadline_of(&self, job: &Job) -> Option<Timestamp> {
        let at = job.spec.deadline?;
        Some(Timestamp(at.0.saturating_sub(self.meta.clock_offset_ms)))
    }

    /// When what waits can no longer end before the deadline.
    fn give_up_at(&self, job: &Job) -> Option<Timestamp> {
        let at = self.deadline_of(job).filter(|_| !job.pending.is_empty())?;
        let limit = job.spec.time_limit_ms.unwrap_or_default();
        Some(at - limit)
    }

    pub(super) fn requeue_held(&self, who: &Principal, target: &JobTarget) -> Decided {
        let mut decision = self.requeue(who, target)?;
        let job = self.own_job(who, target.job)?;
        if job.held_by.is_none() {
            let tasks = target.tasks.clone();
            decision.events.push(Event::JobHeld { job: job.id, by: who.user.clone(), tasks });
        }
        Ok(decision)
    }

    /// The run ends for good, whatever else is asked: a cancel is never taken back.
    pub(super) fn is_finishing(&self, run: RunId) -> bool {
        let then = self.runs.get(&run).and_then(|run| run.then.as_ref());
        matches!(then, Some(Then::Finish(_)))
    }
}
