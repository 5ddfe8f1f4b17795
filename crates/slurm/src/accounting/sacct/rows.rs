//! What stands in a line of `sacct`: a job, its batch script, or one of its steps.
//!
//! Invariant: a job's own line tells of the allocation; what processes used stands with the batch
//! script and the steps, and adds up to the job's CPU time. Deliberately absent: `.extern`, of which
//! there is none.
use crate::queue::squeue::{View, is_batch};
use crate::words::{Clock, State, job, size, state};
use pcluster_api::{JobRecord, JobState, RecordList, StepRecord, StepUsage};
use std::sync::Arc;

/// Which part of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Job,
    Batch,
    Step(Box<StepRecord>),
}

/// What all lines of a call share.
#[derive(Debug)]
pub struct Setting {
    pub view: View,
    /// `--units`.
    pub unit: Option<char>,
    /// `-T`: start and end of the window.
    pub truncate: Option<(i64, i64)>,
}

impl Setting {
    /// That of an answer, sizes and times as they are.
    #[must_use]
    pub fn of(list: &RecordList, clock: &Clock) -> Self {
        Self { view: View::of(list, clock), unit: None, truncate: None }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Row {
    pub job: Arc<JobRecord>,
    pub part: Part,
    pub setting: Arc<Setting>,
    /// What its tasks use now, where they were asked.
    pub live: Option<Arc<Live>>,
}

/// What the tasks of a step or a script use while they run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    pub usage: StepUsage,
    /// In user mode and in the kernel.
    pub cpu_ms: (u64, u64),
    pub pids: Vec<u32>,
}

/// The lines of a job; without steps only its own.
#[must_use]
pub fn of(job: JobRecord, steps: bool, setting: &Arc<Setting>) -> Vec<Row> {
    let job = Arc::new(job);
    let row = |part| Row { job: Arc::clone(&job), part, setting: Arc::clone(setting), live: None };
    let mut rows = vec![row(Part::Job)];
    if !steps {
        return rows;
    }
    let ran = job.started_at_ms.is_some()
        || (job.state == JobState::Finished && job.placed_at_ms.is_some());
    if ran && is_batch(&job) {
        rows.push(row(Part::Batch));
    }
    rows.extend(job.steps.iter().map(|step| row(Part::Step(Box::new(step.clone())))));
    rows
}

impl Row {
    /// True for the line of the whole job.
    #[must_use]
    pub fn is_job(&self) -> bool {
        self.part == Part::Job
    }

    /// `text` in the line of the job, nothing in the others.
    pub fn of_job(&self, text: impl FnOnce(&JobRecord) -> String) -> String {
        if self.is_job() { text(&self.job) } else { String::new() }
    }

    fn with_part(&self, id: impl Into<String>) -> String {
        let id = id.into();
        match &self.part {
            Part::Job => id,
            Part::Batch => format!("{id}.batch"),
            Part::Step(step) => format!("{id}.{}", step.step),
        }
    }

    /// `148_1.batch`.
    #[must_use]
    pub fn id(&self) -> String {
        self.with_part(job::id(&self.job))
    }

    /// `150.batch`.
    #[must_use]
    pub fn raw_id(&self) -> String {
        self.with_part(self.job.raw_job.to_string())
    }

    #[must_use]
    pub fn name(&self) -> String {
        match &self.part {
            Part::Job => self.job.name.clone(),
            Part::Batch => "batch".to_owned(),
            Part::Step(step) => step.name.clone(),
        }
    }

    #[must_use]
    pub fn state(&self) -> String {
        match &self.part {
            Part::Job => state::accounting_words(&self.job),
            Part::Batch => self.batch_end().0.long().to_owned(),
            Part::Step(step) => step_state(&self.job, step).long().to_owned(),
        }
    }

    fn batch_end(&self) -> (State, i32, i32) {
        match State::in_accounting(&self.job) {
            State::Running | State::Suspended => (State::Running, 0, 0),
            _ => state::batch_end(&self.job),
        }
    }

    #[must_use]
    pub fn exit_code(&self) -> String {
        state::exit_words(match &self.part {
            Part::Job => state::exit_in_accounting(&self.job),
            Part::Batch => {
                let (_, code, signal) = self.batch_end();
                (code, signal)
            }
            Part::Step(step) => step_exit(step),
        })
    }

    /// Start in milliseconds, within the window where that was asked for.
    #[must_use]
    pub fn start_ms(&self) -> Option<i64> {
        let start = match &self.part {
            Part::Step(step) => Some(step.started_at_ms),
            Part::Job | Part::Batch => job::start_ms(&self.job),
        };
        match self.setting.truncate {
            Some((from, _)) => start.map(|start| start.max(from)),
            None => start,
        }
    }

    /// End in milliseconds; `None` while it runs.
    #[must_use]
    pub fn end_ms(&self) -> Option<i64> {
        let end = match &self.part {
            Part::Step(step) => step.ended_at_ms.or(self.job.ended_at_ms),
            Part::Job | Part::Batch => self.job.ended_at_ms,
        };
        match self.setting.truncate {
            Some((_, to)) => Some(end.unwrap_or(to).min(to)),
            None => end,
        }
    }

