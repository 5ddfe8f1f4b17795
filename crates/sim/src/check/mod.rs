//! The laws as checkers over the world's own view: machines, processes, bills, promises and the
//! log. Invariant: a checker reads and never changes the world. Deliberately absent: any use of the
//! core's own bookkeeping where the world knows better.
mod capacity;
mod caps;
mod effects;
mod instances;
mod ledger;
pub mod liveness;
mod promises;
mod replay;
mod runs;
mod trace;

use crate::world::World;
use pcluster_model::Timestamp;
use std::fmt;

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// 1 to 10; 0 is `Cluster::check`, a panic, or a core that never rests.
    pub law: u8,
    pub at: Timestamp,
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "law {}: {}", self.law, self.words)
    }
}

/// One law.
pub trait Check: fmt::Debug {
    /// Its number.
    fn law(&self) -> u8;

    /// Called after every step.
    ///
    /// # Errors
    /// What is broken, in words.
    fn step(&mut self, world: &World) -> Result<(), String>;

    /// Called once, when the world has ended.
    ///
    /// # Errors
    /// What is broken, in words.
    fn end(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
}

/// Checkers of all laws that one run can judge; law 10 needs two runs.
#[must_use]
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(capacity::Capacity),
        Box::new(runs::Runs::default()),
        Box::new(promises::Promises::default()),
        Box::new(instances::Instances::default()),
        Box::new(ledger::Bills::default()),
        Box::new(liveness::Liveness::default()),
        Box::new(caps::Caps::default()),
        Box::new(replay::Replay::default()),
        Box::new(effects::Sweep),
    ]
}

/// The checker of one law alone.
#[must_use]
pub fn only(law: u8) -> Vec<Box<dyn Check>> {
    all().into_iter().filter(|check| check.law() == law).collect()
}

pub use trace::same_trace;
