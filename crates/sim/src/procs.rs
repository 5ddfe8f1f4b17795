//! Processes of users, as the machines' kernels see them: the ground truth of I2, I4, I7, I8, I10 and I12.
//!
//! Invariant: a process is here from its first to its last instruction, whatever any agent or head
//! believes. Deliberately absent: what the processes compute.
use crate::cloud::MachineId;
use pcluster_model::{JobId, NodeId, Resources, RunId, Timestamp};
use pcluster_wire::Exit;
use std::collections::BTreeMap;

/// One process tree; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcId(pub u32);

/// Why a process tree is no more, as its machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It came to its end by itself.
    Exit,
    /// Its time limit.
    Limit,
    /// The agent was told to end it, or decided to.
    Order,
    /// Its keeper was killed, and the agent emptied the cage.
    KeeperLost,
    /// Its machine ended or rebooted.
    Machine,
    /// The agent took it along when it died: a planted bug.
    Agent,
}

/// A process tree of a user.
#[derive(Debug, Clone)]
pub struct Proc {
    pub run: RunId,
    pub job: JobId,
    pub task: u32,
    pub node: NodeId,
    pub machine: MachineId,
    pub resources: Resources,
    /// Its place in the allocation, and the names of all nodes of it.
    pub rank: u32,
    pub nodes: usize,
    pub began: Timestamp,
    /// Started by the script in the background; it holds nothing of its own.
    pub child: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Procs {
    pub living: BTreeMap<ProcId, Proc>,
    /// Times that each run was started on each node.
    pub starts: BTreeMap<(RunId, NodeId), u32>,
    /// How each run ended on each node, as its keeper wrote it down.
    pub exits: BTreeMap<(RunId, NodeId), Exit>,
    last: u32,
}

impl Procs {
    /// A process tree begins.
    pub fn begin(&mut self, proc: Proc) -> ProcId {
        self.last += 1;
        if !proc.child {
            *self.starts.entry((proc.run, proc.node)).or_default() += 1;
        }
        self.living.insert(ProcId(self.last), proc);
        ProcId(self.last)
    }

    /// Process trees on a machine.
    #[must_use]
    pub fn on(&self, machine: MachineId) -> Vec<ProcId> {
        let here = self.living.iter().filter(|(_, proc)| proc.machine == machine);
        here.map(|(id, _)| *id).collect()
    }
}
