//! Free space under the state directory, and the ballast that buys a way out of a full disk.
//!
//! Invariant: what a full disk leaves is for ends, cancels and terminations. New jobs go without
//! first, then what is kept of outputs, then lines of the log; the ballast is thrown off at last.
use crate::limits;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Free bytes of a folder's disk, as last seen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskWatch {
    folder: Arc<Path>,
    free_bytes: Arc<AtomicU64>,
}

impl DiskWatch {
    /// Looks once.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let watch = Self { folder: folder.into(), free_bytes: Arc::new(AtomicU64::new(u64::MAX)) };
        watch.look();
        watch
    }

    /// A disk with this much free.
    #[cfg(test)]
    pub(crate) fn with_free(bytes: u64) -> Self {
        Self { folder: Path::new("").into(), free_bytes: Arc::new(AtomicU64::new(bytes)) }
    }

    /// Looks again. A folder that cannot be asked says nothing.
    pub fn look(&self) {
        if let Some(free) = free_of(&self.folder) {
            self.free_bytes.store(free, Ordering::Relaxed);
        }
    }

    /// Free bytes as last seen.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Free bytes, when they are too few for new work.
    #[must_use]
    pub fn low(&self) -> Option<u64> {
        let free = self.free_bytes();
        (free < limits::LOW_DISK_BYTES).then_some(free)
    }
}

/// What is free for this user where `folder` lies.
pub(crate) fn free_of(folder: &Path) -> Option<u64> {
    let seen = rustix::fs::statvfs(folder).ok()?;
    Some(seen.f_bavail.saturating_mul(seen.f_frsize))
}

fn ballast_of(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("ballast")
}

/// Gives the ballast up when the disk is full. True when that made room.
///
/// # Errors
/// When it cannot be removed.
pub fn make_room(state_dir: &Path) -> io::Result<bool> {
    if free_of(state_dir).is_none_or(|free| free >= limits::BALLAST_BYTES) {
        return Ok(false);
    }
    match fs::remove_file(ballast_of(state_dir)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Throws the ballast off on a full disk, and makes it again where there is room for more. Returns
/// what to tell people: that there is none.
///
/// # Errors
/// Only what has nothing to do with a full disk.
pub fn ballast(state_dir: &Path) -> io::Result<Option<String>> {
    make_room(state_dir)?;
    let path = ballast_of(state_dir);
    let is_whole = || fs::metadata(&path).is_ok_and(|seen| seen.len() == limits::BALLAST_BYTES);
    let enough = limits::LOW_DISK_BYTES + limits::BALLAST_BYTES;
    if !is_whole() && free_of(state_dir).is_none_or(|free| free >= enough) {
        match fill(&path) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let _ = fs::remove_file(&path);
            }
            other => other?,
        }
    }
    let none = "the disk is nearly full: the ballast is thrown off";
    Ok((!is_whole()).then(|| none.to_owned()))
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    // Not zeros: a file system that compresses would store nothing.
    let mut block = vec![0_u8; 1 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in &mut block {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = state.to_be_bytes()[0];
    }
    for _ in 0..limits::BALLAST_BYTES >> 20 {
        file.write_all(&block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_ballast_is_made_where_there_is_room_and_kept() {
        let scratch = Scratch::new("ballast");
        let enough = limits::LOW_DISK_BYTES + limits::BALLAST_BYTES;
        if free_of(scratch.path()).is_none_or(|free| free < 2 * enough) {
            return;
        }
        assert_eq!(ballast(scratch.path()).unwrap(), None);
        let length = fs::metadata(ballast_of(scratch.path())).unwrap().len();
        assert_eq!(length, limits::BALLAST_BYTES);
        assert!(!make_room(scratch.path()).unwrap(), "it is not full");
        assert_eq!(ballast(scratch.path()).unwrap(), None);
    }

    #[test]
    fn a_folder_that_cannot_be_asked_is_not_full() {
        let nowhere = DiskWatch::of(Path::new("/nowhere/at/all"));
        assert_eq!((nowhere.low(), nowhere.free_bytes()), (None, u64::MAX));
        assert!(DiskWatch::with_free(limits::LOW_DISK_BYTES - 1).low().is_some());
    }
}
