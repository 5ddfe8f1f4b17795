//! Jobs, their tasks and runs: the durable truth and its legal moves.
//!
//! A job is a table of tasks (a plain job is one task, index 0). A task is pending, live (it has a
//! run) or finished; a run has one part per node and leaves `live` only when every part has ended.
//! Deliberately absent: `Starting` as a durable state (whether a placed run has started is
//! volatile; the node knows).
use crate::event::{Part, PartEnd, Then};
use crate::own::Own;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{
    DurationMs, IndexRanges, JobId, JobSpec, NodeId, PoolName, Resources, RunId, Timestamp,
    UserName,
};
use pcluster_wire::{Exit, Usage};
use serde::{Deserialize, Serialize};

/// The submitting user, by number and by name at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub user: UserName,
    pub uid: u32,
    pub gid: u32,
}

/// How a task ended, once and for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    /// The batch process returned this code, which is not 0.
    Failed {
        code: i32,
    },
    /// The batch process was ended by this signal, which nobody here sent.
    Signaled {
        signal: i32,
    },
    TimedOut,
    OutOfMemory,
    DiskFull,
    Cancelled {
        by: UserName,
        /// The number of `by`; `None` in logs that did not say.
        #[serde(default)]
        uid: Option<u32>,
    },
    NodeFailed {
        why: String,
    },
    Preempted,
    DeadlineMissed,
    /// An allocation whose client was not heard of any more.
    ClientGone,
    CannotRun {
        why: String,
    },
}

impl Outcome {
    /// True for what `afterok` accepts.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Completed)
    }

    /// The stable word of API, log and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed { .. } | Self::Signaled { .. } => "failed",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::DiskFull => "disk_full",
            Self::Cancelled { .. } => "cancelled",
            Self::NodeFailed { .. } => "node_failed",
            Self::Preempted => "preempted",
            Self::DeadlineMissed => "deadline_missed",
            Self::ClientGone => "client_gone",
            Self::CannotRun { .. } => "cannot_run",
        }
    }
}

/// What a task keeps over all its runs, from the first one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskNumbers {
    /// Its own id, for those who know no arrays.
    pub raw_job: JobId,
    /// Attempts so far.
    pub attempts: u32,
    /// Times it was put back because its node was lost.
    #[serde(default)]
    pub requeues: u32,
}

/// A finished task with its last run: a row of its own, so that the end of one task of a large
/// array does not write the others again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    pub outcome: Outcome,
    pub at: Timestamp,
    /// `None`: it never had a run.
    #[serde(default)]
    pub numbers: Option<TaskNumbers>,
    /// `None`: it never had a run.
    #[serde(default)]
    pub last: Option<PastRun>,
}

/// A run that is over, in the words that `show` and `history` need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    pub run: RunId,
    pub task: u32,
    pub raw_job: JobId,
    pub attempt: u32,
    /// Names of its nodes.
    pub nodes: Vec<String>,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// What it had on each of `nodes`; empty in logs that did not say.
    #[serde(default)]
    pub per_node: Vec<Resources>,
    pub placed_at: Timestamp,
    /// The nodes' wall clock; `None` when nothing ran.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    /// What the batch process left; `None` when its node went with it.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// Summed over its nodes (memory: the largest).
    #[serde(default)]
    pub usage: Usage,
    /// The part of `usage` on its first node, where the script ran.
    #[serde(default)]
    pub first_usage: Usage,
    /// It stood still for this long.
    #[serde(default)]
    pub suspended_ms: DurationMs,
    /// Why it was not the last one.
    #[serde(default)]
    pub requeued: Option<String>,
}

/// One attempt of one task on one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub job: JobId,
    pub task: u32,
    pub raw_job: JobId,
    pub attempt: u32,
    /// Number of the order to its nodes: rises with every placement.
    pub order: u64,
    pub parts: Vec<RunPart>,
    pub placed_at: Timestamp,
    /// From the start of the run; `None` is none.
    #[serde(default)]
    pub time_limit_ms: Option<DurationMs>,
    /// How often `time_limit_ms` was changed since it was placed.
    #[serde(default)]
    pub limit_changes: u32,
    /// Set once the run is to end; decides what follows when every part has ended.
    #[serde(default)]
    pub then: Option<Then>,
    /// It stands still since then.
    #[serde(default)]
    pub suspended_since: Option<Timestamp>,
    /// It stood still for this long before that.
    #[serde(default)]
    pub suspended_ms: DurationMs,
    /// How often it was suspended or went on.
    #[serde(default)]
    pub suspensions: u32,
}

/// A run on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPart {
    pub part: Part,
    #[serde(default)]
    pub end: Option<PartEnd>,
}

impl Run {
    #[must_use]
    pub fn part(&self, node: NodeId) -> Option<&RunPart> {
        self.parts.iter().find(|part| part.part.node == node)
    }

    /// The place of a node in the allocation; the script runs on the first.
    #[must_use]
    pub fn rank_of(&self, node: NodeId) -> Option<usize> {
        self.parts.iter().position(|part| part.part.node == node)
    }

