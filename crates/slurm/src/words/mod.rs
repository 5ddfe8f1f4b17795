//! Slurm's words for what the head's records say: states, reasons, moments, spans, sizes, ids and
//! lists of nodes.
//!
//! Invariant: pure functions from records to text, the same for every command, so that two commands
//! never disagree about a job. Deliberately absent: columns and their widths (`columns`), and
//! anything that reads options.
pub mod clock;
pub mod columns;
pub mod hosts;
pub mod job;
pub mod jobid;
pub mod node;
pub mod size;
pub mod state;

pub use clock::Clock;
pub use node::NodeState;
pub use state::State;

#[cfg(test)]
pub mod made_up;
