//! Claiming a run: the order is checked, and the start record is made before anything else.
//!
//! Invariant: of all keepers that are ever started for a run in one boot, exactly one gets past here.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use pcluster_keeper::{
    Durability, EXIT_ALREADY_STARTED, EXIT_BAD_ORDER, EXIT_OTHER_BOOT, RunDir, RunOrder,
    StartRecord, proc, write_atomic,
};
use rustix::{
    fs::{FlockOperation, flock},
    process::{geteuid, getpid},
};

use crate::{finish, note, plain};

/// Checks the order and takes the run, or says with which exit code to leave.
pub fn claim(path: &Path) -> Result<(RunDir, RunOrder, StartRecord), u8> {
    let refuse = |code: u8, why: String| {
        note(&why);
        code
    };
    let bad =
        |error: io::Error| refuse(EXIT_BAD_ORDER, format!("{}: {}", path.display(), plain(&error)));
    let dir = RunDir::new(fs::canonicalize(path).map_err(bad)?);
    for own in [dir.path().to_owned(), dir.order()] {
        let meta = fs::symlink_metadata(&own).map_err(bad)?;
        if meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 || meta.is_symlink() {
            return Err(refuse(
                EXIT_BAD_ORDER,
                format!("{} is not the keeper's alone", own.display()),
            ));
        }
    }
    let order = dir.read_order().map_err(bad)?;
    let boot_id = proc::boot_id().map_err(bad)?;
    if order.boot_id.as_ref().is_some_and(|boot| *boot != boot_id) {
        return Err(refuse(
            EXIT_OTHER_BOOT,
            format!("run {} was ordered before a reboot", order.run),
        ));
    }
    let own = getpid().as_raw_nonzero().get();
    let start = StartRecord {
        run: order.run,
        keeper_pid: own,
        keeper_start_ticks: proc::stat(own).map_or(0, |stat| stat.start_ticks),
        boot_id,
        started_at_ms: finish::wall_ms(),
        child_pid: None,
        child_start_ticks: None,
        uid: order.identity.as_ref().map_or(geteuid().as_raw(), |identity| identity.uid),
        output_fd: None,
        private_dir: order.tmp_parent.as_ref().map(|parent| private_name(parent, order.run)),
    };
    // Two keepers of one run take turns here; the loser sees the winner's record.
    let lock = File::open(dir.path()).map_err(bad)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| bad(error.into()))?;
    let ours =
        |record: Option<StartRecord>| record.is_some_and(|record| record.boot_id == start.boot_id);
    if ours(dir.read_start().map_err(bad)?) || dir.read_exit().map_err(bad)?.is_some() {
        return Err(refuse(EXIT_ALREADY_STARTED, format!("run {} was started before", order.run)));
    }
    write_start(&dir, &start).map_err(bad)?;
    if let Err(error) = dir.keep_exit_room() {
        note(&format!("no room is kept for the exit record: {}", plain(&error)));
    }
    Ok((dir, order, start))
}

/// Writes the start record whole.
pub fn write_start(dir: &RunDir, start: &StartRecord) -> io::Result<()> {
    write_atomic(&dir.start_record(), &serde_json::to_vec(start)?, Durability::Cached)
}

/// A name nobody can foresee or has used: it also marks the run's processes by their `TMPDIR`.
fn private_name(parent: &Path, run: u64) -> PathBuf {
    let mut random = [0_u8; 8];
    let _ = rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty());
    // Short: programs put sockets below TMPDIR, whose paths have at most 107 bytes.
    parent.join(format!("{run}-{:012x}", u64::from_ne_bytes(random) >> 16))
}
