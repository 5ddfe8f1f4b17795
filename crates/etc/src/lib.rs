//! Files below `/etc` that pcluster adds to: accounts of the users of jobs (`accounts`, on nodes), and names
//! of nodes (`hosts`, on nodes and on the head).
//!
//! Invariant: what somebody else wrote stays, byte for byte and in its order. A file is replaced as a whole,
//! with its owner and mode, under the lock that the system's own tools take: whoever reads finds the old
//! one or the new one. Where `/etc` is, the caller says. Deliberately absent: which accounts, which names.
pub mod accounts;
mod file;
pub mod hosts;

pub use file::{EtcError, Lock, put};
