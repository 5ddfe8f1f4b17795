//! Which GPUs of this node each run has, by index.
//!
//! Invariant: no two living runs have the same one. What a run has lies in its order, where a
//! restarted agent finds it. Deliberately absent: keeping a program from devices it was not given.
use pcluster_model::RunId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// The GPUs in use.
#[derive(Debug, Default)]
pub struct Gpus {
    held: Mutex<BTreeMap<RunId, Vec<u32>>>,
}

impl Gpus {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<RunId, Vec<u32>>) -> T) -> T {
        work(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The lowest free ones for a run; those it has, if it was asked for before.
    pub fn take(&self, run: RunId, count: u32) -> Vec<u32> {
        self.with(|held| {
            if let Some(own) = held.get(&run) {
                return own.clone();
            }
            let used: BTreeSet<u32> = held.values().flatten().copied().collect();
            let free = (0..).filter(|index| !used.contains(index));
            let own: Vec<u32> = free.take(usize::try_from(count).unwrap_or(0)).collect();
            held.insert(run, own.clone());
            own
        })
    }

    /// A run of an earlier agent has these.
    pub fn found(&self, run: RunId, own: Vec<u32>) {
        self.with(|held| held.insert(run, own));
    }

    /// Nothing of this run uses any.
    pub fn give_back(&self, run: RunId) {
        self.with(|held| held.remove(&run));
    }
}

/// A list of indexes as it stands in the environment of a run.
pub fn read(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_runs_have_the_same_and_free_ones_are_used_again() {
        let gpus = Gpus::default();
        gpus.found(RunId(9), read("1"));
        assert_eq!(gpus.take(RunId(1), 2), [0, 2]);
        assert_eq!(gpus.take(RunId(1), 2), [0, 2], "asked for again");
        assert_eq!(gpus.take(RunId(2), 1), [3]);
        gpus.give_back(RunId(1));
        assert_eq!(gpus.take(RunId(3), 3), [0, 2, 4]);
        assert!(gpus.take(RunId(4), 0).is_empty());
    }
}
