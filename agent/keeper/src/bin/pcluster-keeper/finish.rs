//! The last things: usage, the end of the output, the private directory, the exit record.
//!
//! Invariant: the exit record is the last thing written, is on disk with its name before the keeper leaves, and what it
//! speaks of (tail, removed directory, dead processes) is true by then.

use std::{
    fs::File,
    io,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pcluster_keeper::{ExitRecord, RunDir, remove_tree};

use crate::{note, plain};

/// Pause between two tries to write a record.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Wall clock in milliseconds since 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Saves the end of the output beside the records; returns its whole size. A tail that cannot be saved is no reason to
/// lose the record.
pub fn save_tail(dir: &RunDir, output: &File) -> u64 {
    let (size, saved) = dir.save_tail(output);
    if let Err(error) = saved {
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

/// Writes the exit record, and keeps trying for as long as there is a place for it: nobody else knows how the run
/// ended, and a keeper that gave up would make it run again.
pub fn write_record(dir: &RunDir, record: &ExitRecord) -> io::Result<()> {
    let mut said = false;
    loop {
        match dir.write_exit(record) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(error) if !std::mem::replace(&mut said, true) => {
                note(&format!("cannot write the exit record, will try again: {}", plain(&error)));
            }
            Err(_) => {}
        }
        thread::sleep(RECORD_AGAIN);
    }
}
