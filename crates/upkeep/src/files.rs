//! The files of a state directory, and the lock that its head holds.
use pcluster_store::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The log with its rows.
pub(crate) const EVENTS: &str = "events.db";
/// Scripts and environments by their hashes.
pub(crate) const BLOBS: &str = "blobs";
/// Files beside the log without which nodes do not know their head again. The first two must be there.
pub(crate) const SMALL: [&str; 5] =
    ["cluster-id", "secret", "head-key.der", "head-cert.der", "node-address"];
const LOCK: &str = "head.lock";

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("cannot {what} {}: {cause}", path.display())]
    Io { what: &'static str, path: PathBuf, cause: io::Error },
    #[error("a head has {}: pcluster down, then once more", .0.display())]
    Busy(PathBuf),
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("{} holds no state of a cluster: there is no {EVENTS}", .0.display())]
    NoState(PathBuf),
    #[error("{0}")]
    Wrong(String),
}

pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UpkeepError {
    move |cause| UpkeepError::Io { what, path: path.to_path_buf(), cause }
}

/// The head's lock; it is let go of at the end of the value.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// `Busy` when a head has it.
    pub fn take(state: &Path) -> Result<Self, UpkeepError> {
        let path = state.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(_) => Err(UpkeepError::Busy(state.to_path_buf())),
        }
    }
}

/// A folder for its owner alone, which must not be there yet.
pub(crate) fn make_folder(path: &Path) -> Result<(), UpkeepError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(io("make", path))
}

/// Copies a file for its owner alone, to disk.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), UpkeepError> {
    let mut source = File::open(from).map_err(io("read", from))?;
    let mut options = OpenOptions::new();
    let mut target =
        options.write(true).create_new(true).mode(0o600).open(to).map_err(io("make", to))?;
    io::copy(&mut source, &mut target).map_err(io("write", to))?;
    target.sync_all().map_err(io("write", to))
}

/// What a folder holds is on disk by name.
pub(crate) fn sync(folder: &Path) -> Result<(), UpkeepError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io("write", folder))
}

/// The log of a state directory.
pub(crate) fn events_of(state: &Path) -> Result<PathBuf, UpkeepError> {
    let path = state.join(EVENTS);
    if path.is_file() { Ok(path) } else { Err(UpkeepError::NoState(state.to_path_buf())) }
}
