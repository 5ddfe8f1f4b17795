//! What users and admins do to jobs, nodes and the cluster.
use super::Decision;
use crate::event::{Event, StopCause};
use crate::input::{JobTarget, Principal};
use crate::job::{Job, Outcome, Owner};
use crate::node::NodeState;
use crate::reply::{Rejection, RejectionKind, Reply};
use crate::{Cluster, Node};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{ArraySpec, IndexRanges, JobId, NodeId, RunId, SignalScope, Timestamp};

pub(super) type Decided = Result<Decision, Rejection>;

pub(super) fn refuse(message: impl Into<String>) -> Rejection {
    Rejection::new(RejectionKind::Refused, message)
}

pub(super) fn done(said: String, changed: usize, events: Vec<Event>) -> Decided {
    Ok(Decision { events, reply: Reply::Done { said, changed: changed as u64 } })
}

/// `job 41`, `41_3` or `3 tasks of job 41`.
pub(super) fn target_words(job: &Job, target: &JobTarget) -> String {
    match target.tasks.as_ref().map(|set| (set.len(), set.first())) {
        Some((1, Some(task))) if job.is_array() => format!("task {}", job.task_label(task)),
        Some((count, _)) if job.is_array() => format!("{count} tasks of job {}", job.id),
        _ => format!("job {}", job.id),
    }
}

