//! The one door to the head: requests, responses and problems of its HTTP interface.
//!
//! Invariant: every face (the `pcluster` command, later the Slurm names and the dashboard) speaks
//! only these types. Times are milliseconds since the epoch in UTC, money is micro-dollars.
//! Deliberately absent: core types (views are built from them in one place, `headnode`).
#[cfg(feature = "client")]
pub mod client;
mod doctor;
pub mod places;
mod placing;
mod problem;
pub mod rates;
mod record;
mod request;
pub mod seats;
mod step;
mod view;

pub use doctor::{DoctorView, Finding, Level, Topic};
pub use placing::{HeadMachineView, HeadRemovedView, HeadThereView, HeadVolumeView};
pub use problem::{Problem, ProblemKind};
pub use record::*;
pub use request::*;
pub use step::*;
pub use view::*;

/// Prefix of every path of this version.
pub const V1: &str = "/v1";
/// A request body larger than this is refused, in bytes (script and environment included).
pub const MAX_BODY_BYTES: usize = 24 << 20;
/// Script and environment together at most, in bytes.
pub const MAX_BLOBS_BYTES: usize = 16 << 20;
/// A script at most, in bytes.
pub const MAX_SCRIPT_BYTES: usize = 4 << 20;
/// An environment at most, in bytes.
pub const MAX_ENVIRONMENT_BYTES: usize = 1 << 20;
