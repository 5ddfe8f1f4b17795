//! Slurm's small languages, as pure functions: text in, value out.
//!
//! Invariant: total and bounded, whatever the text; what Slurm refuses is refused. Arrays,
//! dependencies, signals and moments are shared with `pcluster submit` and live in
//! `pcluster_client::submit::words`.
pub mod constraint;
pub mod memory;
pub mod number;
pub mod time;
