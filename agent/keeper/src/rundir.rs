//! The directory of one run: which file is what, and writing so that a reader never sees half a file.
//!
//! Invariant: the directory belongs to the agent's user with mode 0700; a job's user can neither enter nor change it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::{ExitRecord, RunOrder, StartRecord};

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The run's directory at `path`; nothing is touched.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `order.json`: what to run; by the agent.
    #[must_use]
    pub fn order(&self) -> PathBuf {
        self.path.join("order.json")
    }

    /// `start.json`: a [`StartRecord`]; by the keeper.
    #[must_use]
    pub fn start_record(&self) -> PathBuf {
        self.path.join("start.json")
    }

    /// `exit.json`: an [`ExitRecord`]; by the keeper, its last word.
    #[must_use]
    pub fn exit_record(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    /// `control`: the FIFO for [`crate::Command`] lines; made by the keeper.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// `tail`: the last [`crate::TAIL_BYTES`] of the output, complete before `exit.json` appears.
    #[must_use]
    pub fn tail(&self) -> PathBuf {
        self.path.join("tail")
    }

    /// `keeper.log`: what the keeper had to say.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    /// Makes the directory (mode 0700; one that exists is kept) and writes the order (0600). An order may be written
    /// again until a keeper has started.
    ///
    /// # Errors
    /// Those of making the directory or writing the file.
    pub fn prepare(&self, order: &RunOrder) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        write_atomic(&self.order(), &serde_json::to_vec(order)?, Durability::Cached)
    }

    /// The order.
    ///
    /// # Errors
    /// When it is missing, unreadable or not an order.
    pub fn read_order(&self) -> io::Result<RunOrder> {
        read(&self.order())?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no order.json"))
    }

    /// The start record, or `None` if no keeper has started.
    ///
    /// # Errors
    /// When it is unreadable or not a start record.
    pub fn read_start(&self) -> io::Result<Option<StartRecord>> {
        read(&self.start_record())
    }

    /// The exit record, or `None` if the run has not ended.
    ///
    /// # Errors
    /// When it is unreadable or not an exit record.
    pub fn read_exit(&self) -> io::Result<Option<ExitRecord>> {
        read(&self.exit_record())
    }

    /// The saved end of the output; empty when there was none to save.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read_tail(&self) -> io::Result<Vec<u8>> {
        match fs::read(self.tail()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a write must outlive the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Other processes see it whole; a power cut may lose it.
    Cached,
    /// On disk, with its name, before the call returns.
    Durable,
}

/// Writes a file (mode 0600) under a name of its own and renames it to `path`: readers see the old or the new one.
///
/// # Errors
/// Those of writing, syncing and renaming; `path` is untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written =
        write_new(&temporary, bytes, durability).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
        return written;
    }
    if durability == Durability::Durable
        && let Some(parent) = path.parent()
    {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Cached => Ok(()),
        Durability::Durable => file.sync_data(),
    }
}
