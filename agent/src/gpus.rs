//! Which GPUs of this node each run has, by index.
//!
//! Invariant: no two living runs have the same one. What a run has lies in its order, where a
//! restarted agent finds it. Deliberately absent: keeping a program from devices it was not given (the
//! cage does that where it can).
mod claim;
mod found;

pub use found::{Found, Gpu, numbers};

use crate::node_dir::NodeDir;
use pcluster_model::{Resources, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What this node has of its machine, written by whoever claimed it.
const FILE: &str = "gpus.json";

/// The GPUs of this node, and those in use.
#[derive(Debug, Default)]
pub struct Gpus {
    own: Vec<Gpu>,
    /// Of the same machine.
    others: Vec<Gpu>,
    held: Mutex<BTreeMap<RunId, Vec<u32>>>,
}

impl Gpus {
    /// None in use.
    pub fn new(found: Found) -> Self {
        Self { own: found.gpus, others: found.others, held: Mutex::default() }
    }

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
            let free = self.own.iter().map(|gpu| gpu.index).filter(|index| !used.contains(index));
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

    /// The device files of all GPUs of this machine but these of the node.
    pub fn files_but(&self, own: &[u32]) -> Vec<PathBuf> {
        let others = self.own.iter().filter(|gpu| !own.contains(&gpu.index));
        others.chain(&self.others).flat_map(|gpu| gpu.files.clone()).collect()
    }
}

/// A list of indexes as it stands in the environment of a run.
pub fn read(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|word| word.parse().ok()).collect()
}

/// The model of a node's GPUs, where they are alike.
pub fn kind_of(gpus: &[Gpu]) -> String {
    let first = gpus.first().map_or("", |gpu| gpu.kind.as_str());
    let alike = gpus.iter().all(|gpu| gpu.kind == first);
    if alike { first.to_owned() } else { String::new() }
}

/// The GPUs of a node that shares its machine with others, locked for as long as the answer lives and
/// all that inherits it; told to the agent by a file. A node that was promised none looks for none.
pub fn claim(dir: &NodeDir, limit: Option<Resources>) -> std::io::Result<Option<claim::Locks>> {
    let Some(count) = limit.map(|limit| limit.gpus).filter(|count| *count > 0) else {
        return Ok(None);
    };
    let found = found::find(Path::new("/"), found::ask);
    let (own, locks) = claim::claim(Path::new("/tmp"), found, count);
    dir.write(FILE, &own)?;
    Ok(Some(locks))
}

/// The GPUs of this node: what its machine process claimed, or all of a machine of its own.
pub fn of_node(dir: &NodeDir, limit: Option<Resources>, say: impl FnMut(&str)) -> Found {
    if limit.is_some_and(|limit| limit.gpus == 0) {
        return Found::default();
    }
    // Without a machine process of ours the whole machine is this node's.
    let claimed: Option<Found> = dir.read(FILE).ok().flatten();
    let found = claimed.unwrap_or_else(|| found::find(Path::new("/"), found::ask));
    found.notes.iter().map(String::as_str).for_each(say);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32) -> Gpu {
        let files = vec![PathBuf::from(format!("/dev/nvidia{index}"))];
        Gpu { index, bus: String::new(), kind: "t4".into(), files }
    }

    #[test]
    fn no_two_runs_have_the_same_and_free_ones_are_used_again() {
        let gpus = Gpus::new(Found { gpus: (0..6).map(gpu).collect(), ..Found::default() });
        gpus.found(RunId(9), read("1"));
        assert_eq!(gpus.take(RunId(1), 2), [0, 2]);
        assert_eq!(gpus.take(RunId(1), 2), [0, 2], "asked for again");
        assert_eq!(gpus.take(RunId(2), 1), [3]);
        gpus.give_back(RunId(1));
        assert_eq!(gpus.take(RunId(3), 3), [0, 2, 4]);
        assert!(gpus.take(RunId(4), 0).is_empty());
    }

    #[test]
    fn a_node_gives_only_what_is_its_own() {
        let (own, others) = (vec![gpu(2), gpu(5)], vec![gpu(7)]);
        let gpus = Gpus::new(Found { gpus: own, others, notes: Vec::new() });
        assert_eq!(gpus.take(RunId(1), 1), [2]);
        assert_eq!(gpus.take(RunId(2), 3), [5], "the head counts; a node has no more than it has");
        assert_eq!(gpus.files_but(&[2]), ["/dev/nvidia5", "/dev/nvidia7"].map(PathBuf::from));
        assert_eq!(gpus.files_but(&[]).len(), 3);
    }

    #[test]
    fn a_node_of_two_models_is_of_none() {
        let mut other = gpu(1);
        assert_eq!(kind_of(&[gpu(0), other.clone()]), "t4");
        other.kind = "a100".into();
        assert_eq!(kind_of(&[gpu(0), other]), "");
        assert_eq!(kind_of(&[]), "");
    }
}
