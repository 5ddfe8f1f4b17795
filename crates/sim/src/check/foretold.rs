//! I11, where nothing fails: the first waiting job of a pool that may have no more machines starts
//! no later than the time limits of what runs foretell at first; jobs that go ahead of it do not
//! move that moment (EASY backfill: Lifka 1995).
//!
//! Judged in calm worlds. A foretelling is void when its ground is: somebody with a better right
//! waits or is placed, a machine drains or goes, a limit changes, something stands still.
use super::{Check, turn};
use crate::world::{Mode, World};
use pcluster_core::event::Event;
use pcluster_core::plan::{Wait, may_hold};
use pcluster_core::{Cluster, Job, Node};
use pcluster_model::config::Pool;
use pcluster_model::{DurationMs, JobId, Timestamp};
use std::collections::BTreeMap;

/// I11, foretold.
#[derive(Debug, Default)]
pub struct Foretold {
    /// When each job starts at the latest.
    latest: BTreeMap<JobId, Timestamp>,
}

/// From a placement to the start of its script, from its end to the next placement.
const SLACK: DurationMs = DurationMs::from_secs(10);

impl Check for Foretold {
    fn number(&self) -> u8 {
        11
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.mode != Mode::Calm {
            return Ok(());
        }
        let Some(head) = world.head.as_ref().filter(|_| world.seen.released) else { return Ok(()) };
        for stamped in &world.seen.events {
            self.happened(world, &head.cluster, &stamped.event)?;
        }
        if let Some((job, at)) = self.latest.iter().find(|(_, at)| world.now > **at) {
            return Err(late(world, *job, *at));
        }
        for pool in &world.config.pools {
            self.foretell(world, &head.cluster, pool);
        }
        Ok(())
    }
}

fn late(world: &World, job: JobId, at: Timestamp) -> String {
    format!("job {job} has to wait for {} longer than was foretold", world.now.since(at))
}

impl Foretold {
    fn happened(&mut self, world: &World, cluster: &Cluster, event: &Event) -> Result<(), String> {
        match event {
            Event::JobPlaced { job, .. } | Event::TasksPlaced { job, .. } => {
                if let Some(at) = self.latest.remove(job).filter(|at| world.now > *at) {
                    return Err(late(world, *job, at));
                }
                let Some(placed) = cluster.jobs.get(job) else { return Ok(()) };
                self.latest.retain(|id, _| {
                    let other = cluster.jobs.get(id);
                    other.is_some_and(|o| o.pool != placed.pool || turn(o) < turn(placed))
                });
            }
            Event::JobHeld { job, .. }
            | Event::JobUpdated { job, .. }
            | Event::CancelWanted { job, .. }
            | Event::EndWanted { job, .. } => {
                self.latest.remove(job);
            }
            Event::ConfigChanged { .. }
            | Event::DownWanted { .. }
            | Event::LimitChanged { .. }
            | Event::JobSuspended { .. }
            | Event::RequeueWanted { .. }
            | Event::NodeRebooted { .. }
            | Event::NodeDraining { .. }
            | Event::NodeStopping { .. }
            | Event::NodeLost { .. }
            | Event::NodeGone { .. } => self.latest.clear(),
            _ => {}
        }
        Ok(())
    }

    /// The first of those that wait, when it waits for room alone.
    fn foretell(&mut self, world: &World, cluster: &Cluster, pool: &Pool) {
        let report = &cluster.volatile.report;
        let first = report.ahead.get(&pool.name).and_then(|ahead| ahead.first());
        self.latest.retain(|id, _| {
            cluster.jobs.get(id).is_some_and(|job| job.pool != pool.name) || Some(id) == first
        });
        let Some(job) = first.and_then(|first| cluster.jobs.get(first)) else { return };
        let full = matches!(report.waits.get(&job.id), Some(Wait::PoolMax { .. }));
        if !full || !job.own.is_empty() || self.latest.contains_key(&job.id) {
            return;
        }
        let nodes = cluster.living_nodes(&pool.name);
        let nodes = nodes.filter(|node| node.is_ready() && may_hold(pool, &job.spec, node));
        let mut free: Vec<Timestamp> =
            nodes.filter_map(|node| free_at(world, cluster, pool, job, node)).collect();
        free.sort_unstable();
        if let Some(at) = free.get(job.spec.nodes.max(1) as usize - 1) {
            let latest = (*at).max(world.now) + world.config.term_grace_ms + SLACK;
            self.latest.insert(job.id, latest);
        }
    }
}

/// When what runs on a node will have left room for a job, by its limits; `None` is never.
fn free_at(
    world: &World,
    cluster: &Cluster,
    pool: &Pool,
    job: &Job,
    node: &Node,
) -> Option<Timestamp> {
    if !node.usable.holds(&job.spec.least_per_node()) {
        return None;
    }
    let need = match pool.exclusive {
        true => node.usable,
        false => job.spec.per_node_on(&node.usable),
    };
    let runs = node.runs.iter().filter_map(|run| cluster.runs.get(run));
    let mut ends = Vec::new();
    for run in runs {
        let end = run.placed_at + run.time_limit_ms? + run.suspended_ms;
        ends.push((run.suspended_since.is_none().then_some(end)?, run.part(node.id)?));
    }
    ends.sort_by_key(|(end, _)| *end);
    let mut room = node.free();
    let mut at = world.now;
    for (end, part) in ends {
        if room.holds(&need) {
            break;
        }
        room = room.plus(&part.part.resources);
        at = at.max(end);
    }
    room.holds(&need).then_some(at)
}
