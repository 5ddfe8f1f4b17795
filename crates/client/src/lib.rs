//! What the commands share, whatever name they are called by: which head is meant, what travels
//! with a submitted script, and how failures are said.
//!
//! Invariant: nothing here knows a command. Deliberately absent: the options of `pcluster` (`cli`)
//! and Slurm's words (`slurm`).
pub mod cluster;
pub mod config_file;
pub mod failure;
pub mod known;
pub mod look;
pub mod placed;
pub mod private;
pub mod say;
pub mod submit;
pub mod terminal;
pub mod text;
