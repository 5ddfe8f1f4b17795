//! From a script and options to a request that the head takes.
//!
//! Invariant: everything a person can get wrong is refused here with the mending command, before
//! anything is sent. Deliberately absent: what only the head knows (pools, shapes, users, money).
pub mod directives;
pub mod options;
pub mod spec;

pub use pcluster_client::submit::{environment, process, script, words};
