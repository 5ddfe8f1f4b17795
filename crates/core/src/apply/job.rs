//! What events do to jobs and runs.
use crate::Cluster;
use crate::decide::reclaim::RECLAIMED;
use crate::event::{Event, PartEnd, Placement, TaskEnded, Then};
use crate::job::{Job, Outcome, PastRun, Run, RunPart, TaskNumbers};
use crate::node::Node;
use crate::own::Own;
use crate::rows::RowKey;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{DurationMs, IndexRanges, JobId, NodeId, RunId, Timestamp};
use pcluster_wire::{Exit, Usage};

impl Cluster {
    pub(super) fn apply_job_event(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::JobSubmitted { job, .. } => {
                self.insert_job(at, event);
                self.job_changed(*job);
            }
            Event::JobHeld { job, by, tasks } => {
                self.with_job(*job, |job| job.hold(tasks.as_ref(), by));
            }
            Event::JobReleased { job, tasks } => {
                self.with_job(*job, |job| job.release(tasks.as_ref()));
            }
            Event::JobUpdated { job, pool, spec, tasks } => self.with_job(*job, |job| {
                if let Some(tasks) = tasks {
                    job.specify(tasks, spec);
                    return;
                }
                job.pool = pool.clone();
                job.spec = Arc::new((**spec).clone());
            }),
            Event::JobPlaced { job, placement } => self.apply_placement(at, *job, placement),
            Event::TasksPlaced { job, placements } => {
                for placement in placements {
                    self.apply_placement(at, *job, placement);
                }
            }
            Event::CancelWanted { job, tasks, by, uid } => {
                let outcome = Outcome::Cancelled { by: by.clone(), uid: *uid };
                self.apply_cancel(at, *job, tasks.as_ref(), &outcome);
            }
            Event::RequeueWanted { job, tasks, why, preempted: false } => {
                self.apply_requeue(*job, tasks.as_ref(), why);
            }
            Event::RequeueWanted { job, tasks, why, preempted: true } => {
                for (_, run) in self.live_runs(*job, tasks.as_ref()) {
                    self.with_run(run, |run| {
                        run.then.get_or_insert_with(|| Then::Preempt { why: why.clone() });
                    });
                }
            }
            Event::EndWanted { job, tasks, outcome, .. } => {
                self.apply_cancel(at, *job, tasks.as_ref(), outcome);
            }
            Event::JobSuspended { job, tasks, suspended, .. } => {
                for (_, run) in self.live_runs(*job, tasks.as_ref()) {
                    self.with_run(run, |run| suspend(run, at, *suspended));
                }
            }
            Event::RunEnded { ended, .. } => self.apply_part_end(at, ended),
            Event::TasksEnded { ended, .. } => {
                for end in ended {
                    self.apply_part_end(at, end);
                }
            }
            Event::LimitChanged { job, tasks, time_limit_ms } => {
                for (_, run) in self.live_runs(*job, tasks.as_ref()) {
                    self.with_run(run, |run| {
                        run.time_limit_ms = *time_limit_ms;
                        run.limit_changes += 1;
                    });
                }
            }
            _ => unreachable!("only events of jobs are sent here"),
        }
    }

    fn insert_job(&mut self, at: Timestamp, event: &Event) {
        let Event::JobSubmitted { job, owner, pool, spec, key } = event else { return };
        self.meta.last_job = self.meta.last_job.max(job.0);
        self.touched.insert(RowKey::Meta);
        if let Some(key) = key {
            self.submit_keys.insert((owner.uid, key.clone()), *job);
        }
        let new = Job {
            id: *job,
            owner: owner.clone(),
            pool: pool.clone(),
            pending: Job::all_indices(spec),
            held_by: spec.hold.then(|| owner.user.clone()),
            own: Own::default(),
            spec: Arc::new((**spec).clone()),
            key: key.clone(),
            submitted_at: at,
            live: BTreeMap::new(),
            finished: BTreeMap::new(),
            failed: 0,
            numbers: BTreeMap::new(),
            numbered: 0,
            past: Vec::new(),
            first_placed_at: None,
        };
        self.jobs.insert(*job, new);
    }

    pub(crate) fn with_job(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.get_mut(&id) {
            change(job);
            self.job_changed(id);
        }
    }

    fn job_changed(&mut self, id: JobId) {
        self.touched.insert(RowKey::Job(id));
        self.index_job(id);
    }

    fn with_run(&mut self, id: RunId, change: impl FnOnce(&mut Run)) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        change(run);
        self.touched.insert(RowKey::Run(id));
        let nodes: Vec<NodeId> = run.parts.iter().map(|part| part.part.node).collect();
        self.volatile.marked_nodes.extend(nodes);
    }

    fn live_runs(&self, job: JobId, tasks: Option<&IndexRanges>) -> Vec<(u32, RunId)> {
        self.jobs.get(&job).map_or_else(Vec::new, |job| job.live_among(tasks))
    }

    fn apply_placement(&mut self, at: Timestamp, id: JobId, placement: &Placement) {
        self.meta.last_run = self.meta.last_run.max(placement.run.0);
        self.meta.last_job = self.meta.last_job.max(placement.raw_job.0);
        self.meta.last_order += 1;
        self.touched.insert(RowKey::Meta);
        let order = self.meta.last_order;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.pending.remove(placement.task);
        job.live.insert(placement.task, placement.run);
        let numbers = job.numbers.entry(placement.task).or_insert_with(|| {
            job.numbered += 1;
            if placement.raw_job != id {
                self.task_ids.insert(placement.raw_job, (id, placement.task));
            }
            TaskNumbers { raw_job: placement.raw_job, attempts: 0, requeues: 0 }
        });
        numbers.attempts = placement.attempt;
        job.first_placed_at.get_or_insert(at);
        let run = Run {
            id: placement.run,
            job: id,
            task: placement.task,
            raw_job: placement.raw_job,
            attempt: placement.attempt,
            order,
            parts: placement
                .parts
                .iter()
                .map(|part| RunPart { part: part.clone(), end: None })
                .collect(),
            placed_at: at,
            time_limit_ms: job.spec_of(placement.task).time_limit_ms,
            limit_changes: 0,
            then: None,
            suspended_since: None,
            suspended_ms: DurationMs::ZERO,
            suspensions: 0,
        };
        self.runs.insert(placement.run, run);
        self.touched.insert(RowKey::Run(placement.run));
        self.job_changed(id);
        for part in &placement.parts {
            self.take_room(at, placement, part);
        }
    }

    fn take_room(&mut self, at: Timestamp, placement: &Placement, part: &crate::event::Part) {
        let Some(node) = self.nodes.get_mut(&part.node) else { return };
        node.runs.insert(placement.run);
        node.held = node.held.plus(&part.resources);
        node.idle_since = None;
        node.first_run_at.get_or_insert(at);
        node.reserved_until = node.reserved_until.max(placement.reserved_until);
        self.node_changed(at, part.node);
    }

    fn apply_cancel(
        &mut self,
        at: Timestamp,
        id: JobId,
        tasks: Option<&IndexRanges>,
        outcome: &Outcome,
    ) {
        for (_, run) in self.live_runs(id, tasks) {
            self.with_run(run, |run| run.then = Some(Then::Finish(outcome.clone())));
        }
        let waiting = self.jobs.get(&id).map_or_else(Vec::new, |job| job.pending_among(tasks));
        self.touched.extend(waiting.iter().map(|task| RowKey::Task(id, *task)));
        self.with_job(id, |job| {
            for task in waiting {
                job.pending.remove(task);
                job.finish(task, outcome.clone(), at, None);
            }
        });
    }

    fn apply_requeue(&mut self, id: JobId, tasks: Option<&IndexRanges>, why: &str) {
        for (_, run) in self.live_runs(id, tasks) {
            self.with_run(run, |run| {
                // A cancel is never taken back (invariant I4).
                if !matches!(run.then, Some(Then::Finish(_))) {
                    run.then = Some(Then::Requeue { why: why.into() });
                }
            });
        }
        let in_set = |task: &u32| tasks.is_none_or(|set| set.contains(*task));
        let ended: Vec<u32> = self
            .jobs
            .get(&id)
            .map_or_else(Vec::new, |job| job.finished.keys().copied().filter(in_set).collect());
        self.touched.extend(ended.iter().map(|task| RowKey::Task(id, *task)));
        self.with_job(id, |job| ended.into_iter().for_each(|task| job.unfinish(task, why)));
    }

    /// One node has answered for its part of a run.
    pub(super) fn apply_part_end(&mut self, at: Timestamp, ended: &TaskEnded) {
        let Some(run) = self.runs.get_mut(&ended.run) else { return };
        let Some(part) = run.parts.iter_mut().find(|part| part.part.node == ended.node) else {
            return;
        };
        if part.end.is_some() {
            return;
        }
        part.end = Some(ended.end.clone());
        let held = part.part.resources;
        self.touched.insert(RowKey::Run(ended.run));
        if let Some(node) = self.nodes.get_mut(&ended.node) {
            node.runs.remove(&ended.run);
            node.held = node.held.minus(&held);
            if node.runs.is_empty() {
                node.idle_since = Some(at);
            }
            self.node_changed(at, ended.node);
        }
        self.mark_run(ended.run);
        if self.runs.get(&ended.run).is_some_and(Run::is_over) {
            self.finish_run(at, ended.run);
        }
    }

    fn mark_run(&mut self, id: RunId) {
        if let Some(run) = self.runs.get(&id) {
            let nodes: Vec<NodeId> = run.parts.iter().map(|part| part.part.node).collect();
            self.volatile.marked_nodes.extend(nodes);
        }
    }

    fn finish_run(&mut self, at: Timestamp, id: RunId) {
        let Some(run) = self.runs.remove(&id) else { return };
        self.touched.insert(RowKey::Run(id));
        for part in &run.parts {
            self.volatile.run_starts.remove(&(id, part.part.node));
        }
        self.volatile.renewed.remove(&run.job);
        self.close_steps(at, id);
        let has_steps = self.steps.contains_key(&id);
        let past = self.past_of(&run, at);
        let may_requeue = self.may_requeue(&run);
        let taken = self.taken(&run);
        self.with_job(run.job, |job| {
            job.live.remove(&run.task);
            match resolve(&run, job.spec.kind, has_steps, may_requeue, taken) {
                Resolution::NotAnAttempt => {
                    if let Some(numbers) = job.numbers.get_mut(&run.task) {
                        numbers.attempts = run.attempt.saturating_sub(1);
                    }
                    job.pending.insert(run.task);
                }
                Resolution::Again { why, counted } => {
                    if let Some(numbers) = job.numbers.get_mut(&run.task) {
                        numbers.requeues += u32::from(counted);
                    }
                    job.past.push(PastRun { requeued: Some(why), ..past });
                    job.pending.insert(run.task);
                }
                Resolution::Done(outcome) => job.finish(run.task, outcome, at, Some(past)),
            }
        });
        self.touched.insert(RowKey::Task(run.job, run.task));
    }

    /// Whether a machine of this run was taken back.
    fn taken(&self, run: &Run) -> Taken {
        let nodes = || run.parts.iter().filter_map(|part| self.nodes.get(&part.part.node));
        let signalled = self.jobs.get(&run.job).map(|job| job.spec_of(run.task));
        if !nodes().any(Node::is_reclaimed) {
            Taken::No
        } else if self.is_doomed(run) && signalled.is_some_and(|spec| spec.warn_signal.is_some()) {
            Taken::Warned
        } else {
            Taken::Yes
        }
    }

    fn past_of(&self, run: &Run, at: Timestamp) -> PastRun {
        let mut usage = Usage::default();
        let (mut started_at, mut exit) = (None, None);
        for part in &run.parts {
            if let Some(PartEnd::Ended { exit: how, usage: used, started_at: from, .. }) = &part.end
            {
                usage.user_cpu_ms += used.user_cpu_ms;
                usage.system_cpu_ms += used.system_cpu_ms;
                usage.max_rss_bytes = usage.max_rss_bytes.max(used.max_rss_bytes);
                usage.output_bytes += used.output_bytes;
                usage.scratch_bytes = usage.scratch_bytes.max(used.scratch_bytes);
                if exit.is_none() {
                    exit = Some(how.clone());
                    started_at = Some(*from);
                }
            }
        }
        let names = run.parts.iter().map(|part| {
            self.nodes.get(&part.part.node).map_or_else(String::new, |node| node.name.clone())
        });
        PastRun {
            run: run.id,
            task: run.task,
            raw_job: run.raw_job,
            attempt: run.attempt,
            nodes: names.collect(),
            cpus: run.parts.iter().map(|part| part.part.resources.cpus).sum(),
            memory_bytes: run.parts.iter().map(|part| part.part.resources.memory_bytes).sum(),
            per_node: run.parts.iter().map(|part| part.part.resources).collect(),
            placed_at: run.placed_at,
            started_at,
            ended_at: at,
            exit,
            usage,
            first_usage: match run.parts.first().and_then(|part| part.end.as_ref()) {
                Some(PartEnd::Ended { usage, .. }) => *usage,
                _ => Usage::default(),
            },
            suspended_ms: run.suspended_ms
                + run.suspended_since.map_or(DurationMs::ZERO, |since| at.since(since)),
            requeued: None,
        }
    }
}

