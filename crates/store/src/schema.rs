//! The file: what it must look like before it is opened, and how a new one is made.
//!
//! Invariant: nothing here writes to a file that was not made by this version of this program. The
//! first hundred bytes are read by hand, because opening a database may already change it.
use crate::{StoreError, wal};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `pclu`: marks the file as ours.
const APPLICATION_ID: i32 = 0x7063_6c75;
/// The format that this version writes.
pub(crate) const FORMAT: i32 = 2;
/// Up to this size the whole file is checked at every start, in bytes.
const CHECK_BYTES: u64 = 64 << 20;
/// How long a writer waits for another, in steps of `BUSY_STEP`.
const BUSY: Duration = Duration::from_secs(5);
/// SQLite's own steps grow to 100 ms: the loop would sleep on when a slice is long done.
const BUSY_STEP: Duration = Duration::from_millis(1);

const SCHEMA: &str = "
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
  body TEXT NOT NULL, seal INTEGER NOT NULL) STRICT;
CREATE INDEX event_subject ON event(subject, seq);
CREATE TABLE row(
  tab TEXT NOT NULL, key TEXT NOT NULL, state TEXT, user TEXT, name TEXT, at INTEGER,
  body TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY(tab, key)) STRICT, WITHOUT ROWID;
CREATE INDEX row_state ON row(tab, state, at);
CREATE INDEX row_user ON row(tab, user, state, at);
";

/// What format 2 has more. `past`: the event by which a job was forgotten; `job`: whose step it is.
/// A base is there when it is in `base`; `cut` has the last event that was deleted.
const SECOND: &str = "
ALTER TABLE row ADD COLUMN past INTEGER;
ALTER TABLE row ADD COLUMN job INTEGER;
UPDATE row SET job = json_extract(body, '$.job') WHERE tab = 'step';
CREATE INDEX row_living ON row(key) WHERE tab = 'job' AND past IS NULL;
CREATE INDEX row_step ON row(job) WHERE tab = 'step';
CREATE TABLE base(
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, rows INTEGER NOT NULL, seal INTEGER NOT NULL) STRICT;
CREATE TABLE base_row(
  seq INTEGER NOT NULL, tab TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
  seal INTEGER NOT NULL) STRICT;
CREATE INDEX base_row_seq ON base_row(seq);
CREATE TABLE cut(
  one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL, seal INTEGER NOT NULL) STRICT;
PRAGMA user_version = 2;
";

/// A file of format 1 in the shape of this one, for those who only read: nothing is written.
const SECOND_SHAPE: &str = "
CREATE TEMP VIEW row AS SELECT *, NULL AS past,
  CASE WHEN tab = 'step' THEN json_extract(body, '$.job') END AS job FROM main.row;
CREATE TEMP TABLE base(seq INTEGER, at INTEGER, rows INTEGER, seal INTEGER);
CREATE TEMP TABLE base_row(seq INTEGER, tab TEXT, key TEXT, body TEXT, seal INTEGER);
CREATE TEMP TABLE cut(one INTEGER, seq INTEGER, seal INTEGER);
";

/// Opens the file for writing, or makes it.
pub(crate) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    if !fs::exists(path).map_err(|error| io(path, &error))? {
        let wal = wal::path_of(path);
        if fs::metadata(&wal).is_ok_and(|seen| seen.len() > 0) {
            // SQLite would put its pages into the new file.
            let detail = format!("it is gone, and {} is still there", wal.display());
            return Err(StoreError::Damaged { path: path.to_path_buf(), detail });
        }
        create(path)?;
    }
    let page_bytes = check_header(path)?;
    wal::check(path, page_bytes)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = connect(path, flags)?;
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    // A newer head may have left its format in the write-ahead log only: closing this connection
    // must not carry it over into the file until the format is known.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    check_format(path, &db)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    db.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
    db.pragma_update(None, "synchronous", "full").map_err(failed)?;
    db.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    Ok(db)
}

/// Brings a file of an older version to this format, in one transaction: a crash leaves the old one.
pub(crate) fn bring_up(path: &Path, db: &Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let found: i32 =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found == FORMAT {
        return Ok(());
    }
    let transaction = db.unchecked_transaction().map_err(failed)?;
    transaction.execute_batch(SECOND).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Opens the file for a second writer beside the one that has it.
pub(crate) fn open_beside(path: &Path) -> Result<Connection, StoreError> {
    let db = open_existing(path)?;
    db.pragma_update(None, "synchronous", "full")
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    Ok(db)
}

/// Opens the file for reading beside the writer.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    // Not `immutable` and not without the right to write: a reader takes part in the shared memory
    // of the write-ahead log. `query_only` keeps its hands off the rows.
    let db = open_existing(path)?;
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let shaped = |db: &Connection| {
        if db.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))? < FORMAT {
            db.execute_batch(SECOND_SHAPE)?;
        }
        db.pragma_update(None, "query_only", true)
    };
    shaped(&db).map_err(failed)?;
    // The last to leave would carry the write-ahead log over into the file, damaged or not: that is
    // the writer's, who looks at it first.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    Ok(db)
}

