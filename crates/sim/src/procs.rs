//! Processes of users, as the machines' kernels see them: the ground truth of laws 1 and 2.
//!
//! Invariant: a process is here from its first to its last instruction, whatever any agent or head
//! believes. Deliberately absent: what the processes compute.
use crate::cloud::MachineId;
use pcluster_model::{JobId, NodeId, Resources, RunId};
use std::collections::BTreeMap;

/// One process tree; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcId(pub u32);

/// A process tree of a user.
#[derive(Debug, Clone)]
pub struct Proc {
    pub run: RunId,
    pub job: JobId,
    pub task: u32,
    pub node: NodeId,
    pub machine: MachineId,
    pub resources: Resources,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Procs {
    pub living: BTreeMap<ProcId, Proc>,
    /// Times that each run was started on each node.
    pub starts: BTreeMap<(RunId, NodeId), u32>,
    last: u32,
}

impl Procs {
    /// A process tree begins.
    pub fn begin(&mut self, proc: Proc) -> ProcId {
        self.last += 1;
        *self.starts.entry((proc.run, proc.node)).or_default() += 1;
        self.living.insert(ProcId(self.last), proc);
        ProcId(self.last)
    }

    /// A process tree is no more.
    pub fn end(&mut self, id: ProcId) {
        self.living.remove(&id);
    }

    /// Everything on a machine is no more.
    pub fn end_all(&mut self, machine: MachineId) {
        self.living.retain(|_, proc| proc.machine != machine);
    }
}
