//! I10: nothing runs longer than its limit and grace allow, and nothing of a run lives when its end
//! has been recorded. Cages and signals are the real keeper's; its own tests and scenarios prove them.
use super::Check;
use crate::procs::ProcId;
use crate::world::World;
use pcluster_model::DurationMs;
use std::collections::BTreeMap;

/// I10.
#[derive(Debug, Default)]
pub struct Limits {
    /// The longest that each process was ever allowed; `None` is for ever.
    allowed: BTreeMap<ProcId, Option<DurationMs>>,
}

/// All of a run is gone this long after its grace.
const SLACK: DurationMs = DurationMs::from_secs(5);

impl Check for Limits {
    fn number(&self) -> u8 {
        10
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.allowed.retain(|id, _| world.procs.living.contains_key(id));
        for (id, proc) in &world.procs.living {
            let agent = world.agents.get(&proc.machine);
            let recorded = agent.and_then(|agent| agent.dirs.get(&proc.run)?.exit.as_ref());
            if let Some(end) = recorded {
                return Err(format!("run {} lives after {:?} was recorded", proc.run, end.exit));
            }
            let keeper = agent.and_then(|agent| agent.keepers.get(&proc.run));
            let told = keeper.and_then(|keeper| keeper.ends_within(world.now));
            let most = self.allowed.entry(*id).or_insert(Some(DurationMs::ZERO));
            *most = match (*most, told) {
                (Some(most), Some((within, _))) => Some(most.max(within)),
                _ => None,
            };
            let (Some(most), Some((_, still))) = (*most, told) else { continue };
            let ran = world.now.since(proc.began);
            if ran > most + still + SLACK {
                return Err(format!("run {} runs for {ran}; {most} are allowed", proc.run));
            }
        }
        Ok(())
    }
}
