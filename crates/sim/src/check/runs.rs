//! I2: a run starts at most once; a task has two living processes only if the machine of the
//! older one is gone.
use super::Check;
use crate::world::World;
use pcluster_core::event::{Event, Placement};
use pcluster_model::{JobId, RunId};
use std::collections::BTreeMap;

/// I2.
#[derive(Debug, Default)]
pub struct Runs {
    /// The newest run of each task, as the log tells.
    newest: BTreeMap<(JobId, u32), RunId>,
}

impl Runs {
    fn placed(&mut self, job: JobId, placement: &Placement) -> Result<(), String> {
        let before = self.newest.insert((job, placement.task), placement.run);
        match before.filter(|before| *before >= placement.run) {
            Some(before) => Err(format!("run {} was placed after run {before}", placement.run)),
            None => Ok(()),
        }
    }
}

impl Check for Runs {
    fn number(&self) -> u8 {
        2
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            match &stamped.event {
                Event::JobPlaced { job, placement } => self.placed(*job, placement)?,
                Event::TasksPlaced { job, placements } => {
                    for placement in placements {
                        self.placed(*job, placement)?;
                    }
                }
                _ => {}
            }
        }
        for id in &world.seen.began {
            let Some(began) = world.procs.living.get(id) else { continue };
            let times = world.procs.starts.get(&(began.run, began.node)).copied().unwrap_or(0);
            if times > 1 {
                return Err(format!("run {} was started {times} times", began.run));
            }
            // A machine that ended took its processes with it, so who lives here lives really.
            let other = world.procs.living.iter().find(|(other, proc)| {
                *other != id
                    && (proc.job, proc.task) == (began.job, began.task)
                    && proc.run != began.run
            });
            if let Some((_, other)) = other {
                return Err(format!(
                    "run {} of task {}_{} began while run {} lives on machine {}",
                    began.run, began.job, began.task, other.run, other.machine.0
                ));
            }
        }
        Ok(())
    }
}
