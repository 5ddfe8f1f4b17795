//! The pure cluster: inputs become events, events become state, state becomes outstanding effects.
//!
//! `decide` looks and says what happens, `apply` is the only mutator of truth, planners propose
//! events. Invariant: the state is a function of the log (I16). Deliberately absent: clocks,
//! random numbers, floats, I/O, log output, and the order of a hash map; `no_std` makes most of
//! that absence a compile error.
#![no_std]
extern crate alloc;

pub mod agent;
mod apply;
mod cluster;
mod decide;
pub mod effect;
mod effects;
pub mod event;
mod forget;
pub mod input;
pub mod job;
pub mod learned;
pub mod ledger;
pub mod limits;
pub mod money;
pub mod node;
mod note;
pub mod own;
pub mod plan;
mod pump;
pub mod reason;
pub mod reply;
pub mod rows;
pub mod shares;
pub mod standing;
pub mod step;
mod timers;
mod volatile;

pub use apply::share;
pub use cluster::{Closing, Cluster, Meta};
pub use decide::Decision;
pub use effect::{Effect, EffectKey, Order, Told};
pub use event::{Event, Stamped};
pub use input::{AgentSaid, Input, Principal, ProviderSaid, Request};
pub use job::{Job, Outcome, Run};
pub use node::{Node, NodeState};
pub use pump::{Committed, Prepared, Released};
pub use reply::{Rejection, RejectionKind, Reply};
pub use volatile::{Link, ListState, Volatile};

#[cfg(test)]
mod tests;
