//! What runs print and what booting nodes say. It never passes the loop.
//!
//! Invariant: a run's file holds one unbroken piece of its output, at most twice `LOG_TAIL_BYTES`
//! long, whose place in the whole is known. Deliberately absent: fsync (the user's file on the node
//! is the whole; this is for looking) and the right to look (the HTTP room checks it).
use crate::disk::free_of;
use crate::limits;
use pcluster_model::{NodeId, RunId};
use pcluster_wire::LOG_TAIL_BYTES;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// The file begins with the offset of its first byte of output.
const HEAD_BYTES: u64 = 8;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Place of the first byte in the whole output; later than asked for when the start is gone.
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Length of the whole output as far as it has come.
    pub end: u64,
}

/// The ends of the output of all runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutputTails {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    open: Mutex<BTreeMap<RunId, Tail>>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// Offset of the first byte that is kept.
    base: u64,
    end: u64,
    grown: watch::Sender<u64>,
}

impl OutputTails {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let shared = Shared { folder: folder.to_path_buf(), open: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Tail>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, run: RunId) -> PathBuf {
        self.shared.folder.join(format!("{run}.log"))
    }

    /// Adds a piece. What is already there is skipped, so that an agent may repeat itself; after a
    /// gap the older part is given up.
    ///
    /// # Errors
    /// When the disk refuses; the piece is then lost and the next one leaves a gap.
    pub fn append(&self, run: RunId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        disk_for_output(&self.shared.folder)?;
        let mut open = self.lock();
        let tail = match open.entry(run) {
            std::collections::btree_map::Entry::Occupied(tail) => tail.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Tail::open(&self.path(run), true)?)
            }
        };
        tail.append(&self.path(run), offset, bytes)
    }

    /// Output of a run from `offset` on, at most `most` bytes. `None`: nothing of it ever came.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read(&self, run: RunId, offset: u64, most: usize) -> io::Result<Option<Piece>> {
        if let Some(tail) = self.lock().get(&run) {
            return tail.read(offset, most).map(Some);
        }
        match Tail::open(&self.path(run), false) {
            Ok(tail) => tail.read(offset, most).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Wakes whenever more has come; the value is the length of the whole output.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn follow(&self, run: RunId) -> io::Result<watch::Receiver<u64>> {
        let mut open = self.lock();
        if let Some(tail) = open.get(&run) {
            return Ok(tail.grown.subscribe());
        }
        let tail = Tail::open(&self.path(run), true)?;
        let receiver = tail.grown.subscribe();
        open.insert(run, tail);
        Ok(receiver)
    }

    /// Removes what was kept of runs that are not to be kept; returns how many went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sweep(&self, keep: impl Fn(RunId) -> bool) -> io::Result<usize> {
        let gone = |name: &str| name.parse().is_ok_and(|run| !keep(RunId(run)));
        let open = self.lock();
        let followed: BTreeSet<RunId> = open.keys().copied().collect();
        drop(open);
        sweep(&self.shared.folder, |name, _| {
            gone(name) && name.parse().is_ok_and(|run| !followed.contains(&RunId(run)))
        })
    }

    /// Closes the files of runs that are over and that nobody follows; they stay readable.
    pub fn close_except(&self, live: &BTreeSet<RunId>) {
        self.lock().retain(|run, tail| live.contains(run) || tail.grown.receiver_count() > 0);
    }
}

