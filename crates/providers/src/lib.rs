//! Where machines come from: one trait, its conformance suite, and the providers.
//!
//! Invariant: a provider holds no cluster state and no retry policy; it does one call and says in
//! one of the `ErrorClass`es how it went. Deliberately absent: choices (a `LaunchOrder` holds
//! everything) and back-off (core owns it).
pub mod checkup;
pub mod conformance;
pub mod ec2;
pub mod external;
mod local;
pub mod process;
mod provider;
pub mod vm;

pub use provider::*;
