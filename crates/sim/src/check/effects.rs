//! I17: effects found by marks equal the full sweep, at every release.
use super::Check;
use crate::world::World;

/// I17.
#[derive(Debug)]
pub struct Sweep;

impl Check for Sweep {
    fn number(&self) -> u8 {
        17
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if !world.seen.released {
            return Ok(());
        }
        let mut handed_out = world.seen.handed_out.clone();
        let mut full = world.seen.full_sweep.clone();
        handed_out.sort();
        full.sort();
        if handed_out == full {
            return Ok(());
        }
        Err(format!("handed out {handed_out:?}; a full sweep finds {full:?}"))
    }
}
