//! I9: the ledger equals the provider's own meter, per machine and in sum, and the buckets of a
//! span sum to it. The provider's side is computed in `cloud`, from its own times.
use super::Check;
use crate::cloud::{Machine, MachineId};
use crate::world::{Mode, World};
use pcluster_core::event::Event;
use pcluster_core::ledger::Span;
use pcluster_model::NodeId;
use std::collections::BTreeMap;

/// I9.
#[derive(Debug, Default)]
pub struct Bills {
    machines: BTreeMap<NodeId, MachineId>,
    spans: BTreeMap<MachineId, i64>,
}

impl Check for Bills {
    fn number(&self) -> u8 {
        9
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            match &stamped.event {
                Event::InstanceSeen { node, instance, .. } => {
                    let Some(id) = MachineId::of(instance) else { continue };
                    let before = self.machines.insert(*node, id);
                    let twice = self.machines.values().filter(|other| **other == id).count() > 1;
                    if before.is_some() || twice {
                        return Err(format!("machine {} and node {node} were bound twice", id.0));
                    }
                }
                Event::SpanClosed { span } => self.closed(world, span)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        let ended = world.cloud.machines.iter().filter(|(_, m)| m.ended_at.is_some());
        let mut meter = 0;
        for (id, machine) in ended {
            if self.spans.contains_key(id) {
                meter += world.cloud.bill(world.now, *id);
            } else if world.mode == Mode::Liveness && !may_be_unbound(world, machine) {
                return Err(format!("machine {} has ended and has no span", id.0));
            }
        }
        let spans: i64 = self.spans.values().sum();
        if spans == meter {
            Ok(())
        } else {
            Err(format!("the spans sum to {spans} micro-dollars, the provider's meter to {meter}"))
        }
    }
}

/// Nobody asked for it, nobody waited for it, or a stray of its launch took its place in the list.
fn may_be_unbound(world: &World, machine: &Machine) -> bool {
    let double = |other: &Machine| other.stray && other.launch == machine.launch;
    machine.stray || machine.late || world.cloud.machines.values().any(double)
}

impl Bills {
    fn closed(&mut self, world: &World, span: &Span) -> Result<(), String> {
        let node = span.node;
        let Some(id) = self.machines.get(&node) else {
            return Err(format!("node {node} has a span and was never bound to a machine"));
        };
        let machine = &world.cloud.machines[id];
        let Some(ended_at) = machine.ended_at else {
            return Err(format!("the span of node {node} is closed and machine {} lives", id.0));
        };
        if (span.launched_at, span.ended_at) != (machine.launched_at, ended_at) {
            return Err(format!(
                "node {node}: span {}..{}, machine {}..{}",
                span.launched_at.0, span.ended_at.0, machine.launched_at.0, ended_at.0
            ));
        }
        let meter = world.cloud.bill(world.now, *id);
        if span.total.0 != meter {
            return Err(format!("node {node}: span of {}, meter of {meter}", span.total.0));
        }
        let buckets: i64 = span.charges.iter().map(|charge| charge.2.0).sum();
        if buckets != meter || span.charges.iter().any(|charge| charge.2.0 < 0) {
            return Err(format!("node {node}: buckets of {buckets}, meter of {meter}"));
        }
        match self.spans.insert(*id, span.total.0) {
            Some(_) => Err(format!("node {node} was billed twice")),
            None => Ok(()),
        }
    }
}