impl Tail {
    fn open(path: &Path, create: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(create).create(create).mode(0o600);
        let file = options.open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0_u8; 8];
        // Shorter than its head: the process ended while it made the file.
        let (base, kept) = if length < HEAD_BYTES {
            if create {
                file.set_len(0)?;
                file.write_all_at(&head, 0)?;
            }
            (0, 0)
        } else {
            file.read_exact_at(&mut head, 0)?;
            (u64::from_le_bytes(head), length - HEAD_BYTES)
        };
        let end = base.saturating_add(kept);
        Ok(Self { file, base, end, grown: watch::Sender::new(end) })
    }

    fn append(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let reaches = offset.saturating_add(bytes.len() as u64);
        if reaches <= self.end {
            return Ok(());
        }
        if offset > self.end {
            self.restart(path, offset, &[])?;
        }
        let known = usize::try_from(self.end - offset).unwrap_or(usize::MAX).min(bytes.len());
        let fresh = &bytes[known..];
        self.file.write_all_at(fresh, HEAD_BYTES + (self.end - self.base))?;
        self.end += fresh.len() as u64;
        if self.end - self.base > 2 * LOG_TAIL_BYTES {
            let from = self.end - LOG_TAIL_BYTES;
            let kept = self.read(from, usize::try_from(LOG_TAIL_BYTES).unwrap_or(usize::MAX))?;
            self.restart(path, kept.offset, &kept.bytes)?;
        }
        self.grown.send_replace(self.end);
        Ok(())
    }

    /// Begins a new file at `base`, in one step for readers.
    fn restart(&mut self, path: &Path, base: u64, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&base.to_le_bytes())?;
        file.write_all(bytes)?;
        fs::rename(&draft, path)?;
        (self.file, self.base, self.end) = (file, base, base + bytes.len() as u64);
        Ok(())
    }

    fn read(&self, offset: u64, most: usize) -> io::Result<Piece> {
        let offset = offset.max(self.base);
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        if !bytes.is_empty() {
            self.file.read_exact_at(&mut bytes, HEAD_BYTES + (offset - self.base))?;
        }
        Ok(Piece { offset, bytes, end: self.end })
    }
}

/// Boot logs of nodes: the last lines in memory, more in a file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BootLogs {
    folder: Arc<Path>,
    lines: Arc<Mutex<BTreeMap<NodeId, VecDeque<String>>>>,
}

impl BootLogs {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.into(), lines: Arc::default() })
    }

    fn path(&self, node: NodeId) -> PathBuf {
        self.folder.join(format!("{node}.log"))
    }

    /// Adds lines, cut where they are too long and without control characters: they are shown on
    /// terminals, and a node may be hostile.
    ///
    /// # Errors
    /// When the disk refuses; the last lines are in memory all the same.
    pub fn add(&self, node: NodeId, lines: &[String]) -> io::Result<()> {
        let clean: Vec<String> = lines.iter().map(|line| clean(line)).collect();
        let mut all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(node).or_default();
        kept.extend(clean.iter().cloned());
        let surplus = kept.len().saturating_sub(limits::BOOT_LINES);
        kept.drain(..surplus);
        drop(all);
        self.write(node, &clean)
    }

    fn write(&self, node: NodeId, lines: &[String]) -> io::Result<()> {
        disk_for_output(&self.folder)?;
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(node))?;
        if file.metadata()?.len() >= limits::BOOT_FILE_BYTES {
            return Ok(());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        file.write_all(text.as_bytes())
    }

    /// The last lines, from the file after a restart of the head.
    #[must_use]
    pub fn last(&self, node: NodeId) -> Vec<String> {
        let all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = all.get(&node) {
            return lines.iter().cloned().collect();
        }
        drop(all);
        let text = fs::read_to_string(self.path(node)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(limits::BOOT_LINES);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Removes files that were last written before `before` of nodes that are not to be kept;
    /// returns how many went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sweep(
        &self,
        before: Option<SystemTime>,
        keep: impl Fn(NodeId) -> bool,
    ) -> io::Result<usize> {
        sweep(&self.folder, |name, seen| {
            let old = seen.modified().ok().zip(before).is_some_and(|(at, before)| at < before);
            old && name.parse().is_ok_and(|node| !keep(node))
        })
    }

    /// Gives up the lines in memory of nodes that are not among `live`; the files stay.
    pub fn close_except(&self, live: &BTreeSet<NodeId>) {
        let mut all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|node, _| live.contains(node));
    }
}

/// The last of a full disk is not for this.
fn disk_for_output(folder: &Path) -> io::Result<()> {
    match free_of(folder) {
        Some(free) if free < limits::OUTPUT_DISK_BYTES => Err(io::ErrorKind::StorageFull.into()),
        Some(_) | None => Ok(()),
    }
}

/// Removes the files `NAME.log` of a folder that are gone by name and looks.
fn sweep(folder: &Path, gone: impl Fn(&str, &fs::Metadata) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".log")) else { continue };
        if gone(name, &file.metadata()?) {
            fs::remove_file(file.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A line of a node, cut where it is too long and without control characters.
pub(crate) fn clean(line: &str) -> String {
    let mut text: String = line
        .chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect();
    if text.len() > limits::BOOT_LINE_BYTES {
        let cut = (0..=limits::BOOT_LINE_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests;
