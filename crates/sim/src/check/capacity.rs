//! I12: no node is over-committed, in the head's books and on the machine itself, no two steps of a
//! run hold the same CPUs, and nothing is placed on a node whose shared path is known to be bad.
use super::Check;
use crate::world::World;
use pcluster_core::event::Event;
use pcluster_model::{DurationMs, Resources};

/// I12.
#[derive(Debug)]
pub struct Capacity;

impl Check for Capacity {
    fn number(&self) -> u8 {
        12
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        books(world)?;
        shares(world)?;
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

/// A word may wait for the commit before it, as long as that takes.
const HEARD: DurationMs = DurationMs::from_secs(60);

fn shares(world: &World) -> Result<(), String> {
    for stamped in &world.seen.events {
        let placements = match &stamped.event {
            Event::JobPlaced { placement, .. } => core::slice::from_ref(placement),
            Event::TasksPlaced { placements, .. } => placements,
            _ => continue,
        };
        for part in placements.iter().flat_map(|placement| &placement.parts) {
            let bad = world.bad_shares.get(&part.node);
            if bad.is_some_and(|since| world.now.since(*since) > HEARD) {
                return Err(format!("a run is placed on {}, whose shared path is bad", part.node));
            }
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
