//! The directory of one run: which file is what, and writing so that a reader never sees half a file.
//!
//! Invariant: the directory belongs to the agent's user with mode 0700; a job's user can neither enter nor change it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::fstatvfs;
use serde::de::DeserializeOwned;

use crate::{ExitRecord, RunOrder, StartRecord, TAIL_BYTES};

/// Follows the output of a job whose disk is full.
const DISK_FULL: &str = "\npcluster: the disk of this output file is full: what the job wrote there at last may be lost\n";

/// Room kept for an exit record, in bytes. One that says more at length needs room of its own.
const EXIT_ROOM: usize = 4096;

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

    /// `exit.room`: as many bytes as a record needs, kept from the start on for a disk that is full at the end.
    fn exit_room(&self) -> PathBuf {
        self.path.join("exit.room")
    }

    /// Keeps room for the exit record. A disk that is full already has none, and the run goes on without.
    ///
    /// # Errors
    /// Those of writing.
    pub fn keep_exit_room(&self) -> io::Result<()> {
        write_atomic(&self.exit_room(), &[b' '; EXIT_ROOM], Durability::Cached)
    }

    /// Writes the exit record, on disk with its name when this returns; on a full disk into the room that was kept.
    ///
    /// # Errors
    /// Those of the first try; nothing was written then, and another try may do.
    pub fn write_exit(&self, record: &ExitRecord) -> io::Result<()> {
        let bytes = serde_json::to_vec(record)?;
        write_atomic(&self.exit_record(), &bytes, Durability::Durable)
            .or_else(|error| self.use_exit_room(bytes).map_err(|_| error))
    }

    /// Spaces after a record are part of its room and mean nothing.
    fn use_exit_room(&self, mut bytes: Vec<u8>) -> io::Result<()> {
        if bytes.len() > EXIT_ROOM {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.resize(EXIT_ROOM, b' ');
        let mut file = OpenOptions::new().write(true).open(self.exit_room())?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(self.exit_room(), self.exit_record())?;
        File::open(&self.path)?.sync_all()
    }

    /// Copies the end of the output to [`Self::tail`], with a line if its disk is full: what the job wants to say then
    /// is what it cannot write. Returns the whole size of both.
    pub fn save_tail(&self, output: &File) -> (u64, io::Result<()>) {
        let size = output.metadata().map(|meta| meta.len()).unwrap_or(0);
        let (mut bytes, read) = end_of(output, size);
        let is_full = fstatvfs(output).is_ok_and(|disk| disk.f_bavail == 0);
        let last_line = if is_full { DISK_FULL } else { "" };
        bytes.extend(last_line.bytes());
        let written = write_atomic(&self.tail(), &bytes, Durability::Cached);
        (size + last_line.len() as u64, read.and(written))
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

/// The last bytes of a file of this size, as far as they can be read.
fn end_of(output: &File, size: u64) -> (Vec<u8>, io::Result<()>) {
    let from = size.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or(0)];
    let mut filled = 0;
    let read = loop {
        match output.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break Ok(()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    bytes.truncate(filled);
    (bytes, read)
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
