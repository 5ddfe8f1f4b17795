//! I15: after faults stop, every feasible job finishes, and machines go: those that the head can reach
//! within `idle_timeout` + 60 s, the others when their grace is over and the provider has ended them.
use super::Check;
use crate::cloud::MachineId;
use crate::world::{Mode, World};
use pcluster_core::reason::Reason;
use pcluster_core::{Cluster, Job};
use pcluster_model::{DurationMs, Timestamp};
use std::collections::BTreeMap;

/// I15.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Since when there is nothing to do.
    quiet_since: Option<Timestamp>,
    /// Machines that hear the head, since then.
    heard: BTreeMap<MachineId, Timestamp>,
}

/// From the end of the idle time to the end of a machine that hears the head.
const GOES: DurationMs = DurationMs::from_secs(60);

/// What repeated calls, the list's window and a grace after silence may add to the idle time.
const SLACK: DurationMs = DurationMs::from_mins(30);

impl Check for Liveness {
    fn number(&self) -> u8 {
        15
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.healed.is_none() || !world.seen.released || world.scenario.down.is_some() {
            return Ok(());
        }
        let Some(head) = &world.head else { return Ok(()) };
        let busy = !world.users.all_answered() || unfinished(&head.cluster, world.now).is_some();
        if busy || world.cloud.living.len() <= world.kept() {
            self.quiet_since = None;
            self.heard.clear();
            return Ok(());
        }
        let since = *self.quiet_since.get_or_insert(world.now);
        let idle = world.config.pools.iter().map(|pool| pool.idle_timeout_ms).max();
        let soon = idle.unwrap_or_default() + GOES;
        self.hear(world);
        let long = self.heard.values().filter(|since| world.now.since(**since) > soon).count();
        if long > world.kept() {
            let nodes = nodes(&head.cluster);
            return Err(format!("{long} idle machines hear the head {soon} after: {nodes}"));
        }
        let within = soon + SLACK;
        if world.now.since(since) <= within {
            return Ok(());
        }
        let left = world.cloud.living.len();
        Err(format!("{left} machines live {within} after the last job: {}", nodes(&head.cluster)))
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        if world.mode != Mode::Liveness {
            return Ok(());
        }
        let Some(head) = &world.head else { return Err("the head is down".into()) };
        if world.scenario.down.is_some() {
            let left = world.cloud.living.len();
            return match head.cluster.is_closed() && left == 0 {
                true => Ok(()),
                false => {
                    Err(format!("the cluster went down; {left} live: {}", nodes(&head.cluster)))
                }
            };
        }
        match unfinished(&head.cluster, world.now) {
            Some(words) => Err(format!("{words}; {}", nodes(&head.cluster))),
            None if !world.users.all_answered() => Err("a user never got an answer".into()),
            None if world.cloud.living.len() > world.kept() => {
                Err(format!("{} machines live: {}", world.cloud.living.len(), nodes(&head.cluster)))
            }
            None => Ok(()),
        }
    }
}

impl Liveness {
    fn hear(&mut self, world: &World) {
        let hears = |id: &MachineId| {
            world.agents.get(id).is_some_and(|agent| {
                let conn = world.reaches(agent.node);
                conn.is_some() && agent.conn == conn
            })
        };
        self.heard.retain(|id, _| hears(id) && world.cloud.living.contains(id));
        // A head that has just come up, or on, lets everybody speak first.
        let head = world.head.as_ref().map_or(world.now, |head| head.awake_since);
        let since = world.now.max(head + world.config.head.settle_ms);
        for id in world.cloud.living.iter().filter(|id| hears(id)) {
            self.heard.entry(*id).or_insert(since);
        }
    }
}

fn nodes(cluster: &Cluster) -> String {
    let living = cluster.nodes.values().filter(|node| node.state.is_alive());
    let words: Vec<String> =
        living.map(|node| format!("{} {:?} runs {:?}", node.id, node.state, node.runs)).collect();
    words.join(", ")
}

/// The first job that could finish and has not, in words.
#[must_use]
pub fn unfinished(cluster: &Cluster, now: Timestamp) -> Option<String> {
    let job =
        cluster.jobs.values().find(|job| !job.is_finished() && is_feasible(cluster, job, now))?;
    let reason = cluster.reason(job, now);
    Some(format!("job {} pends {} lives {:?}: {reason:?}", job.id, job.pending, job.live))
}

/// The configuration in force has machines that are large enough, and enough of them.
fn fits(cluster: &Cluster, job: &Job) -> bool {
    let Some(pool) = cluster.pool(&job.pool) else { return false };
    let (nodes, least) = (job.spec.nodes, job.spec.least_per_node());
    nodes <= pool.max
        && pool.shapes.iter().any(|shape| {
            let all = shape.total.cpus * nodes;
            shape.usable().holds(&least) && pool.max_cpus.is_none_or(|most| all <= most)
        })
}

fn is_feasible(cluster: &Cluster, job: &Job, now: Timestamp) -> bool {
    if !job.live.is_empty() {
        return true;
    }
    if !fits(cluster, job) {
        return false;
    }
    match cluster.reason(job, now) {
        Reason::Held { .. } => !job.spec.hold,
        Reason::DependencyNever(_) => false,
        // As feasible as what it waits for.
        Reason::Dependency(state) => cluster
            .jobs
            .get(&state.dependency.job)
            .is_some_and(|other| other.is_finished() || is_feasible(cluster, other, now)),
        Reason::Begin { .. } | Reason::Throttle { .. } | Reason::Waits(_) => true,
    }
}
