//! Steps: what `srun` and the step daemon of a node say to each other, and the daemon itself.
//!
//! Invariant: a conversation outlives its streams ([`link`]), so a head that dies delays output and
//! nothing more. The daemon runs as the job's user inside the job's cage: it has no rights to lose.
//! Deliberately absent: layout of tasks over nodes, words of Slurm but in texts for people, and any
//! decision about room (the head's).
pub mod daemon;
pub mod feed;
pub mod files;
pub mod link;
pub mod message;
pub mod part;
pub mod pmi;
pub mod session;
