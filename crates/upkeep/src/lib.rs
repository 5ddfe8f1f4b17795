//! The state directory of a cluster: what lies in it, and what admins do to it: check it, copy it while
//! the head runs, bring a copy back, make the rows anew from the log.
//!
//! Invariant: whatever breaks off leaves the state as it was; a copy has its name only when it is whole
//! and checked. What writes takes the head's own lock. Deliberately absent: the head's socket, and
//! what a state means (`pcluster-core` says).
mod backup;
pub mod blobs;
mod command;
pub mod files;
mod incident;
mod quick;
mod verify;

pub use backup::{backup, rebuild, restore};
pub use command::{Command, main};
pub use files::{Lock, LockError, UpkeepError};
pub use incident::{Incident, incident};
pub use quick::{Quick, quick};
pub use verify::{Report, verify};

#[cfg(test)]
mod tests;
