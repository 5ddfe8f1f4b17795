//! What an agent and a keeper say to each other: the order, the records, the layout of a run's directory, and how to
//! start, find again and command a keeper.
//!
//! Invariant: everything between the two lies in files of one directory per run, so that either side may die and be
//! replaced at any moment without the other noticing. Times are wall milliseconds only where the name says `_at_ms`;
//! all that is enforced runs on the monotonic clock.
//!
//! Deliberately absent: policy, sockets, cluster words. The privileged half is the binary of this package; what of it
//! needs no rights (the clock of a limit, the making of a command line, finding processes) is here, to be tested alone.
#![forbid(unsafe_code)]

mod adopt;
pub mod clock;
mod command;
pub mod line;
pub mod notice;
mod order;
pub mod proc;
mod record;
mod rundir;
pub mod tree;

pub use adopt::{Adopted, KeeperHandle, SendError, remove_tree, send, spawn_keeper};
pub use command::{Command, CommandError, Target, signal_name, signal_number};
pub use notice::Notices;
pub use order::{CgroupOrder, Identity, OpenMode, RunOrder, WarnSignal};
pub use record::{ExitRecord, Outcome, StartRecord, Usage};
pub use rundir::{Durability, RunDir, write_atomic};
pub use tree::{kill_cgroup, kill_leftovers};

/// Bytes of output that a keeper copies into [`RunDir::tail`] at the end of a run.
pub const TAIL_BYTES: u64 = 1024 * 1024;
/// Milliseconds within which every process of a run is dead after its main process has ended.
/// A step daemon that is there then has [`STEPS_LAST_MS`] before that for its last words.
pub const END_ALL_WITHIN_MS: u64 = 5_000;
/// Milliseconds that a step daemon has, after the main process has ended, to end its tasks and tell of them.
pub const STEPS_LAST_MS: u64 = 3_000;
/// Exit code of `pcluster-keeper run` when the run has a start or exit record already: nothing was spawned.
pub const EXIT_ALREADY_STARTED: u8 = 17;
/// Exit code of `pcluster-keeper run` when the order was written for another boot of this machine: nothing was spawned.
pub const EXIT_OTHER_BOOT: u8 = 18;
/// Exit code of `pcluster-keeper run` when the order is missing, unreadable or not the agent's own: nothing was spawned.
pub const EXIT_BAD_ORDER: u8 = 19;