impl Cluster {
    /// The job of a target, if the principal may change it and the tasks exist.
    pub(super) fn target<'a>(
        &'a self,
        who: &Principal,
        target: &JobTarget,
    ) -> Result<&'a Job, Rejection> {
        let job = self.own_job(who, target.job)?;
        let Some(tasks) = &target.tasks else { return Ok(job) };
        let all = Job::all_indices(&job.spec);
        match tasks.iter().find(|task| !job.is_array() || !all.contains(*task)) {
            None => Ok(job),
            Some(task) => Err(Rejection::new(
                RejectionKind::NotFound,
                format!("job {} has no task {task}", job.id),
            )
            .fact(
                "tasks",
                if job.is_array() { format!("{all}") } else { "it is no array".into() },
            )),
        }
    }

    pub(super) fn finished_words(&self, job: &Job, target: &JobTarget) -> Rejection {
        let words = target_words(job, target);
        refuse(format!("{words} has already finished"))
            .word("finished")
            .hint(format!("pcluster show {}", job.id))
    }

    pub(super) fn cancel(&self, who: &Principal, target: &JobTarget) -> Decided {
        let job = self.target(who, target)?;
        let pending = job.pending_among(target.tasks.as_ref());
        let live = job.live_among(target.tasks.as_ref());
        if pending.is_empty() && live.is_empty() {
            return Err(self.finished_words(job, target));
        }
        if pending.is_empty() && live.iter().all(|(_, run)| self.is_finishing(*run)) {
            let words = target_words(job, target);
            let said = format!("{words} is already ending on {}", self.places_of(&live));
            return done(said, 0, Vec::new());
        }
        let place = self.places_of(&live);
        let words = target_words(job, target);
        let said = if live.is_empty() {
            format!("{words} cancelled; it had not started")
        } else {
            format!("{words} cancelled; ending on {place}")
        };
        let event = Event::CancelWanted {
            job: job.id,
            tasks: target.tasks.clone(),
            by: who.user.clone(),
            uid: Some(who.uid),
        };
        done(said, pending.len() + live.len(), vec![event])
    }

    fn places_of(&self, live: &[(u32, RunId)]) -> String {
        let mut names: Vec<&str> = live
            .iter()
            .filter_map(|(_, run)| self.runs.get(run))
            .flat_map(|run| &run.parts)
            .filter_map(|part| self.nodes.get(&part.part.node))
            .map(|node| node.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }

    pub(super) fn signal(
        &self,
        who: &Principal,
        target: &JobTarget,
        signal: i32,
        scope: SignalScope,
    ) -> Decided {
        let job = self.target(who, target)?;
        if !(1..=64).contains(&signal) {
            return Err(Rejection::new(
                RejectionKind::BadRequest,
                format!("{signal} is not the number of a signal"),
            ));
        }
        let mut runs = Vec::new();
        for (_, run) in job.live_among(target.tasks.as_ref()) {
            let Some(run) = self.runs.get(&run) else { continue };
            let parts =
                run.parts.iter().take(if scope == SignalScope::Batch { 1 } else { usize::MAX });
            runs.extend(parts.map(|part| (part.part.node, run.id)));
        }
        if runs.is_empty() {
            let words = target_words(job, target);
            let word = if job.is_finished() { "finished" } else { "not_running" };
            return Err(
                refuse(format!("{words} is not running, so nothing can get the signal")).word(word)
            );
        }
        Ok(Decision::reply(Reply::Signals { runs, signal, scope }))
    }

    pub(super) fn requeue(&self, who: &Principal, target: &JobTarget) -> Decided {
        let job = self.target(who, target)?;
        if job.spec.kind == JobKind::Allocation {
            return Err(refuse(format!("job {} has no script that could run again", job.id))
                .word("batch_only"));
        }
        let mut live = job.live_among(target.tasks.as_ref());
        let found = live.len();
        live.retain(|(_, run)| !self.is_finishing(*run));
        if found > 0 && live.is_empty() {
            let words = target_words(job, target);
            return Err(refuse(format!("{words} is being cancelled; that is not taken back"))
                .hint("submit it again once it has ended"));
        }
        let in_set = |task: &u32| target.tasks.as_ref().is_none_or(|set| set.contains(*task));
        let ended = job.finished.keys().filter(|task| in_set(task)).count();
        let words = target_words(job, target);
        if live.is_empty() && ended == 0 {
            return Err(refuse(format!("{words} already waits in the queue")).word("pending"));
        }
        let event = Event::RequeueWanted {
            job: job.id,
            tasks: target.tasks.clone(),
            why: format!("requeued by {}", who.user),
            preempted: false,
        };
        let said = if live.is_empty() {
            format!("{words} is back in the queue")
        } else {
            format!("{words} goes back to the queue once {} has ended it", self.places_of(&live))
        };
        done(said, live.len() + ended, vec![event])
    }

    pub(super) fn rerun_failed(&self, now: Timestamp, who: &Principal, id: JobId) -> Decided {
        let job = self.own_job(who, id)?;
        let failed: IndexRanges = job
            .finished
            .iter()
            .filter(|(_, end)| !end.outcome.is_success())
            // What was cancelled was not wanted any more.
            .filter(|(_, end)| !matches!(end.outcome, Outcome::Cancelled { .. }))
            .map(|(task, _)| *task)
            .collect();
        if failed.is_empty() {
            return Err(refuse(format!("nothing of job {id} has failed"))
                .hint(format!("pcluster show {id}   pcluster requeue {id}")));
        }
        let mut spec = Box::new((*job.spec).clone());
        spec.dependencies.clear();
        spec.hold = false;
        if let Some(array) = &job.spec.array {
            spec.array = Some(ArraySpec { indices: failed, throttle: array.throttle });
        }
        let owner = Owner { ..job.owner.clone() };
        let as_owner =
            Principal { user: owner.user, uid: owner.uid, gid: owner.gid, ..who.clone() };
        self.submit(now, &as_owner, spec, None)
    }

    fn own_node(&self, who: &Principal, id: NodeId) -> Result<&Node, Rejection> {
        if !who.admin {
            return Err(Rejection::new(
                RejectionKind::NotAllowed,
                format!("only admins change nodes; you are {}", who.user),
            ));
        }
        self.nodes.get(&id).filter(|node| node.state.is_alive()).ok_or_else(|| {
            Rejection::new(RejectionKind::NotFound, format!("there is no living node {id}"))
                .hint("pcluster nodes")
        })
    }

    pub(super) fn drain_node(&self, who: &Principal, id: NodeId) -> Decided {
        let node = self.own_node(who, id)?;
        let cause = StopCause::Asked { by: who.user.clone() };
        match &node.state {
            NodeState::Ready => done(
                format!("{} takes no new jobs and goes when it is empty", node.name),
                1,
                vec![Event::NodeDraining { node: id, cause }],
            ),
            NodeState::Wanted | NodeState::Booting => done(
                format!("{} had not finished booting; it is stopped", node.name),
                1,
                vec![Event::NodeStopping { node: id, cause }],
            ),
            NodeState::Draining { .. }
            | NodeState::Stopping { .. }
            | NodeState::Lost { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => {
                done(format!("{} is already {}", node.name, node.state.word()), 0, Vec::new())
            }
        }
    }

    pub(super) fn resume_node(&self, who: &Principal, id: NodeId) -> Decided {
        let node = self.own_node(who, id)?;
        match &node.state {
            NodeState::Draining { cause: StopCause::Asked { .. } } => done(
                format!("{} takes jobs again", node.name),
                1,
                vec![Event::NodeResumed { node: id }],
            ),
            other => Err(refuse(format!(
                "{} is {}; only a node that an admin drained is resumed",
                node.name,
                other.word()
            ))),
        }
    }

    pub(super) fn terminate_node(&self, who: &Principal, id: NodeId) -> Decided {
        let node = self.own_node(who, id)?;
        if matches!(node.state, NodeState::Stopping { .. }) {
            return done(format!("{} is already stopping", node.name), 0, Vec::new());
        }
        let cause = StopCause::Asked { by: who.user.clone() };
        let said = if node.runs.is_empty() {
            format!("{} is stopped", node.name)
        } else {
            format!("{} is stopped; {} runs there go back to the queue", node.name, node.runs.len())
        };
        done(said, 1, vec![Event::NodeStopping { node: id, cause }])
    }

    pub(super) fn down(&self, who: &Principal, now: bool) -> Decided {
        if !who.admin {
            return Err(Rejection::new(
                RejectionKind::NotAllowed,
                format!("only an admin takes the cluster down; you are {}", who.user),
            ));
        }
        let mut events = Vec::new();
        let already = self.meta.closing.as_ref().is_some_and(|closing| closing.now || !now);
        if !already {
            events.push(Event::DownWanted { by: who.user.clone(), now });
        }
        if now {
            for job in self.jobs.values().filter(|job| !job.live.is_empty()) {
                let tasks: IndexRanges = job
                    .live_among(None)
                    .into_iter()
                    .filter(|(_, run)| self.runs.get(run).is_some_and(|run| run.then.is_none()))
                    .map(|(task, _)| task)
                    .collect();
                if !tasks.is_empty() {
                    let (by, uid) = (who.user.clone(), Some(who.uid));
                    events.push(Event::CancelWanted { job: job.id, tasks: Some(tasks), by, uid });
                }
            }
        }
        done("the cluster goes down".into(), 1, events)
    }
}
