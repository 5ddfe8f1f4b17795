//! I6: a machine is made only for a launch that is on disk, and at most one for each of its places,
//! however often the call is made. Strays, which the provider makes by itself, are I5's.
use super::Check;
use crate::cloud::MachineId;
use crate::world::World;
use pcluster_core::event::Event;
use pcluster_model::LaunchId;
use std::collections::{BTreeMap, BTreeSet};

/// I6.
#[derive(Debug, Default)]
pub struct Intents {
    /// Launches on disk, with the number of their places.
    wanted: BTreeMap<LaunchId, u32>,
    places: BTreeSet<(LaunchId, u32)>,
    looked_at: MachineId,
}

impl Check for Intents {
    fn number(&self) -> u8 {
        6
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            if let Event::LaunchWanted { intent } = &stamped.event {
                let places = u32::try_from(intent.names.len()).unwrap_or(u32::MAX);
                self.wanted.insert(intent.launch, places);
            }
        }
        let from = MachineId(self.looked_at.0 + 1);
        for (id, machine) in world.cloud.machines.range(from..) {
            self.looked_at = *id;
            if machine.stray {
                continue;
            }
            let (launch, index) = (machine.launch, machine.index);
            match self.wanted.get(&launch) {
                None => return Err(format!("machine {} of launch {launch}: not on disk", id.0)),
                Some(places) if index >= *places => {
                    return Err(format!("launch {launch} has {places} places; {index} was made"));
                }
                Some(_) => {}
            }
            if !self.places.insert((launch, index)) {
                return Err(format!("a second machine was made for place {index} of {launch}"));
            }
        }
        Ok(())
    }
}
