//! The agent's side: start a keeper, find it again after a restart, command it.
//!
//! Invariant: a keeper is known by its number, its start time and its boot, never by the number alone. The agent reads a
//! job's output through the keeper's open file and never resolves a path that a user controls.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::{Command, ExitRecord, RunDir, StartRecord, proc};

/// Starts `BINARY run DIR` with a cleared environment, its errors in `keeper.log` and nothing else open. The keeper
/// makes its own session and outlives the caller. The caller must reap the child (`wait`, once it is readable through
/// [`KeeperHandle::as_fd`] or its exit record is there), or leave zombies until it ends itself.
///
/// # Errors
/// When the log cannot be opened or the binary cannot be started.
pub fn spawn_keeper(binary: &Path, dir: &RunDir) -> io::Result<Child> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.log())?;
    std::process::Command::new(binary)
        .arg("run")
        .arg(dir.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

/// What is known of a run.
#[derive(Debug)]
pub enum Adopted {
    /// A keeper holds it.
    Alive(KeeperHandle),
    /// It ended; this is how.
    Ended(ExitRecord),
    /// A keeper started and is gone without a word, or the machine has rebooted since. Before reporting, call
    /// [`crate::kill_cgroup`] and [`crate::kill_leftovers`].
    Lost(StartRecord),
    /// No keeper has started (one that was spawned a moment ago may still).
    NotStarted,
}

/// A living keeper.
#[derive(Debug)]
pub struct KeeperHandle {
    dir: RunDir,
    pid: i32,
    pidfd: OwnedFd,
    start: StartRecord,
}

impl KeeperHandle {
    /// Looks at a run's directory and finds out which of the four it is.
    ///
    /// # Errors
    /// When a record is there but cannot be read.
    pub fn adopt(dir: &RunDir) -> io::Result<Adopted> {
        if let Some(exit) = dir.read_exit()? {
            return Ok(Adopted::Ended(exit));
        }
        let Some(start) = dir.read_start()? else {
            return Ok(Adopted::NotStarted);
        };
        let pid = start.keeper_pid;
        if start.boot_id == proc::boot_id()?
            && let Some(pidfd) = open_process(pid, start.keeper_start_ticks)
        {
            return Ok(Adopted::Alive(Self { dir: dir.clone(), pid, pidfd, start }));
        }
        // It may have written its last word and left between the two looks.
        Ok(dir.read_exit()?.map_or(Adopted::Lost(start), Adopted::Ended))
    }

    /// The keeper's process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The run's directory.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The start record as of the last look.
    #[must_use]
    pub fn start_record(&self) -> &StartRecord {
        &self.start
    }

    /// Reads the start record again: the child and the output handle appear in it when the job is ready to run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn refresh(&mut self) -> io::Result<&StartRecord> {
        if let Some(start) = self.dir.read_start()? {
            self.start = start;
        }
        Ok(&self.start)
    }

    /// Whether the keeper still runs; when it does not, [`Self::adopt`] again gives the exit record.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// `/proc/KEEPER/fd/N`, through which the output can be read while the keeper lives; `None` while there is none.
    #[must_use]
    pub fn output_fd_path(&self) -> Option<PathBuf> {
        self.start.output_fd.map(|fd| PathBuf::from(format!("/proc/{}/fd/{fd}", self.pid)))
    }

    /// The output as an open file, which stays readable when the keeper is gone. Read it with `read_at`: its position
    /// may be shared with the keeper. `None` while there is none ([`Self::refresh`] first).
    ///
    /// The keeper's own descriptor is preferred to opening the file again, which a network file system may refuse to
    /// root.
    ///
    /// # Errors
    /// When the keeper is gone or belongs to another user.
    pub fn open_output(&self) -> io::Result<Option<File>> {
        let (Some(fd), Some(path)) = (self.start.output_fd, self.output_fd_path()) else {
            return Ok(None);
        };
        match pidfd_getfd(&self.pidfd, fd, PidfdGetfdFlags::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(_) => OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(path)
                .map(Some),
        }
    }

    /// Sends a command; see [`send`].
    ///
    /// # Errors
    /// See [`send`].
    pub fn send(&self, command: &Command) -> Result<(), SendError> {
        send(&self.dir, command)
    }
}

impl AsFd for KeeperHandle {
    /// The process descriptor: readable once the keeper has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Why a command did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No keeper listens: it has not come up yet, or it has ended. [`KeeperHandle::adopt`] tells which.
    #[error("no keeper listens in {0}")]
    NobodyListens(PathBuf),
    /// The FIFO is there but cannot be written.
    #[error("cannot command the keeper in {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// Sends one command to the keeper of a run, without waiting for its effect.
///
/// # Errors
/// [`SendError::NobodyListens`] before the keeper is up and after it has ended.
pub fn send(dir: &RunDir, command: &Command) -> Result<(), SendError> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let opened = OpenOptions::new().write(true).custom_flags(flags).open(dir.control());
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
            SendError::NobodyListens(dir.path().into())
        }
        _ if error.kind() == io::ErrorKind::NotFound => SendError::NobodyListens(dir.path().into()),
        _ => SendError::Io(dir.path().into(), error),
    };
    opened.and_then(|mut fifo| fifo.write_all(format!("{command}\n").as_bytes())).map_err(failed)
}

/// A process descriptor for `pid` if it is still the process that started then, and no zombie.
pub(crate) fn open_process(pid: i32, start_ticks: u64) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Looked at after opening: from here on the descriptor cannot mean another process.
    let stat = proc::stat(pid)?;
    (stat.start_ticks == start_ticks && stat.is_live()).then_some(pidfd)
}

/// Removes a private directory, also when its owner took the rights off folders in it (module caches do). Links are
/// removed, never followed. A path that is not there is success.
///
/// # Errors
/// The last error, when something could not be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the owner full rights on every folder below. Root never comes here: it is not held up by modes, and must not
/// change modes in a place that a user can rearrange.
fn open_up(path: &Path) {
    if rustix::process::geteuid().is_root()
        || !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
    {
        return;
    }
    drop(fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
}
