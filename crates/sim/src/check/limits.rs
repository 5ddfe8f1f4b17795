//! I10: nothing is ended for its time limit earlier than that, nothing runs longer than limit and
//! grace allow, and nothing of a run lives when its end has been recorded. Cages and signals are the
//! real keeper's; its own tests and scenarios prove them.
use super::Check;
use crate::keeper::Watch;
use crate::procs::{Cause, ProcId};
use crate::world::World;
use pcluster_model::DurationMs;
use std::collections::BTreeMap;

/// I10.
#[derive(Debug, Default)]
pub struct Limits {
    /// The longest that each process was ever allowed; `None` is for ever.
    allowed: BTreeMap<ProcId, Option<DurationMs>>,
    /// What its keeper held it to, when it was last seen.
    watched: BTreeMap<ProcId, Watch>,
}

/// TERM comes this close to the limit.
const EXACT: DurationMs = DurationMs::from_secs(2);
/// All of a run is gone this long after its grace.
const SLACK: DurationMs = DurationMs::from_secs(5);

impl Check for Limits {
    fn number(&self) -> u8 {
        10
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.ended(world)?;
        self.allowed.retain(|id, _| world.procs.living.contains_key(id));
        self.watched.retain(|id, _| world.procs.living.contains_key(id));
        for (id, proc) in &world.procs.living {
            let agent = world.agents.get(&proc.machine);
            let recorded = agent.and_then(|agent| agent.dirs.get(&proc.run)?.exit.as_ref());
            if let Some(end) = recorded {
                return Err(format!("run {} lives after {:?} was recorded", proc.run, end.exit));
            }
            let keeper = agent.and_then(|agent| agent.keepers.get(&proc.run));
            let watch = keeper.and_then(|keeper| keeper.watch(world.now));
            let most = self.allowed.entry(*id).or_insert(Some(DurationMs::ZERO));
            *most = match (*most, watch) {
                (Some(most), Some(watch)) => Some(most.max(watch.limit + watch.grace)),
                _ => None,
            };
            let Some(watch) = watch else {
                self.watched.remove(id);
                continue;
            };
            self.watched.insert(*id, watch);
            let Some(most) = *most else { continue };
            // The time in which a machine slept is nobody's to keep.
            let slept = agent.map(|agent| agent.slept_since(proc.began, world.now));
            let ran = world.now.since(proc.began);
            if ran > most + watch.still + slept.unwrap_or_default() + SLACK {
                return Err(format!("run {} runs for {ran}; {most} are allowed", proc.run));
            }
        }
        Ok(())
    }
}

impl Limits {
    /// What its time limit ended was ended neither before it nor long after it.
    fn ended(&self, world: &World) -> Result<(), String> {
        for (id, proc, _) in world.seen.ended.iter().filter(|(_, _, why)| *why == Cause::Limit) {
            let Some(watch) = self.watched.get(id) else { continue };
            let agent = world.agents.get(&proc.machine);
            let slept = agent.map(|agent| agent.slept_since(proc.began, world.now));
            let (ran, from) = (world.now.since(proc.began), watch.limit + watch.still);
            // A limit may have been lowered below the time that had passed.
            let most = self.allowed.get(id).copied().flatten().unwrap_or(DurationMs(u64::MAX / 4));
            let until = most + watch.still + slept.unwrap_or_default();
            if ran + EXACT < from || ran > until + EXACT {
                let (run, limit) = (proc.run, watch.limit);
                return Err(format!("run {run} was ended after {ran}; its limit is {limit}"));
            }
        }
        Ok(())
    }
}
