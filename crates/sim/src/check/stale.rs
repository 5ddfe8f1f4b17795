//! I3: a report has its effect once: the end of a part of a run is taken from a node of that run,
//! once, while the run is the newest of its task.
use super::Check;
use crate::world::World;
use pcluster_core::event::{Event, Placement, TaskEnded};
use pcluster_model::{JobId, NodeId, RunId};
use std::collections::{BTreeMap, BTreeSet};

/// I3.
#[derive(Debug, Default)]
pub struct Stale {
    /// Parts whose end the log waits for.
    open: BTreeSet<(RunId, NodeId)>,
    newest: BTreeMap<(JobId, u32), RunId>,
    task_of: BTreeMap<RunId, (JobId, u32)>,
    /// Parts of open steps: run, step, rank.
    steps: BTreeSet<(RunId, u32, u32)>,
}

impl Stale {
    fn placed(&mut self, job: JobId, placement: &Placement) {
        let task = (job, placement.task);
        self.newest.insert(task, placement.run);
        self.task_of.insert(placement.run, task);
        self.open.extend(placement.parts.iter().map(|part| (placement.run, part.node)));
    }

    fn ended(&mut self, end: &TaskEnded) -> Result<(), String> {
        let (run, node) = (end.run, end.node);
        if !self.open.remove(&(run, node)) {
            return Err(format!("an end of run {run} on {node} was taken that nobody waits for"));
        }
        let newest = self.task_of.get(&run).and_then(|task| self.newest.get(task));
        match newest.filter(|newest| **newest != run) {
            Some(newest) => Err(format!("run {run} ended after run {newest} took its place")),
            None => Ok(()),
        }
    }

    fn happened(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::JobPlaced { job, placement } => self.placed(*job, placement),
            Event::TasksPlaced { job, placements } => {
                placements.iter().for_each(|placement| self.placed(*job, placement));
            }
            Event::RunEnded { ended, .. } => self.ended(ended)?,
            Event::TasksEnded { ended, .. } => {
                for end in ended {
                    self.ended(end)?;
                }
            }
            Event::StepStarted { step } => {
                let parts = (0u32..).zip(&step.parts).filter(|(_, part)| part.tasks > 0);
                self.steps.extend(parts.map(|(rank, _)| (step.run, step.step, rank)));
            }
            Event::StepEnded { run, step, rank, .. }
                if !self.steps.remove(&(*run, *step, *rank)) =>
            {
                return Err(format!("step {step} of run {run} ended twice on rank {rank}"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Check for Stale {
    fn number(&self) -> u8 {
        3
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        world.seen.events.iter().try_for_each(|stamped| self.happened(&stamped.event))
    }
}
