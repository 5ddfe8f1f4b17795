//! Connections between agents and the head.
//!
//! Invariant: a live connection is ordered and reliable, as TCP is; a cut one loses what was under
//! way, and each side learns of the cut in its own time, or never. Deliberately absent: bytes.
use crate::cloud::MachineId;
use pcluster_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// One connection; rises with every dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u32);

/// A connection that stands or stood.
#[derive(Debug, Clone)]
pub struct Conn {
    pub machine: MachineId,
    /// Which life of the agent dialled.
    pub agent_life: u32,
    /// Which life of the head took it.
    pub head_life: u32,
    /// Frames arrive.
    pub up: bool,
    /// Nothing arrives in this direction: true is to the head.
    pub swallows: Option<bool>,
    /// No frame is delivered before the one before it.
    to_head: Timestamp,
    to_agent: Timestamp,
}

/// All connections.
#[derive(Debug, Default)]
pub struct SimNet {
    pub conns: BTreeMap<ConnId, Conn>,
    last: u32,
}

impl SimNet {
    /// A new connection.
    pub fn open(&mut self, now: Timestamp, machine: MachineId, lives: (u32, u32)) -> ConnId {
        self.last += 1;
        let (agent_life, head_life) = lives;
        let conn = Conn {
            machine,
            agent_life,
            head_life,
            up: true,
            swallows: None,
            to_head: now,
            to_agent: now,
        };
        self.conns.insert(ConnId(self.last), conn);
        ConnId(self.last)
    }

    /// When a frame sent now arrives; `None` when the connection is cut.
    pub fn arrival(
        &mut self,
        now: Timestamp,
        id: ConnId,
        to_head: bool,
        delay_ms: i64,
    ) -> Option<Timestamp> {
        let conn = self.conns.get_mut(&id).filter(|conn| conn.up)?;
        if conn.swallows == Some(to_head) {
            return None;
        }
        let last = if to_head { &mut conn.to_head } else { &mut conn.to_agent };
        *last = Timestamp(now.0 + delay_ms).max(*last);
        Some(*last)
    }

    /// Frames no longer arrive; false when they did not before.
    pub fn cut(&mut self, id: ConnId) -> bool {
        self.conns.get_mut(&id).is_some_and(|conn| std::mem::replace(&mut conn.up, false))
    }

    /// True while frames arrive.
    #[must_use]
    pub fn is_up(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.up)
    }

    /// Connections of one machine that stand.
    #[must_use]
    pub fn of_machine(&self, machine: MachineId) -> Vec<ConnId> {
        self.standing(|conn| conn.machine == machine)
    }

    /// Connections that stand and are wanted.
    pub fn standing(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.up && wanted(conn)).map(|(id, _)| *id).collect()
    }

    /// Forgets connections that nobody can speak of any more: not those that some agent holds for
    /// its own, however old they are.
    pub fn sweep(&mut self, held: &BTreeSet<ConnId>) {
        let newest = self.last;
        self.conns.retain(|id, conn| conn.up || id.0 + 64 > newest || held.contains(id));
    }
}
