//! What events do to steps.
use crate::Cluster;
use crate::rows::RowKey;
use crate::step::{Step, StepPartEnd};
use pcluster_model::{RunId, Timestamp};

impl Cluster {
    pub(super) fn apply_step_start(&mut self, at: Timestamp, step: &Step) {
        self.touched.insert(RowKey::Step(step.run, step.step));
        let steps = self.steps.entry(step.run).or_default();
        steps.push(Step { started_at: at, ..step.clone() });
    }

    pub(super) fn apply_step_end(
        &mut self,
        at: Timestamp,
        (run, number): (RunId, u32),
        rank: u32,
        end: &StepPartEnd,
    ) {
        let ending = self.runs.get(&run).is_some_and(|run| run.then.is_some());
        let steps = self.steps.get_mut(&run);
        let Some(step) = steps.and_then(|steps| steps.get_mut(number as usize)) else { return };
        let Some(part) = step.parts.get_mut(rank as usize) else { return };
        if part.end.is_some() {
            return;
        }
        part.end = Some(*end);
        let by_signal = step.ends().any(|end| end.signal != 0);
        if step.ended_at.is_some() {
            // Its run was over first; it was cut short only where a signal ended it.
            step.cancelled = by_signal || !step.all_told();
        } else if step.all_told() {
            step.ended_at = Some(at);
            step.cancelled = ending && by_signal;
        }
        self.touched.insert(RowKey::Step(run, number));
    }

    /// The run is over, and what it still had of steps with it.
    pub(super) fn close_steps(&mut self, at: Timestamp, run: RunId) {
        let Some(steps) = self.steps.get_mut(&run) else { return };
        for step in steps.iter_mut().filter(|step| step.ended_at.is_none()) {
            step.ended_at = Some(at);
            step.cancelled = true;
            self.touched.insert(RowKey::Step(run, step.step));
        }
    }
}
