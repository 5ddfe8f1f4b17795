//! Copies of a state directory, there and back, and rows made anew.
use crate::files::{
    BLOBS, EVENTS, SMALL, UpkeepError, copy, events_of, io, make_folder, sync, without_head,
};
use crate::verify::{Report, verify};
use pcluster_core::Cluster;
use pcluster_core::event::Stamped;
use pcluster_store::{EventStore, Reader, Verified};
use std::fs;
use std::path::{Path, PathBuf};

/// Copies the state to a folder that is not there yet, while a head may be running, and checks the
/// copy. Nodes, their working folders and the output of jobs are no part of it.
///
/// # Errors
/// The folder is there, the disk refuses, or the copy is not in order; nothing is left then.
pub fn backup(state: &Path, to: &Path) -> Result<Report, UpkeepError> {
    let made = whole(to, |draft| fill(state, draft));
    // A head may have removed the script of a job that it has just forgotten: the log is copied
    // first, and may still name it.
    if matches!(made, Err(UpkeepError::Wrong(_))) {
        return whole(to, |draft| fill(state, draft));
    }
    made
}

fn fill(state: &Path, draft: &Path) -> Result<(), UpkeepError> {
    // The log first: whatever it names was there.
    Reader::open(&events_of(state)?)?.copy_to(&draft.join(EVENTS))?;
    private(&draft.join(EVENTS))?;
    for name in SMALL {
        let from = state.join(name);
        if from.exists() {
            copy(&from, &draft.join(name))?;
        }
    }
    copy_blobs(&state.join(BLOBS), &draft.join(BLOBS))
}

/// What the head of the original numbered after the copy is in nobody's log: none of it is given
/// again, and its machines wait for an admin's word.
fn skip_numbers(events: &Path) -> Result<(), UpkeepError> {
    let (mut store, loaded) = EventStore::open(events)?;
    let (last, at) = (loaded.log_length, loaded.last_at);
    if last == 0 {
        return Ok(());
    }
    let cluster = Cluster::from_rows(loaded.rows.into_iter(), last, at);
    let mut cluster = cluster.map_err(|error| UpkeepError::Wrong(error.to_string()))?;
    let event = cluster.skip_numbers("the state was brought back from a copy");
    let stamped = Stamped { seq: last + 1, at, event };
    cluster.apply(&stamped);
    Ok(store.commit(&[stamped], &cluster.take_row_changes())?)
}

/// Makes a state directory of a copy; what else is in the directory stays, machines of the process
/// provider among it. A head that starts on it knows its nodes again, and they know it.
///
/// # Errors
/// A head is running, the directory holds a state already, or the copy is not in order; nothing is
/// left then.
pub fn restore(from: &Path, state: &Path) -> Result<Report, UpkeepError> {
    events_of(from)?;
    make_folders(state)?;
    let _lock = without_head(state)?;
    let here = [EVENTS, BLOBS].into_iter().chain(SMALL).map(|name| state.join(name));
    if let Some(taken) = here.into_iter().find(|path| path.exists() && !is_empty(path)) {
        return Err(UpkeepError::Exists(taken));
    }
    let draft = state.join(format!(".restore-{}", std::process::id()));
    let report = whole(&draft, |draft| {
        fill(from, draft)?;
        skip_numbers(&draft.join(EVENTS))
    })?;
    // The log last: without it there is no state, and this can be done once more.
    let names = SMALL.into_iter().chain([BLOBS, EVENTS]);
    for name in names.filter(|name| draft.join(name).exists()) {
        let to = state.join(name);
        if to.is_dir() {
            fs::remove_dir(&to).map_err(io("replace", &to))?;
        }
        fs::rename(draft.join(name), &to).map_err(io("name", &to))?;
    }
    fs::remove_dir(&draft).map_err(io("remove", &draft))?;
    sync(state)?;
    Ok(report)
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn make_folders(state: &Path) -> Result<(), UpkeepError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(state).map_err(io("make", state))
}

/// Makes the rows anew from the log.
///
/// # Errors
/// A head is running, or the log is damaged; nothing is changed then.
pub fn rebuild(state: &Path) -> Result<Verified, UpkeepError> {
    let events = events_of(state)?;
    let _lock = without_head(state)?;
    Ok(pcluster_store::rebuild(&events)?)
}

/// Makes a folder under another name; it gets its own when it is whole and in order.
fn whole(
    to: &Path,
    fill: impl FnOnce(&Path) -> Result<(), UpkeepError>,
) -> Result<Report, UpkeepError> {
    if to.exists() {
        return Err(UpkeepError::Exists(to.to_path_buf()));
    }
    let draft = beside(to, "draft");
    make_folder(&draft)?;
    let filled = fill(&draft).and_then(|()| {
        let report = verify(&draft)?;
        match report.wrong.first() {
            Some(wrong) => Err(UpkeepError::Wrong(wrong.clone())),
            None => Ok(report),
        }
    });
    let report = match filled {
        Ok(report) => report,
        Err(error) => {
            let _ = fs::remove_dir_all(&draft);
            return Err(error);
        }
    };
    // What the check left: the shared memory of the database.
    for end in ["-shm", "-wal"] {
        let _ = fs::remove_file(draft.join(format!("{EVENTS}{end}")));
    }
    sync(&draft)?;
    fs::rename(&draft, to).map_err(io("name", to))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))?;
    Ok(report)
}

fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{word}-{}", std::process::id()));
    PathBuf::from(name)
}

fn private(path: &Path) -> Result<(), UpkeepError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io("protect", path))
}

fn copy_blobs(from: &Path, to: &Path) -> Result<(), UpkeepError> {
    make_folder(to)?;
    for folder in fs::read_dir(from).map_err(io("read", from))? {
        let folder = folder.map_err(io("read", from))?;
        let target = to.join(folder.file_name());
        if !folder.path().is_dir() {
            continue;
        }
        make_folder(&target)?;
        for blob in fs::read_dir(folder.path()).map_err(io("read", from))? {
            let blob = blob.map_err(io("read", from))?;
            // A draft that somebody is writing has a dot before its name.
            if !blob.file_name().as_encoded_bytes().starts_with(b".") {
                copy(&blob.path(), &target.join(blob.file_name()))?;
            }
        }
        sync(&target)?;
    }
    sync(to)
}