    /// Whole seconds that it ran.
    #[must_use]
    pub fn elapsed(&self) -> i64 {
        let Some(start) = self.start_ms() else { return 0 };
        let end = self.end_ms().unwrap_or(self.setting.view.clock.now_ms);
        let stood = match &self.part {
            Part::Step(_) => 0,
            Part::Job | Part::Batch => job::suspended_seconds(&self.job),
        };
        (end.div_euclid(1000) - start.div_euclid(1000) - stood).max(0)
    }

    /// CPUs that it holds; of a job that waits those that it asked for, as in Slurm.
    #[must_use]
    pub fn cpus(&self) -> u64 {
        match &self.part {
            Part::Job => job::cpus(&self.job),
            Part::Batch => self.job.cpus_per_node.first().copied().unwrap_or(0).into(),
            Part::Step(step) => step.cpus.into(),
        }
    }

    /// Nodes that it has.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        match &self.part {
            Part::Job => &self.job.node_names,
            Part::Batch => self.job.node_names.get(..1).unwrap_or(&[]),
            Part::Step(step) => &step.node_names,
        }
    }

    /// CPU time in milliseconds: in user mode, in the kernel.
    #[must_use]
    pub fn cpu_ms(&self) -> (u64, u64) {
        if let Some(live) = &self.live {
            return live.cpu_ms;
        }
        let steps = |of: fn(&StepRecord) -> u64| self.job.steps.iter().map(of).sum::<u64>();
        match &self.part {
            Part::Job => (
                self.job.user_cpu_ms.max(steps(|step| step.user_cpu_ms)),
                self.job.system_cpu_ms.max(steps(|step| step.system_cpu_ms)),
            ),
            Part::Batch if self.job.batch_user_cpu_ms + self.job.batch_system_cpu_ms > 0 => {
                (self.job.batch_user_cpu_ms, self.job.batch_system_cpu_ms)
            }
            // The job's processes but those of its steps.
            Part::Batch => (
                self.job.user_cpu_ms.saturating_sub(steps(|step| step.user_cpu_ms)),
                self.job.system_cpu_ms.saturating_sub(steps(|step| step.system_cpu_ms)),
            ),
            Part::Step(step) => (step.user_cpu_ms, step.system_cpu_ms),
        }
    }

    /// Largest memory in use, once it has ended; the job's own line has none, as in Slurm.
    #[must_use]
    pub fn max_rss(&self) -> Option<u64> {
        match &self.part {
            Part::Job => None,
            Part::Batch => self.job.ended_at_ms.map(|_| match self.job.batch_max_rss_bytes {
                0 => self.job.max_rss_bytes,
                bytes => bytes,
            }),
            Part::Step(step) => step.ended_at_ms.map(|_| step.max_rss_bytes),
        }
    }

    /// Tasks of a step.
    #[must_use]
    pub fn tasks(&self) -> Option<u32> {
        match &self.part {
            Part::Job => None,
            Part::Batch => Some(1),
            Part::Step(step) => Some(step.ntasks),
        }
    }

    /// `billing=2,cpu=2,mem=200M,node=1`.
    #[must_use]
    pub fn tres(&self) -> String {
        match &self.part {
            Part::Job => job::allocated_tres(&self.job),
            Part::Batch | Part::Step(_) => {
                let share = |name: &String| {
                    let at = self.job.node_names.iter().position(|one| one == name)?;
                    self.job.memory_per_node_bytes.get(at).copied()
                };
                let memory: u64 = self.nodes().iter().filter_map(share).sum();
                let memory = if memory > 0 {
                    format!(",mem={}", size::memory(memory))
                } else {
                    String::new()
                };
                format!("cpu={}{memory},node={}", self.cpus(), self.nodes().len())
            }
        }
    }

    /// A size, in the unit asked for.
    #[must_use]
    pub fn size(&self, bytes: u64, own: fn(u64) -> String) -> String {
        self.setting.unit.map_or_else(|| own(bytes), |unit| size::in_unit(bytes, unit))
    }
}

/// Exit code and signal of a step, as accounting has them.
#[must_use]
pub fn step_exit(step: &StepRecord) -> (i32, i32) {
    if step.out_of_memory {
        return state::OUT_OF_MEMORY_EXIT;
    }
    (step.exit_code.unwrap_or(0), step.signal.unwrap_or(0))
}

/// How a step stands.
#[must_use]
pub fn step_state(job: &JobRecord, step: &StepRecord) -> State {
    if step.ended_at_ms.is_none() && job.ended_at_ms.is_none() {
        return State::Running;
    }
    if step.out_of_memory && !step.cancelled {
        return State::OutOfMemory;
    }
    let ends_well = step.exit_code.unwrap_or(0) == 0 && step.signal.unwrap_or(0) == 0;
    match (step.cancelled, ends_well) {
        (true, _) => State::Cancelled,
        (false, true) if step.ended_at_ms.is_none() => State::Cancelled,
        (false, true) => State::Completed,
        (false, false) if step.signal.is_some_and(|signal| signal == 9 || signal == 15) => {
            State::Cancelled
        }
        (false, false) => State::Failed,
    }
}
