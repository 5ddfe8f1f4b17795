//! Steps of runs: which CPUs and GPUs they hold, and what they left.
//!
//! Invariant: the open steps of a run that take CPUs or GPUs never take more of a part than it has; a step
//! id is given out once. Steps stay when their run is over, each as a row of its own. Deliberately
//! absent: tasks, which only the step's client and its step daemons know.
use crate::job::Run;
use crate::limits::STEP_TASKS_MOST;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{JobId, RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// What is asked for; the client made the layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepAsk {
    /// Repeats of one request carry the same key; empty is none.
    pub key: String,
    pub name: String,
    /// Task counts by rank; 0 leaves a part out.
    pub tasks: Vec<u32>,
    pub cpus_per_task: u32,
    /// GPUs by rank; empty: it asks for none of its own, and sees those of its job.
    pub gpus: Vec<u32>,
    /// Takes nothing from other steps, and waits for nothing.
    pub overlap: bool,
}

/// How the tasks of a step ended on one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepPartEnd {
    /// Highest exit code of its tasks.
    pub exit_code: i32,
    /// Signal that ended a task, 0 for none.
    pub signal: i32,
    #[serde(default)]
    pub user_cpu_ms: u64,
    #[serde(default)]
    pub system_cpu_ms: u64,
    /// Of its largest task.
    #[serde(default)]
    pub max_rss_bytes: u64,
    /// `None` of a step daemon that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TasksUsage>,
    /// A task was killed for want of memory.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub out_of_memory: bool,
}

/// What the tasks of a step used on one part, by the number of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TasksUsage {
    /// The one of `max_rss_bytes`.
    pub max_rss_task: u32,
    /// The most that each had, together.
    pub rss_bytes: u64,
    pub vm_bytes: u64,
    /// Of one task.
    pub max_vm_bytes: u64,
    pub max_vm_task: u32,
    pub min_cpu_ms: u64,
    pub min_cpu_task: u32,
}

/// A step on one part of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// 0: the step has nothing there.
    pub tasks: u32,
    #[serde(default)]
    pub end: Option<StepPartEnd>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub job: JobId,
    pub run: RunId,
    /// From 0 in each run.
    pub step: u32,
    #[serde(default)]
    pub key: String,
    pub name: String,
    /// By rank.
    pub parts: Vec<StepPart>,
    pub cpus_per_task: u32,
    /// GPUs by rank.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<u32>,
    #[serde(default)]
    pub overlap: bool,
    pub started_at: Timestamp,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Its run ended before it, or was told to.
    #[serde(default)]
    pub cancelled: bool,
}

impl Step {
    /// It keeps something from other steps on this part.
    fn open_part(&self, rank: usize) -> Option<&StepPart> {
        let open = self.ended_at.is_none() && !self.overlap;
        self.parts.get(rank).filter(|part| open && part.end.is_none())
    }

    /// CPUs that it keeps from other steps on this part.
    #[must_use]
    pub fn held_on(&self, rank: usize) -> u32 {
        self.open_part(rank).map_or(0, |part| part.tasks.saturating_mul(self.cpus_per_task))
    }

    /// GPUs that it keeps from other steps on this part.
    #[must_use]
    pub fn gpus_held_on(&self, rank: usize) -> u32 {
        self.open_part(rank).and_then(|_| self.gpus.get(rank)).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn ntasks(&self) -> u32 {
        self.parts.iter().map(|part| part.tasks).sum()
    }

    /// True when every part that has tasks has said how they ended.
    #[must_use]
    pub fn all_told(&self) -> bool {
        self.parts.iter().all(|part| part.tasks == 0 || part.end.is_some())
    }

    /// Ends that were told.
    pub fn ends(&self) -> impl Iterator<Item = &StepPartEnd> {
        self.parts.iter().filter_map(|part| part.end.as_ref())
    }
}

/// CPUs that the open steps of a run hold on one part.
#[must_use]
pub fn held(steps: &[Step], rank: usize) -> u32 {
    steps.iter().map(|step| step.held_on(rank)).fold(0, u32::saturating_add)
}

/// Why a step cannot have its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// Its layout is not one of this run.
    Layout,
    /// The part has fewer `CPUs` or `GPUs` in all.
    Never { what: &'static str, rank: usize, asked: u32, has: u32 },
    /// Other steps hold them now.
    Now { what: &'static str, rank: usize, asked: u32, free: u32 },
}

/// Whether a step may start beside the open ones. The CPUs of the batch script are not kept from
/// steps: it waits for them.
///
/// # Errors
/// [`NoRoom`].
pub fn room_for(run: &Run, steps: &[Step], ask: &StepAsk) -> Result<(), NoRoom> {
    let all: u64 = ask.tasks.iter().map(|tasks| u64::from(*tasks)).sum();
    if ask.tasks.len() != run.parts.len() || !(1..=STEP_TASKS_MOST).contains(&all) {
        return Err(NoRoom::Layout);
    }
    if ask.overlap {
        return Ok(());
    }
    // What it asks for on each part, and what that has.
    let wishes = |rank: usize| {
        let has = &run.parts[rank].part.resources;
        let cpus = ask.tasks[rank].saturating_mul(ask.cpus_per_task.max(1));
        let gpus = ask.gpus.get(rank).copied().unwrap_or(0);
        [("CPUs", cpus, has.cpus), ("GPUs", gpus, has.gpus)]
    };
    for rank in 0..run.parts.len() {
        for (what, asked, has) in wishes(rank) {
            if asked > has {
                return Err(NoRoom::Never { what, rank, asked, has });
            }
        }
    }
    // Most steps of a long run have ended: they are passed over once, not once for each part.
    let open: Vec<&Step> = steps.iter().filter(|step| step.ended_at.is_none()).collect();
    for rank in 0..run.parts.len() {
        let cpus = open.iter().map(|step| step.held_on(rank)).fold(0, u32::saturating_add);
        let gpus = open.iter().map(|step| step.gpus_held_on(rank)).fold(0, u32::saturating_add);
        for ((what, asked, has), held) in wishes(rank).into_iter().zip([cpus, gpus]) {
            let free = has.saturating_sub(held);
            if asked > free {
                return Err(NoRoom::Now { what, rank, asked, free });
            }
        }
    }
    Ok(())
}
