//! I5, where the head is lost for ever: every machine ends by itself. One that holds nothing ends
//! `orphan_after` after its last contact with the head, one with reports that nobody took
//! `report_hold` after its last run; a run ends at its limit and grace (I10).
//!
//! Not judged: a machine whose agent has not started, and one with a run that stands still by order.
use super::Check;
use crate::agent::SimAgent;
use crate::cloud::MachineId;
use crate::world::World;
use pcluster_core::agent::AgentState;
use pcluster_model::{DurationMs, Timestamp};

/// I5, abandoned.
#[derive(Debug, Default)]
pub struct Orphans {
    looked_at: Timestamp,
}

/// How long an agent takes to notice that its connection is dead, and to act.
const NOTICES: DurationMs = DurationMs::from_secs(90 + 30);
/// Between two looks.
const EVERY: DurationMs = DurationMs::from_secs(5);

impl Check for Orphans {
    fn number(&self) -> u8 {
        5
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        if world.abandoned.is_none() || world.now.since(self.looked_at) < EVERY {
            return Ok(());
        }
        self.looked_at = world.now;
        let mut living = world.cloud.living.iter();
        living.try_for_each(|id| judge(world, *id))
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        // Where nothing happens any more, nothing ends any more either.
        self.looked_at = Timestamp(0);
        self.step(world)
    }
}

fn judge(world: &World, id: MachineId) -> Result<(), String> {
    let (Some(since), Some(agent)) = (world.abandoned, world.agents.get(&id)) else {
        return Ok(());
    };
    let boots = agent.life == 0 && agent.brain.is_none();
    if boots || agent.hung || !is_idle(world, agent) {
        return Ok(());
    }
    let head = &world.config.head;
    let holds = agent.holds_records();
    let wait = if holds { head.report_hold_ms } else { DurationMs::ZERO };
    let wait = wait.max(head.orphan_after_ms);
    let last = since.max(agent.up_since).max(agent.busy_at).max(agent.still_until());
    let (alone, within) = (world.now.since(last), wait + NOTICES);
    if alone <= within {
        return Ok(());
    }
    let words = if holds { "with reports" } else { "with nothing to do" };
    let runs = agent.brain.as_ref().map_or(0, AgentState::live_runs);
    let words = format!("{words}, and {runs} runs by the word of its agent");
    Err(format!("machine {} lives {alone} without a head, {words}; {within} are allowed", id.0))
}

/// Nothing runs there, and nothing is about to; what stands still by order is no idleness.
fn is_idle(world: &World, agent: &SimAgent) -> bool {
    agent.keepers.is_empty() && world.procs.on(agent.id).is_empty()
}
