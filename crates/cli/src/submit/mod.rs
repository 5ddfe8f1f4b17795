//! From a script and options to a request that the head takes.
//!
//! Invariant: everything a person can get wrong is refused here with the mending command, before
//! anything is sent. Deliberately absent: what only the head knows (pools, shapes, users, money).
pub mod directives;
pub mod environment;
pub mod options;
pub mod process;
pub mod script;
pub mod spec;
pub mod words;
