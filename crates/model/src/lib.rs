//! The nouns of pcluster, shared by every room: ids, units, what a job asks for, what a machine
//! offers, and the validated configuration.
//!
//! Invariant: values here are valid by construction or by the parser that made them; nobody
//! re-checks them downstream. Deliberately absent: I/O, clocks, random numbers, states of jobs and
//! nodes (those live in `pcluster-core`). `no_std` makes that absence a compile error.
#![no_std]
extern crate alloc;

pub mod config;
pub mod id;
pub mod job;
pub mod money;
pub mod pattern;
pub mod ranges;
pub mod resources;
mod subnet;
pub mod time;
pub mod units;

pub use id::{
    BlobHash, ClusterId, InstanceRef, JobId, LaunchId, NodeId, PoolName, RunId, UserName,
};
pub use job::{
    ArraySpec, Dependency, DependencyKind, JobKind, JobSpec, MailEvent, OpenMode, Signal,
    SignalScope, WarnSignal,
};
pub use money::{MicroUsd, Price, STORAGE_GB_MONTH};
pub use ranges::IndexRanges;
pub use resources::{Resources, Shape};
pub use subnet::Subnet;
pub use time::{DurationMs, Timestamp};