/// What follows when every node of a run has answered.
enum Resolution {
    /// Nothing of the user ran: back to the queue as if it had not been placed.
    NotAnAttempt,
    Again {
        why: String,
        counted: bool,
    },
    Done(Outcome),
}

/// Whether a machine of a run was taken back by its provider.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    No,
    Yes,
    /// And its script was told before, by the signal that it had asked for.
    Warned,
}

fn resolve(
    run: &Run,
    kind: JobKind,
    has_steps: bool,
    may_requeue: bool,
    taken: Taken,
) -> Resolution {
    let lost = |why: String| match taken {
        _ if may_requeue => Resolution::Again { why, counted: true },
        Taken::No => Resolution::Done(Outcome::NodeFailed { why }),
        Taken::Yes | Taken::Warned => Resolution::Done(Outcome::Preempted),
    };
    let preempted = || match lost(RECLAIMED.into()) {
        Resolution::Done(_) => Resolution::Done(Outcome::Preempted),
        again => again,
    };
    match &run.then {
        Some(Then::Finish(outcome)) => return Resolution::Done(outcome.clone()),
        Some(Then::Requeue { why }) => {
            return Resolution::Again { why: why.clone(), counted: false };
        }
        _ if run.never_started(kind, has_steps) => return Resolution::NotAnAttempt,
        Some(Then::Preempt { .. }) => return preempted(),
        None => {}
    }
    let gone = run.parts.iter().find_map(|part| match &part.end {
        Some(PartEnd::NodeGone { why }) => Some(why.clone()),
        _ => None,
    });
    if let Some(why) = gone {
        return lost(why);
    }
    // The first part that ended by itself says how; the others were told to end because of it. The
    // limit of a follower ends nobody else (`is_ending`), so it is asked last.
    let mut late = false;
    for (rank, part) in run.parts.iter().enumerate() {
        let Some(PartEnd::Ended { exit, .. }) = &part.end else { continue };
        let script = rank == 0 && kind == JobKind::Batch;
        return match exit {
            // It gave up what it did because it was told that its machine goes.
            Exit::Code(1..) | Exit::Signal(_) if script && taken == Taken::Warned => preempted(),
            Exit::Code(0) if script => Resolution::Done(Outcome::Completed),
            Exit::Code(code) if script => Resolution::Done(Outcome::Failed { code: *code }),
            Exit::Signal(signal) if script => {
                Resolution::Done(Outcome::Signaled { signal: *signal })
            }
            Exit::Code(_) | Exit::Signal(_) => lost("its step daemon ended".into()),
            Exit::TimedOut if rank > 0 => {
                late = true;
                continue;
            }
            Exit::TimedOut => Resolution::Done(Outcome::TimedOut),
            Exit::OutOfMemory => Resolution::Done(Outcome::OutOfMemory),
            Exit::DiskFull => Resolution::Done(Outcome::DiskFull),
            Exit::CannotRun { why } => Resolution::Done(Outcome::CannotRun { why: why.clone() }),
            Exit::KeeperLost => lost("its keeper was lost".into()),
            Exit::Ended { .. } => continue,
        };
    }
    if late { Resolution::Done(Outcome::TimedOut) } else { lost("its node ended it".into()) }
}

/// Time stands still for a run, or goes on.
fn suspend(run: &mut Run, at: Timestamp, suspended: bool) {
    if run.suspended_since.is_some() == suspended {
        return;
    }
    run.suspensions += 1;
    match run.suspended_since.take() {
        Some(since) => run.suspended_ms = run.suspended_ms + at.since(since),
        None => run.suspended_since = Some(at),
    }
}
