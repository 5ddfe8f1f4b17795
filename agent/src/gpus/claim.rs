//! GPUs of a machine that is divided among several nodes: each node has its own, and nobody else does.
//!
//! Invariant: a node's GPUs are locked by files that its machine process opens and that agent and keepers
//! inherit, so a lock dies with the last of them. The files are one for each GPU of the machine, whatever
//! cluster or user the node is of. Deliberately absent: nodes that have no view of this machine's `/tmp`.
use super::found::Found;
use crate::cage::plain;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The locks of a node's GPUs: held for as long as this lives, and by all who inherit them.
#[derive(Debug)]
pub struct Locks {
    held: Vec<OwnedFd>,
}

impl Locks {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.held.len()
    }
}

/// Takes so many GPUs that no other node has; fewer where there are no more, with a note that says so.
pub fn claim(folder: &Path, found: Found, count: u32) -> (Found, Locks) {
    let Found { gpus: all, mut others, mut notes } = found;
    let (mut own, mut locks, mut taken) = (Vec::new(), Vec::new(), 0);
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    for gpu in all {
        if own.len() >= wanted {
            others.push(gpu);
            continue;
        }
        match lock(&folder.join(format!("pcluster-gpu-{}.lock", gpu.bus))) {
            Ok(Some(held)) => {
                locks.push(held);
                own.push(gpu);
                continue;
            }
            Ok(None) => taken += 1,
            Err(error) => {
                notes.push(format!("the GPU at {} cannot be locked: {}", gpu.bus, plain(&error)));
            }
        }
        others.push(gpu);
    }
    if own.len() < wanted && taken > 0 {
        notes.push(format!("{taken} GPUs of this machine are other nodes'"));
    }
    (Found { gpus: own, others, notes }, Locks { held: locks })
}

/// `None`: somebody has it.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    // Of another user it may not be opened as if it were to be made.
    let file = match open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => match open(path, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Err(Errno::EXIST) => open(path, flags, Mode::empty()),
            made => made,
        },
        other => other,
    }?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    }
    fcntl_setfd(&file, FdFlags::empty())?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::super::found::Gpu;
    use super::*;
    use std::path::PathBuf;

    fn gpu(index: u32) -> Gpu {
        Gpu { index, bus: format!("0000:0{index}:00.0"), kind: "t4".into(), files: Vec::new() }
    }

    #[test]
    fn two_nodes_of_one_machine_never_have_the_same_one() {
        let folder: PathBuf = std::env::temp_dir().join(format!("pcc-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let all = || (0..4).map(gpu).collect::<Vec<_>>();
        let take = |count: u32| claim(&folder, Found { gpus: all(), ..Found::default() }, count);
        let indexes = |gpus: &[Gpu]| gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>();
        let (first, second, third) = (take(2), take(1), take(2));
        let own = [&first, &second, &third].map(|(found, _)| indexes(&found.gpus));
        assert_eq!(own, [vec![0, 1], vec![2], vec![3]]);
        assert_eq!(indexes(&second.0.others), [0, 1, 3]);
        assert!(second.0.notes.is_empty());
        assert_eq!(third.0.notes, ["3 GPUs of this machine are other nodes'"]);
        assert_eq!(first.1.count(), 2);
        drop(first);
        assert_eq!(indexes(&take(2).0.gpus), [0, 1]);
        drop(std::fs::remove_dir_all(&folder));
    }
}
