//! The last things: usage, the end of the output, the private directory, the exit record.
//!
//! Invariant: the exit record is the last thing written, is on disk with its name before the keeper leaves, and what it
//! speaks of (tail, removed directory, dead processes) is true by then.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pcluster_keeper::{Durability, ExitRecord, RunDir, TAIL_BYTES, remove_tree, write_atomic};

use crate::{note, plain};

/// How often, once a second, a record that cannot be written (a full disk) is tried before the keeper gives up.
const RECORD_TRIES: u32 = 3_600;

/// Wall clock in milliseconds since 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Saves the end of the output beside the records; returns the output's whole size. A tail that cannot be saved is no
/// reason to lose the record.
pub fn save_tail(dir: &RunDir, output: &File) -> u64 {
    let size = output.metadata().map(|meta| meta.len()).unwrap_or(0);
    let from = size.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match output.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                note(&format!("cannot read the end of the output: {}", plain(&error)));
                break;
            }
        }
    }
    if let Err(error) = write_atomic(&dir.tail(), &bytes[..filled], Durability::Cached) {
        note(&format!("cannot save the end of the output: {}", plain(&error)));
    }
    size
}

/// Removes the private directory of the run.
pub fn remove_private(path: &Path) {
    if let Err(error) = remove_tree(path) {
        note(&format!("cannot remove {}: {}", path.display(), plain(&error)));
    }
}

/// Writes the exit record, durably, and keeps trying while the disk is full: nobody else knows how the run ended.
pub fn write_record(dir: &RunDir, record: &ExitRecord) -> io::Result<()> {
    let bytes = serde_json::to_vec(record)?;
    for _ in 0..RECORD_TRIES {
        match write_atomic(&dir.exit_record(), &bytes, Durability::Durable) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(error) => {
                note(&format!("cannot write the exit record, will try again: {}", plain(&error)))
            }
        }
        thread::sleep(Duration::from_secs(1));
    }
    Err(io::Error::other("gave up writing the exit record"))
}
