//! Free space under the state directory, and the ballast that buys a way out of a full disk.
use crate::limits;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Free bytes as last seen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskWatch {
    free_bytes: Arc<AtomicU64>,
}

impl DiskWatch {
    /// Looks once.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let watch = Self { free_bytes: Arc::new(AtomicU64::new(u64::MAX)) };
        watch.look(folder);
        watch
    }

    /// A disk with this much free.
    #[cfg(test)]
    pub(crate) fn with_free(bytes: u64) -> Self {
        Self { free_bytes: Arc::new(AtomicU64::new(bytes)) }
    }

    /// Looks again. A folder that cannot be asked says nothing.
    pub fn look(&self, folder: &Path) {
        if let Ok(seen) = rustix::fs::statvfs(folder) {
            self.free_bytes.store(seen.f_bavail.saturating_mul(seen.f_frsize), Ordering::Relaxed);
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

/// Keeps the ballast file, or gives it up when the disk is full. Returns what to tell people.
///
/// # Errors
/// Only what has nothing to do with a full disk.
pub fn ballast(state_dir: &Path) -> io::Result<Option<String>> {
    let path = state_dir.join("ballast");
    let full = DiskWatch::of(state_dir).free_bytes() < limits::BALLAST_BYTES;
    if full {
        return match fs::remove_file(&path) {
            Ok(()) => Ok(Some("the disk is full: the ballast was thrown off".into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
    }
    if fs::metadata(&path).is_ok_and(|seen| seen.len() == limits::BALLAST_BYTES) {
        return Ok(None);
    }
    match fill(&path) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            let _ = fs::remove_file(&path);
            Ok(None)
        }
        other => other.map(|()| None),
    }
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
