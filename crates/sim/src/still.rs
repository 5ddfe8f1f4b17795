//! What stands still for a while: an agent that was stopped (SIGSTOP), a machine that sleeps as a
//! laptop does.
//!
//! Invariant: what comes meanwhile waits, in its order; keepers and processes of a stopped agent go
//! on, those of a sleeping machine do not. Deliberately absent: a head that stands still (`head`).
use crate::cloud::MachineId;
use crate::world::{What, World};
use pcluster_core::agent::AgentInput;
use pcluster_model::{DurationMs, Timestamp};

/// A peer whose pings nobody answers is given up after this.
const PING_MOST: DurationMs = DurationMs::from_secs(60);

impl World {
    /// Until when this waits, because whom it is for stands still.
    #[must_use]
    pub fn waits_until(&self, what: &What) -> Option<Timestamp> {
        let (machine, is_keepers) = match what {
            What::AgentStart { machine, .. }
            | What::Dial { machine, .. }
            | What::AgentTick { machine, .. }
            | What::AgentHears { machine, .. } => (*machine, false),
            What::KeeperStarts { machine, .. } | What::KeeperEnds { machine, .. } => {
                (*machine, true)
            }
            What::ToAgent { conn, .. } | What::AgentHearsCut { conn } => {
                (self.net.conns.get(conn)?.machine, false)
            }
            _ => return None,
        };
        let agent = self.agents.get(&machine)?;
        let until = if is_keepers { agent.asleep_until } else { agent.still_until() };
        (until > self.now).then_some(until)
    }

    /// The agent process is stopped, and continued later.
    pub fn agent_stops(&mut self, id: MachineId, span: DurationMs) {
        let until = self.now + span;
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.brain.is_some()) else {
            return;
        };
        agent.stopped_until = until;
        self.trace.line(self.now, format_args!("agent of machine {} is stopped for {span}", id.0));
        self.head_gives_up(id, span);
    }

    /// The machine stands still with everything on it.
    pub fn machine_sleeps(&mut self, id: MachineId, span: DurationMs) {
        let (now, until) = (self.now, self.now + span);
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.asleep_until <= now) else {
            return;
        };
        agent.asleep_until = until;
        agent.sleeps.push((now, until));
        self.trace.line(now, format_args!("machine {} sleeps for {span}", id.0));
        self.head_gives_up(id, span);
    }

    /// A head whose pings nobody answers closes the connection; the agent learns of it afterwards.
    fn head_gives_up(&mut self, id: MachineId, span: DurationMs) {
        if span <= PING_MOST {
            return;
        }
        for conn in self.net.of_machine(id) {
            let head = self.rng.between(60_000, 90_000);
            let agent = self.rng.between(0, 30_000);
            self.after(head, What::HeadHearsCut { conn });
            self.after(span.0 + agent, What::AgentHearsCut { conn });
        }
    }

    /// What an agent did not hear when it was told.
    pub fn agent_hears(&mut self, id: MachineId, life: u32, input: AgentInput) {
        if self.agents.get(&id).is_some_and(|agent| agent.life == life) {
            self.agent_step(id, input);
        }
    }
}
