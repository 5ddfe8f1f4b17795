//! I5: every machine with our tag is known or being ended within `sweep + grace` of head time
//! after a list showed it. The provider's calls count, not the head's word.
use super::Check;
use crate::cloud::MachineId;
use crate::world::World;
use pcluster_core::event::Event;
use pcluster_model::{DurationMs, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// I5.
#[derive(Debug, Default)]
pub struct Instances {
    /// Machines that the log has bound to a node.
    bound: BTreeSet<MachineId>,
    /// Unbound machines, since this head saw them in a list while awake.
    shown: BTreeMap<MachineId, Timestamp>,
    awake_since: Timestamp,
}

/// 60 s sweep, 120 s grace, and what calls may take when some of them fail.
const WITHIN: DurationMs = DurationMs::from_secs(60 + 120 + 120);

impl Check for Instances {
    fn number(&self) -> u8 {
        5
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            if let Event::InstanceSeen { instance, .. } = &stamped.event {
                self.bound.extend(MachineId::of(instance));
            }
        }
        let Some(head) = world.head.as_ref().filter(|head| !head.asleep) else { return Ok(()) };
        if head.awake_since != self.awake_since {
            self.awake_since = head.awake_since;
            self.shown.clear();
        }
        for id in &world.seen.listed {
            self.shown.entry(*id).or_insert(world.now);
        }
        if world.seen.listed.is_empty() {
            return Ok(());
        }
        self.shown.retain(|id, _| world.cloud.living.contains(id));
        for (id, since) in &self.shown {
            let asked = world.cloud.machines.get(id).and_then(|machine| machine.end_asked_at);
            let known = self.bound.contains(id) && is_alive(world, *id);
            if known || asked.is_some() || world.now.since(*since) <= WITHIN {
                continue;
            }
            let minutes = world.now.since(*since);
            return Err(format!("machine {} was listed {minutes} ago; nobody knows it", id.0));
        }
        Ok(())
    }
}

fn is_alive(world: &World, id: MachineId) -> bool {
    let name = id.instance();
    world.head.as_ref().is_some_and(|head| {
        let mut nodes = head.cluster.nodes.values();
        nodes.any(|node| node.state.is_alive() && node.instance.as_ref() == Some(&name))
    })
}