    /// True once every part must come to its end: it was asked for, or one of them has ended. A
    /// follower whose time is over is not waited for: the limit of all is the same, and the first
    /// node says in the output what happened.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        let ended = |(rank, part): (usize, &RunPart)| match &part.end {
            Some(PartEnd::Ended { exit: Exit::TimedOut, .. }) => rank == 0,
            Some(_) => true,
            None => false,
        };
        self.then.is_some() || self.parts.iter().enumerate().any(ended)
    }

    /// True when every node of the allocation has answered for its part.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.parts.iter().all(|part| part.end.is_some())
    }

    /// True when nothing of the user ever ran: such a run is not an attempt. A script runs on the
    /// first node and is told to start last; an allocation without one has steps, or nothing ran.
    #[must_use]
    pub fn never_started(&self, kind: JobKind, has_steps: bool) -> bool {
        let unstarted = |part: &RunPart| matches!(part.end, Some(PartEnd::NotStarted { .. }));
        match kind {
            JobKind::Batch => self.parts.first().is_some_and(unstarted),
            JobKind::Allocation => !has_steps && self.parts.iter().any(unstarted),
        }
    }
}

/// A submitted job or array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub owner: Owner,
    pub pool: PoolName,
    pub spec: Arc<JobSpec>,
    #[serde(default)]
    pub key: Option<String>,
    pub submitted_at: Timestamp,
    /// Who holds it as a whole; what is held keeps its place and starts nothing.
    #[serde(default)]
    pub held_by: Option<UserName>,
    /// What single tasks have of their own.
    #[serde(default, skip_serializing_if = "Own::is_empty")]
    pub own: Own,
    /// Tasks that wait for a run.
    pub pending: IndexRanges,
    /// Tasks with a run.
    #[serde(default)]
    pub live: BTreeMap<u32, RunId>,
    /// Tasks that are over; each is a row of its own.
    #[serde(skip)]
    pub finished: BTreeMap<u32, TaskEnd>,
    /// How many of `finished` ended badly.
    #[serde(skip)]
    pub failed: usize,
    /// Numbers of tasks that wait or live and had a run.
    #[serde(default)]
    pub numbers: BTreeMap<u32, TaskNumbers>,
    /// How many tasks have an id of their own: the last one to get one keeps the array's.
    #[serde(default)]
    pub numbered: usize,
    /// Runs that were not their task's last.
    #[serde(default)]
    pub past: Vec<PastRun>,
    /// When its first run was placed.
    #[serde(default)]
    pub first_placed_at: Option<Timestamp>,
}

impl Job {
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.spec.array.is_some()
    }

    /// Runs that are over: the last of each task that has ended, and those before.
    pub fn runs_over(&self) -> impl Iterator<Item = &PastRun> {
        self.finished.values().filter_map(|end| end.last.as_ref()).chain(&self.past)
    }

    /// True when no task waits or lives.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.pending.is_empty() && self.live.is_empty()
    }

    /// True when every task ended well.
    #[must_use]
    pub fn all_completed(&self) -> bool {
        self.is_finished() && !self.any_failed()
    }

    /// True when any task ended badly.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.failed > 0
    }

    /// What a task keeps over its runs; `None` before its first one.
    #[must_use]
    pub fn numbers_of(&self, task: u32) -> Option<TaskNumbers> {
        let live = self.numbers.get(&task).copied();
        live.or_else(|| self.finished.get(&task).and_then(|end| end.numbers))
    }

    /// A task is over.
    pub(crate) fn finish(
        &mut self,
        task: u32,
        outcome: Outcome,
        at: Timestamp,
        last: Option<PastRun>,
    ) {
        self.failed += usize::from(!outcome.is_success());
        let numbers = self.numbers.remove(&task);
        self.own.forget_hold(task);
        self.finished.insert(task, TaskEnd { outcome, at, numbers, last });
    }

    /// A task that was over waits again; its last run is one of many.
    pub(crate) fn unfinish(&mut self, task: u32, why: &str) {
        let Some(end) = self.finished.remove(&task) else { return };
        self.failed -= usize::from(!end.outcome.is_success());
        if let Some(numbers) = end.numbers {
            self.numbers.insert(task, numbers);
        }
        if let Some(past) = end.last {
            self.past.push(PastRun { requeued: Some(why.into()), ..past });
        }
        self.pending.insert(task);
    }

    /// Tasks of the whole job.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.pending.len() + self.live.len() + self.finished.len()
    }

    /// How many more of its tasks may be live: the array's throttle.
    #[must_use]
    pub fn throttle_room(&self) -> usize {
        match self.spec.array.as_ref().and_then(|array| array.throttle) {
            Some(limit) => (limit as usize).saturating_sub(self.live.len()),
            None => usize::MAX,
        }
    }

    /// `42` or `41_3`.
    #[must_use]
    pub fn task_label(&self, task: u32) -> String {
        if self.is_array() {
            alloc::format!("{}_{task}", self.id)
        } else {
            alloc::format!("{}", self.id)
        }
    }

    /// Pending tasks among `wanted` (all of them when `None`).
    #[must_use]
    pub fn pending_among(&self, wanted: Option<&IndexRanges>) -> Vec<u32> {
        self.pending.iter().filter(|task| wanted.is_none_or(|set| set.contains(*task))).collect()
    }

    /// Live tasks among `wanted` (all of them when `None`).
    #[must_use]
    pub fn live_among(&self, wanted: Option<&IndexRanges>) -> Vec<(u32, RunId)> {
        self.live
            .iter()
            .filter(|(task, _)| wanted.is_none_or(|set| set.contains(**task)))
            .map(|(task, run)| (*task, *run))
            .collect()
    }

    /// Indices the job was submitted with.
    #[must_use]
    pub fn all_indices(spec: &JobSpec) -> IndexRanges {
        spec.array.as_ref().map_or_else(|| IndexRanges::single(0), |array| array.indices.clone())
    }

    /// Ids of the jobs it waits for.
    #[must_use]
    pub fn waits_for(&self) -> BTreeSet<JobId> {
        self.spec.dependencies.iter().map(|dependency| dependency.job).collect()
    }
}
