//! I18: the same seed twice gives the same trace.
use crate::plant::Plant;
use crate::world::Mode;

/// Runs a seed twice and compares the hashes of the traces.
///
/// # Errors
/// The two hashes, when they differ.
pub fn same_trace(seed: u64, mode: Mode, plant: Plant) -> Result<(), String> {
    let first = crate::run_seed(seed, mode, plant, Vec::new());
    let second = crate::run_seed(seed, mode, plant, Vec::new());
    let (first, second) = (first.figures.trace, second.figures.trace);
    if first == second {
        return Ok(());
    }
    Err(format!("the traces of seed {seed} are {first:016x} and {second:016x}"))
}
