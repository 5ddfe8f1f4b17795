//! Small disks of a test: file systems in memory that can be filled to the last byte.
//!
//! Invariant: nothing is written but below the mount point, and the mount goes with the value.
//! Deliberately absent: errors of a disk (`strace` makes those).
use crate::{clients, people, skip};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a disk is filled with, below its mount point.
const FILLER: &str = "filler";

/// Whether a disk can be mounted here: tried once, since all tests of this process ask at one path.
static MOUNTS: OnceLock<bool> = OnceLock::new();

/// A file system of its own, unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// True where disks can be made; otherwise it is said what is not tested.
    #[must_use]
    pub fn can_be_made(what: &str) -> bool {
        if !people::is_root() {
            skip(&format!("{what}: only root can mount a small disk"));
            return false;
        }
        if !clients::have(&["mount", "umount"]) {
            return false;
        }
        let mounts = *MOUNTS.get_or_init(Self::can_be_mounted);
        if !mounts {
            skip(&format!("{what}: nobody may mount here"));
        }
        mounts
    }

    fn can_be_mounted() -> bool {
        let probe = std::env::temp_dir().join(format!("pct-disk-{}", std::process::id()));
        let made = Self::at(&probe, 1).is_some();
        let _ = fs::remove_dir(&probe);
        made
    }

    /// Mounts one of so many megabytes at `path`, which is made.
    #[must_use]
    pub fn at(path: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(path).ok()?;
        let size = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "pcluster-test"]).arg(path);
        let mounted = mount.output().is_ok_and(|said| said.status.success());
        mounted.then(|| Self { path: path.to_path_buf() })
    }

    /// Bytes that can still be written.
    ///
    /// # Panics
    /// When the kernel does not say.
    #[must_use]
    pub fn free(&self) -> u64 {
        let seen = rustix::fs::statvfs(&self.path).expect("it is mounted");
        seen.f_bavail * seen.f_frsize
    }

    /// Writes until so many bytes are free; to the very last for 0.
    ///
    /// # Panics
    /// When the disk refuses for another reason than that it is full.
    pub fn fill(&self, left: u64) {
        let mut options = OpenOptions::new();
        let mut file = match options.append(true).create(true).open(self.path.join(FILLER)) {
            Ok(file) => file,
            // No room for its name any more.
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("cannot fill {}: {error}", self.path.display()),
        };
        let block = vec![0x5a_u8; 64 << 10];
        loop {
            let more = self.free().saturating_sub(left);
            let most = usize::try_from(more).unwrap_or(usize::MAX).min(block.len());
            if most == 0 {
                return;
            }
            match file.write(&block[..most]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("cannot fill {}: {error}", self.path.display()),
            }
        }
    }

    /// Gives back what was filled.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn clear(&self) {
        fs::remove_file(self.path.join(FILLER)).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open there keeps it to itself.
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}
