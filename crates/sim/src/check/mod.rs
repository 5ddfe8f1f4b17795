//! The invariants as checkers over the world's own view: machines, processes, bills, promises and the
//! log. Invariant: a checker reads and never changes the world. Deliberately absent: any use of the
//! core's own bookkeeping where the world knows better.
mod capacity;
mod caps;
mod effects;
mod foretold;
mod gangs;
mod instances;
mod intents;
mod ledger;
mod limits;
pub mod liveness;
pub mod order;
mod orphans;
mod outcomes;
mod promises;
mod replay;
mod restarts;
mod runs;
mod stale;
mod standing;
mod survivors;
mod trace;

use crate::world::World;
use pcluster_core::Job;
use pcluster_model::{JobId, Timestamp};
use std::fmt;

/// An invariant that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// As in `docs/reliability.md`; 0 is `Cluster::check`, a panic, or a core that never rests.
    pub number: u8,
    pub at: Timestamp,
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}: {}", self.number, self.words)
    }
}

/// One invariant.
pub trait Check: fmt::Debug {
    /// Its number.
    fn number(&self) -> u8;

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

/// Checkers of everything that one run can judge; I18 needs two runs.
#[must_use]
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(promises::Promises::default()),
        Box::new(runs::Runs::default()),
        Box::new(stale::Stale::default()),
        Box::new(outcomes::Outcomes::default()),
        Box::new(instances::Instances::default()),
        Box::new(orphans::Orphans::default()),
        Box::new(intents::Intents::default()),
        Box::new(restarts::Restarts),
        Box::new(survivors::Survivors),
        Box::new(ledger::Bills::default()),
        Box::new(standing::Standings),
        Box::new(limits::Limits::default()),
        Box::new(order::Order),
        Box::new(foretold::Foretold::default()),
        Box::new(capacity::Capacity),
        Box::new(gangs::Gangs::default()),
        Box::new(caps::Caps::default()),
        Box::new(liveness::Liveness::default()),
        Box::new(replay::Replay::default()),
        Box::new(effects::Sweep),
    ]
}

/// The checker of one invariant alone.
#[must_use]
pub fn only(number: u8) -> Vec<Box<dyn Check>> {
    all().into_iter().filter(|check| check.number() == number).collect()
}

pub use trace::same_trace;

/// The place of a job in its pool's queue.
fn turn(job: &Job) -> (i64, JobId) {
    (-job.spec.priority, job.id)
}
