//! I11: of jobs of one user that ask for the same, the earlier one starts first, and a job of higher
//! priority before one of lower. Starvation is I15's: when faults stop, everything finishes.
use super::{Check, turn};
use crate::world::World;
use pcluster_core::Job;
use pcluster_core::event::Event;
use pcluster_core::reason::Reason;
use pcluster_model::JobSpec;

/// I11.
#[derive(Debug)]
pub struct Order;

/// One takes the place of the other whatever machines there are: only turn decides.
#[must_use]
pub fn alike(a: &JobSpec, b: &JobSpec) -> bool {
    let size = |spec: &JobSpec| (spec.nodes, spec.least_per_node(), spec.memory, spec.exclusive);
    let limits = |spec: &JobSpec| (spec.time_limit_ms, spec.max_cost);
    // What may not run again, or chooses how its machines are bought, gets other ones.
    size(a) == size(b)
        && (a.requeue, a.spot) == (b.requeue, b.spot)
        && limits(a) == limits(b)
        && (&a.features, &a.only_nodes, &a.not_nodes, &a.image)
            == (&b.features, &b.only_nodes, &b.not_nodes, &b.image)
}

impl Check for Order {
    fn number(&self) -> u8 {
        11
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let Some(head) = world.head.as_ref().filter(|_| world.seen.released) else { return Ok(()) };
        let cluster = &head.cluster;
        let now = head.steady(world.now);
        for stamped in &world.seen.events {
            let (Event::JobPlaced { job, .. } | Event::TasksPlaced { job, .. }) = &stamped.event
            else {
                continue;
            };
            let Some(placed) = cluster.jobs.get(job) else { continue };
            let earlier = |other: &&Job| {
                other.pool == placed.pool
                    && other.owner.uid == placed.owner.uid
                    && turn(other) < turn(placed)
                    && other.own.is_empty()
                    && placed.own.is_empty()
                    && alike(&other.spec, &placed.spec)
            };
            // What waits for nothing but its turn. A dependency may be met by this very placement.
            let ready = |other: &&Job| {
                other.spec.dependencies.is_empty()
                    && matches!(cluster.reason(other, now), Reason::Waits(Some(_)))
            };
            let jobs = cluster.jobs.values().filter(|other| !other.pending.is_empty());
            if let Some(other) = jobs.filter(earlier).find(ready) {
                return Err(format!("job {job} was placed before job {}", other.id));
            }
        }
        Ok(())
    }
}
