//! I13: a job of several nodes has all of them or none: its script begins when something of it runs
//! on every other node, and it is placed with all parts in one event.
use super::Check;
use crate::world::World;
use pcluster_core::event::{Event, Placement};
use pcluster_model::JobId;
use pcluster_model::job::JobKind;
use std::collections::BTreeSet;

/// I13.
#[derive(Debug)]
pub struct Gangs;

fn placed(world: &World, job: JobId, placement: &Placement) -> Result<(), String> {
    let Some(job) = world.log.jobs.get(&job) else { return Ok(()) };
    let wanted = job.spec_of(placement.task).nodes.max(1) as usize;
    let nodes: BTreeSet<_> = placement.parts.iter().map(|part| part.node).collect();
    if nodes.len() == wanted && placement.parts.len() == wanted {
        return Ok(());
    }
    Err(format!("run {} of {wanted} nodes was placed on {}", placement.run, nodes.len()))
}

impl Check for Gangs {
    fn number(&self) -> u8 {
        13
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            match &stamped.event {
                Event::JobPlaced { job, placement } => placed(world, *job, placement)?,
                Event::TasksPlaced { job, placements } => {
                    placements.iter().try_for_each(|one| placed(world, *job, one))?;
                }
                _ => {}
            }
        }
        for proc in world.seen.began.iter().filter_map(|id| world.procs.living.get(id)) {
            let kind = world.log.jobs.get(&proc.job).map(|job| job.spec.kind);
            if proc.rank != 0 || proc.nodes < 2 || kind != Some(JobKind::Batch) {
                continue;
            }
            let begun = world.procs.starts.keys().filter(|(run, _)| *run == proc.run).count();
            if begun < proc.nodes {
                return Err(format!(
                    "the script of run {} began when {begun} of {} nodes had",
                    proc.run, proc.nodes
                ));
            }
        }
        Ok(())
    }
}
