//! The files of a state directory, and the lock that its head holds.
//!
//! Invariant: head and upkeep know each file by the one name that stands here.
use pcluster_store::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The log with its rows.
pub const EVENTS: &str = "events.db";
/// Scripts and environments by their hashes.
pub const BLOBS: &str = "blobs";
/// Which cluster it is: known from before the first event on.
pub const CLUSTER_ID: &str = "cluster-id";
/// What join tokens are made of.
pub const SECRET: &str = "secret";
/// The head's key, and the certificate that nodes pin.
pub const HEAD_KEY: &str = "head-key.der";
pub const HEAD_CERTIFICATE: &str = "head-cert.der";
/// Where nodes were told to dial; a head without one finds a port.
pub const NODE_ADDRESS: &str = "node-address";
/// Files beside the log without which nodes do not know their head again.
pub(crate) const SMALL: [&str; 5] = [CLUSTER_ID, SECRET, HEAD_KEY, HEAD_CERTIFICATE, NODE_ADDRESS];
const LOCK: &str = "head.lock";
/// A number is written over the one before it.
const LOCK_BYTES: usize = 10;

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

/// The head's lock. The kernel lets go of it at the end of the value or of the process, whatever the
/// end.
#[derive(Debug)]
pub struct Lock(File);

/// Why the lock is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it; what is written in it, which is the number of the last head.
    #[error("it is taken")]
    Taken { holder: String },
    #[error("cannot open {}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let path = Self::path(state);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|cause| LockError::Io { path, cause })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Self(file));
        }
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        Err(LockError::Taken { holder: holder.trim().to_owned() })
    }

    /// Writes the number of this process into it: it is the head.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn name_holder(&mut self) -> io::Result<()> {
        self.0.rewind()?;
        // Over what is there: a full disk has no room for a file that was emptied first.
        let number = format!("{:<LOCK_BYTES$}", std::process::id());
        self.0.write_all(number.as_bytes())?;
        self.0.set_len(number.len() as u64)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join(LOCK)
    }
}

/// As `Lock::take`, for what needs the head to be down.
pub(crate) fn without_head(state: &Path) -> Result<Lock, UpkeepError> {
    Lock::take(state).map_err(|error| match error {
        LockError::Taken { .. } => UpkeepError::Busy(state.to_path_buf()),
        LockError::Io { path, cause } => UpkeepError::Io { what: "open", path, cause },
    })
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
