//! I12: no node is over-committed, in the head's books and on the machine itself, and no two steps
//! of a run hold the same CPUs.
use super::Check;
use crate::world::World;
use pcluster_model::Resources;

/// I12.
#[derive(Debug)]
pub struct Capacity;

impl Check for Capacity {
    fn number(&self) -> u8 {
        12
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        books(world)?;
        steps(world)?;
        machines(world)
    }
}

/// Allocations of living runs on each node stay within what its agent reported.
fn books(world: &World) -> Result<(), String> {
    let Some(head) = world.head.as_ref().filter(|_| !world.seen.events.is_empty()) else {
        return Ok(());
    };
    for node in head.cluster.nodes.values().filter(|node| !node.runs.is_empty()) {
        let held = head
            .cluster
            .runs
            .values()
            .filter_map(|run| run.part(node.id))
            .filter(|part| part.end.is_none())
            .fold(Resources::default(), |sum, part| sum.plus(&part.part.resources));
        if !node.usable.holds(&held) {
            return Err(format!("{} has {:?} and holds {held:?}", node.name, node.usable));
        }
        if held != node.held {
            return Err(format!("{} says it holds {:?}; its runs {held:?}", node.name, node.held));
        }
    }
    Ok(())
}

/// Open steps hold no more of any part than it has.
fn steps(world: &World) -> Result<(), String> {
    let Some(head) = world.head.as_ref().filter(|_| !world.seen.events.is_empty()) else {
        return Ok(());
    };
    for (id, steps) in &head.cluster.steps {
        let Some(run) = head.cluster.runs.get(id) else { continue };
        for (rank, part) in run.parts.iter().enumerate() {
            let open = steps.iter().filter(|step| step.ended_at.is_none() && !step.overlap);
            let held: u32 = open
                .filter_map(|step| Some((step, step.parts.get(rank)?)))
                .filter(|(_, part)| part.end.is_none())
                .map(|(step, part)| part.tasks * step.cpus_per_task)
                .sum();
            if held > part.part.resources.cpus {
                let has = part.part.resources.cpus;
                return Err(format!("steps of run {id} hold {held} of {has} CPUs on rank {rank}"));
            }
        }
    }
    Ok(())
}

/// Processes that run at one moment fit into their machine.
fn machines(world: &World) -> Result<(), String> {
    for began in &world.seen.began {
        let Some(began) = world.procs.living.get(began) else { continue };
        let here = world.procs.living.values().filter(|proc| proc.machine == began.machine);
        let sum = here.fold(Resources::default(), |sum, proc| sum.plus(&proc.resources));
        let Some(machine) = world.cloud.machines.get(&began.machine) else { continue };
        if !machine.total.holds(&sum) {
            let id = began.machine.0;
            return Err(format!("machine {id} has {:?}; {sum:?} run on it", machine.total));
        }
    }
    Ok(())
}
