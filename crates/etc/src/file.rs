//! Replacing a file that others change, too.
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Others hold the lock for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// That of `lckpwdf`, which `useradd` and `vipw` take.
const LOCK: &str = ".pwd.lock";

/// A file that cannot be read, locked or replaced.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct EtcError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl EtcError {
    pub(crate) fn of(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { doing, path, source }
    }
}

/// Locks of `fcntl` are of a process: its threads take turns by this one.
static TURN: Mutex<()> = Mutex::new(());

/// While it lives, nobody who asks for it changes the files of a folder.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    _file: File,
    _turn: MutexGuard<'static, ()>,
}

impl Lock {
    /// Waits for it, a few seconds.
    ///
    /// # Errors
    /// When somebody holds it for longer, or the folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self, EtcError> {
        let path = folder.join(LOCK);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let opened =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(EtcError::of("open", &path))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { folder: folder.into(), _file: file, _turn: turn }),
                Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(errno) => return Err(EtcError::of("lock", &path)(errno.into())),
            }
        }
    }

    /// What is in a file of the folder; `None` where it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EtcError> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EtcError::of("read", &path)(error)),
        }
    }

    /// Puts `bytes` in the place of a file of the folder, with the owner and mode of the one before.
    ///
    /// # Errors
    /// When it cannot; the file of before is there then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), EtcError> {
        // A link may lead to where the file really is, which keeps it a link.
        let path = self.folder.join(name);
        let path = fs::canonicalize(&path).unwrap_or(path);
        replace(&path, bytes).map_err(EtcError::of("replace", &path))
    }
}

/// Puts `bytes` in a file that is ours alone.
///
/// # Errors
/// When it cannot; the file of before is there then.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), EtcError> {
    replace(path, bytes).map_err(EtcError::of("write", path))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".pcluster-new");
    let draft = PathBuf::from(draft);
    // One of a process that was killed here.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = fill(&draft, path, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft));
        return written;
    }
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn fill(draft: &Path, like: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    let mode = match fs::metadata(like) {
        Ok(meta) => {
            std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
            meta.permissions().mode() & 0o7777
        }
        Err(_) => 0o644,
    };
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_data()
}