/// As `open_for_reading`, but it may write into another file.
pub(crate) fn open_for_copying(path: &Path) -> Result<Connection, StoreError> {
    let db = open_existing(path)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    Ok(db)
}

/// Opens a file that is ours and of a format that this version knows.
fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = connect(path, flags)?;
    check_format(path, &db)?;
    Ok(db)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_handler(Some(wait_a_little)).map_err(failed)?;
    Ok(db)
}

/// True: the lock is asked for again.
fn wait_a_little(times: i32) -> bool {
    let waited = BUSY_STEP.saturating_mul(times.unsigned_abs());
    if waited < BUSY {
        std::thread::sleep(BUSY_STEP);
    }
    waited < BUSY
}

/// Makes the file under another name and renames it when it is whole: a crash in between leaves
/// nothing under the real name.
fn create(path: &Path) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let draft = PathBuf::from(name);
    let _ = fs::remove_file(&draft);
    // Made by hand first, for its mode: job names and commands are nobody else's business.
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| io(&draft, &error))?;
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(&draft, &error);
    let db = connect(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before the first table: pages that become free can go back to the disk, some at a time.
    db.pragma_update(None, "auto_vacuum", "incremental").map_err(failed)?;
    db.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    db.execute_batch(SCHEMA).map_err(failed)?;
    db.execute_batch(SECOND).map_err(failed)?;
    db.close().map_err(|(_, error)| StoreError::from_sqlite(&draft, &error))?;
    File::open(&draft).and_then(|file| file.sync_all()).map_err(|error| io(&draft, &error))?;
    fs::rename(&draft, path).map_err(|error| io(path, &error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io(path, &error))
}

/// Reads the header without SQLite; the bytes of a page.
fn check_header(path: &Path) -> Result<usize, StoreError> {
    let not_ours = |why: &str| StoreError::NotOurs { path: path.to_path_buf(), why: why.into() };
    let mut header = [0_u8; 100];
    let mut file = File::open(path).map_err(|error| io(path, &error))?;
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            let size = file.metadata().map_err(|error| io(path, &error))?.len();
            return Err(not_ours(&format!("it is only {size} bytes long")));
        }
        Err(error) => return Err(io(path, &error)),
    }
    if &header[..16] != b"SQLite format 3\0" {
        return Err(not_ours("it is not an SQLite database"));
    }
    let number = |at: usize| {
        i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes of a hundred"))
    };
    if number(68) != APPLICATION_ID {
        return Err(not_ours("it is an SQLite database of another program"));
    }
    refuse_newer(path, number(60))?;
    // How it is to be written and read: as it was made, or with a write-ahead log, and nothing else.
    // Of another value SQLite would not look at that log.
    if !matches!(header[18..20], [1, 1] | [2, 2]) {
        let detail = "its header does not say how it is written".to_owned();
        return Err(StoreError::Damaged { path: path.to_path_buf(), detail });
    }
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => Ok(65_536),
        bytes => Ok(bytes.into()),
    }
}

/// The same by SQLite, with what the write-ahead log adds.
fn check_format(path: &Path, db: &Connection) -> Result<(), StoreError> {
    let found = db
        .pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    refuse_newer(path, found)
}

fn refuse_newer(path: &Path, found: i32) -> Result<(), StoreError> {
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_path_buf(), found, known: FORMAT });
    }
    if found < 1 {
        let why = format!("it has the impossible format {found}");
        return Err(StoreError::NotOurs { path: path.to_path_buf(), why });
    }
    Ok(())
}

/// Up to a size, the whole file against itself, indices included: what is asked for by user or state
/// is found by those.
pub(crate) fn check_whole(path: &Path, db: &Connection) -> Result<(), StoreError> {
    let size = fs::metadata(path).map_err(|error| io(path, &error))?.len();
    if size > CHECK_BYTES {
        return Ok(());
    }
    let said: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    if said == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path.to_path_buf(), detail: said })
}

pub(crate) fn io(path: &Path, error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull => StoreError::Full { path: path.to_path_buf() },
        _ => StoreError::Io { path: path.to_path_buf(), cause: error.to_string() },
    }
}
