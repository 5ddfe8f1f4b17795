//! The one writer: loads the rows, appends batches.
use crate::base::living;
use crate::schema;
use crate::seal::{event_seal, row_seal};
use crate::{Reader, StoreError, base};
use pcluster_core::event::Stamped;
use pcluster_core::rows::{PAST, Row, RowChange};
use pcluster_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};

/// The last events whose seals are checked at every start; `verify` checks all of them.
const SEALS_AT_START: u64 = 4096;

/// What the file held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Every row, by table and key.
    pub rows: Vec<Row>,
    /// Number of the last event; 0: the log is new.
    pub log_length: u64,
    /// When the last event was committed, by the head's steady time.
    pub last_at: Timestamp,
}

/// The event log, open for appending.
#[derive(Debug)]
pub struct EventStore {
    db: Connection,
    path: PathBuf,
    last_seq: u64,
    last_seal: i64,
}

impl EventStore {
    /// Opens the file, or makes it, and loads every row.
    ///
    /// # Errors
    /// A file of another program, of a newer version or of no use is refused untouched.
    pub fn open(path: &Path) -> Result<(Self, Loaded), StoreError> {
        let db = schema::open_for_writing(path)?;
        schema::check_whole(path, &db)?;
        schema::bring_up(path, &db)?;
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
        let last: Option<(u64, i64, i64)> = db
            .query_row("SELECT seq, at, seal FROM event ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(failed)?;
        let (last_seq, last_at, last_seal) = last.unwrap_or_default();
        check_tail(path, &db, last_seq)?;
        let rows = living(path, &db)?;
        // What a crash has left behind the last commit goes, so that it is not taken for more at the
        // next start. Where that cannot be now it is tried then.
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let loaded = Loaded { rows, log_length: last_seq, last_at: Timestamp(last_at) };
        Ok((Self { db, path: path.to_path_buf(), last_seq, last_seal }, loaded))
    }

    /// Writes a batch; returns when it is on disk.
    ///
    /// # Errors
    /// After any error memory is ahead of disk: the caller must end the process. Nothing of the
    /// batch is kept then.
    pub fn commit(&mut self, events: &[Stamped], rows: &[RowChange]) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&self.path, &error);
        let transaction =
            self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let transaction = transaction.map_err(failed)?;
        let (mut seq, mut seal) = (self.last_seq, self.last_seal);
        for event in events {
            if event.seq != seq + 1 {
                return Err(StoreError::Gap { last: seq, found: event.seq });
            }
            seq = event.seq;
            seal = append(&transaction, event, seal, &self.path)?;
        }
        for change in rows {
            write_row(&transaction, change).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        (self.last_seq, self.last_seal) = (seq, seal);
        Ok(())
    }

    /// Number of the last event on disk.
    #[must_use]
    pub fn log_length(&self) -> u64 {
        self.last_seq
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second connection, for queries beside the loop.
    ///
    /// # Errors
    /// As `Reader::open`.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path)
    }
}

/// Appends one event and returns its seal.
fn append(db: &Connection, stamped: &Stamped, before: i64, path: &Path) -> Result<i64, StoreError> {
    let body = serde_json::to_string(&stamped.event)
        .map_err(|error| StoreError::Body { seq: stamped.seq, cause: error.to_string() })?;
    let kind = stamped.event.kind();
    let seal = event_seal(before, stamped.seq, stamped.at.0, kind, &body);
    db.prepare_cached(
        "INSERT INTO event(seq, at, kind, subject, body, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .and_then(|mut insert| {
        let subject = stamped.event.subject();
        insert.execute(params![stamped.seq, stamped.at.0, kind, subject, body, seal])
    })
    .map_err(|error| StoreError::from_sqlite(path, &error))?;
    Ok(seal)
}

pub(crate) fn write_row(db: &Connection, change: &RowChange) -> Result<(), rusqlite::Error> {
    let number = |name: &str| -> Option<i64> {
        let mut columns = change.columns.iter();
        columns.find(|(column, _)| *column == name).and_then(|(_, text)| text.parse().ok())
    };
    if let (None, Some(past)) = (&change.body, number(PAST)) {
        db.prepare_cached("UPDATE row SET past = ?3 WHERE tab = ?1 AND key = ?2")?
            .execute(params![change.table, change.key, past])?;
        return Ok(());
    }
    let Some(body) = &change.body else {
        db.prepare_cached("DELETE FROM row WHERE tab = ?1 AND key = ?2")?
            .execute(params![change.table, change.key])?;
        return Ok(());
    };
    let column = |name: &str| {
        change.columns.iter().find(|(column, _)| *column == name).map(|(_, text)| text.as_str())
    };
    let seal = row_seal(change.table, &change.key, body);
    db.prepare_cached(
        "INSERT INTO row(tab, key, state, user, name, at, body, seal, job)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT(tab, key) DO UPDATE SET state = excluded.state, user = excluded.user,
           name = excluded.name, at = excluded.at, body = excluded.body, seal = excluded.seal,
           job = excluded.job",
    )?
    .execute(params![
        change.table,
        change.key,
        column("state"),
        column("user"),
        column("name"),
        number("at"),
        body,
        seal,
        number("job")
    ])?;
    Ok(())
}

/// Numbers without gaps from where the log is cut, a base for what is cut, and the chain of the
/// last events.
fn check_tail(path: &Path, db: &Connection, last_seq: u64) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let (count, first): (u64, Option<u64>) = db
        .query_row("SELECT count(*), min(seq) FROM event", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed)?;
    let (cut, _) = base::cut_of(path, db)?;
    let base = base::head_of(path, db)?.map_or(0, |base| base.seq);
    let whole = first.is_none_or(|first| first == cut + 1 && count == last_seq - cut);
    let covered = if cut == 0 { base <= last_seq } else { (cut + 1..=last_seq).contains(&base) };
    if !whole || !covered {
        let detail = format!(
            "{count} events are there, numbered up to {last_seq}, after {cut} and with a base of {base}"
        );
        return Err(StoreError::Damaged { path: path.to_path_buf(), detail });
    }
    crate::verify::check_seals(path, db, last_seq.saturating_sub(SEALS_AT_START))
}
