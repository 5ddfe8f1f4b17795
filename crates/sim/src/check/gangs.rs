//! I13: a job of several nodes has all of them or none: it is placed with all parts in one event, its
//! script begins when something of it runs on every other node, and when the script has ended or a
//! node is lost, every other part that the head can reach is over soon.
use super::Check;
use crate::net::ConnId;
use crate::world::World;
use pcluster_core::Run;
use pcluster_core::event::{Event, PartEnd, Placement};
use pcluster_core::job::RunPart;
use pcluster_model::job::JobKind;
use pcluster_model::{DurationMs, JobId, NodeId, RunId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// I13.
#[derive(Debug, Default)]
pub struct Gangs {
    /// Parts of gangs that have lost a part: over which connection they can be told, since when.
    left: BTreeMap<(RunId, NodeId), (ConnId, Timestamp)>,
}

/// What is left of a gang is over within this and the grace, once its node can be reached: two
/// frames and two commits, slow ones each.
const WITHIN: DurationMs = DurationMs::from_secs(120);

fn placed(world: &World, job: JobId, placement: &Placement) -> Result<(), String> {
    let Some(job) = world.log.jobs.get(&job) else { return Ok(()) };
    let wanted = job.spec_of(placement.task).nodes.max(1) as usize;
    let nodes: BTreeSet<_> = placement.parts.iter().map(|part| part.node).collect();
    if nodes.len() == wanted && placement.parts.len() == wanted {
        return Ok(());
    }
    Err(format!("run {} of {wanted} nodes was placed on {}", placement.run, nodes.len()))
}

impl Check for Gangs {
    fn number(&self) -> u8 {
        13
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            match &stamped.event {
                Event::JobPlaced { job, placement } => placed(world, *job, placement)?,
                Event::TasksPlaced { job, placements } => {
                    placements.iter().try_for_each(|one| placed(world, *job, one))?;
                }
                _ => {}
            }
        }
        for proc in world.seen.began.iter().filter_map(|id| world.procs.living.get(id)) {
            let kind = world.log.jobs.get(&proc.job).map(|job| job.spec.kind);
            if proc.rank != 0 || proc.nodes < 2 || kind != Some(JobKind::Batch) {
                continue;
            }
            let begun = world.procs.starts.keys().filter(|(run, _)| *run == proc.run).count();
            if begun < proc.nodes {
                return Err(format!(
                    "the script of run {} began when {begun} of {} nodes had",
                    proc.run, proc.nodes
                ));
            }
        }
        self.leftovers(world)
    }
}

/// Its script has ended, or it has lost a node. The time of other nodes may be over before that of
/// the first, which began later: that ends nobody else.
fn is_broken(run: &Run) -> bool {
    let lost = |part: &RunPart| !matches!(part.end, None | Some(PartEnd::Ended { .. }));
    run.parts.first().is_some_and(|first| first.end.is_some()) || run.parts.iter().any(lost)
}

impl Gangs {
    fn leftovers(&mut self, world: &World) -> Result<(), String> {
        let Some(head) = world.head.as_ref().filter(|_| world.seen.released) else { return Ok(()) };
        let mut left = BTreeMap::new();
        let within = world.config.term_grace_ms + WITHIN;
        for run in world.log.runs.values().filter(|run| run.parts.len() > 1) {
            if !is_broken(run) {
                continue;
            }
            for part in run.parts.iter().filter(|part| part.end.is_none()) {
                let at = (run.id, part.part.node);
                let Some(conn) = world.reaches(at.1) else { continue };
                let before = self.left.get(&at).filter(|(over, _)| *over == conn);
                // What nobody could hear while the head stood still does not count.
                let since = before.map_or(world.now, |(_, since)| *since).max(head.awake_since);
                if world.now.since(since) > within {
                    return Err(format!("run {} is left over on {} for {within}", at.0, at.1));
                }
                left.insert(at, (conn, since));
            }
        }
        self.left = left;
        Ok(())
    }
}
