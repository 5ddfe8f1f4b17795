//! I8: what runs survives its agent: no process ends because an agent did.
use super::Check;
use crate::procs::Cause;
use crate::world::World;

/// I8.
#[derive(Debug)]
pub struct Survivors;

impl Check for Survivors {
    fn number(&self) -> u8 {
        8
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        match world.seen.ended.iter().find(|(_, _, cause)| *cause == Cause::Agent) {
            Some((_, proc, _)) => Err(format!("run {} died with its agent", proc.run)),
            None => Ok(()),
        }
    }
}
