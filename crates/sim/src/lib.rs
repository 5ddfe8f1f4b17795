//! The cluster in a simulated world: the real core and the real agent's brain around a fake clock,
//! network, disk and provider, with faults drawn from a seed and the invariants as checkers.
//!
//! Invariant: a seed and a mode are the whole story; nothing else decides what happens.
//! Deliberately absent: tokio, the wall clock, threads, sockets, files.
pub mod agent;
pub mod check;
pub mod cli;
pub mod cloud;
pub mod extras;
pub mod faults;
pub mod gremlin;
pub mod hands;
pub mod head;
pub mod keeper;
pub mod market;
pub mod narrate;
pub mod net;
pub mod out;
pub mod plant;
pub mod procs;
pub mod prune;
pub mod rng;
pub mod scenario;
pub mod seen;
pub mod standing;
pub mod still;
pub mod store;
pub mod story;
pub mod trace;
pub mod users;
pub mod world;

use check::{Check, Violation};
use plant::Plant;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Figures, Mode, World};

/// What came of one seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub mode: Mode,
    pub figures: Figures,
    /// The first law that was broken.
    pub verdict: Result<(), Violation>,
}

/// Runs one seed under some checkers.
#[must_use]
pub fn run_seed(seed: u64, mode: Mode, plant: Plant, checks: Vec<Box<dyn Check>>) -> Outcome {
    let mut world = World::new(seed, mode, plant, checks);
    let verdict = run_world(&mut world);
    Outcome { seed, mode, figures: world.figures, verdict }
}

/// Runs a world to its end; a panic of the core is a violation like any other.
///
/// # Errors
/// The first law that was broken.
pub fn run_world(world: &mut World) -> Result<(), Violation> {
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let words = format!("panic: {}", text.unwrap_or_default());
        Err(Violation { number: 0, at: world.now, words })
    })
}

/// The one command that replays a seed.
#[must_use]
pub fn replay_command(seed: u64, mode: Mode, plant: Plant) -> String {
    let plant = plant.word().map_or_else(String::new, |word| format!(" --plant {word}"));
    format!("cargo run -p pcluster-sim -- replay --seed {seed} --mode {}{plant}", mode.word())
}
