//! I7: what runs survives the head: an agent ends a process by order only when the log says that its
//! run is to end, or that its node is given up.
use super::Check;
use crate::procs::{Cause, Proc};
use crate::world::World;
use pcluster_core::node::NodeState;

/// I7.
#[derive(Debug)]
pub struct Restarts;

impl Check for Restarts {
    fn number(&self) -> u8 {
        7
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let ordered = world.seen.ended.iter().filter(|(_, _, cause)| *cause == Cause::Order);
        for (_, proc, _) in ordered {
            if !is_wanted(world, proc) {
                return Err(format!("run {} was ended and nobody had asked for it", proc.run));
            }
        }
        Ok(())
    }
}

fn is_wanted(world: &World, proc: &Proc) -> bool {
    let Some(run) = world.log.runs.get(&proc.run) else { return true };
    let Some(node) = world.log.nodes.get(&proc.node) else { return true };
    // An agent that has lost its key is nobody whom the head knows, and is told so.
    let known = node.key.as_ref();
    let stranger = world.agents.get(&proc.machine).is_some_and(|agent| known != Some(&agent.key));
    let given_up = match &node.state {
        NodeState::Draining { .. } | NodeState::Wanted | NodeState::Booting | NodeState::Ready => {
            stranger
        }
        NodeState::Stopping { .. }
        | NodeState::Lost { .. }
        | NodeState::Refused { .. }
        | NodeState::Gone { .. } => true,
    };
    run.is_ending() || given_up
}
