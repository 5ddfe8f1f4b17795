//! Questions to the file beside the loop: events since a number, and what has ended.
use crate::{StoreError, base, schema};
use pcluster_core::Event;
use pcluster_core::event::Stamped;
use pcluster_core::rows::Row;
use pcluster_model::Timestamp;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

/// Which finished jobs are asked for, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// Only those of this user.
    pub user: Option<String>,
    /// Ended at or after this (the head's steady time).
    pub since: Option<Timestamp>,
    /// At most this many; 0 is 100.
    pub limit: u32,
    /// Only those that are forgotten: not in the living state any more.
    pub past_only: bool,
}

impl Reader {
    /// Opens the file that a head may be writing to.
    ///
    /// # Errors
    /// As `EventStore::open`; a file that is not there is not made.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { db: schema::open_for_reading(path)?, path: path.to_path_buf() })
    }

    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }

    /// Events with a number above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read, or an event is of no version that this one knows.
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<Stamped>, StoreError> {
        let sql = "SELECT seq, at, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.select_events(sql, params![after, limit])
    }

    /// As `events`, and no more once they have this many bytes together; one at least, where there is
    /// one.
    ///
    /// # Errors
    /// As `events`.
    pub fn events_within(
        &self,
        after: u64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Stamped>, StoreError> {
        let sql = "SELECT length(body) FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut select = self.db.prepare_cached(sql).map_err(|error| self.failed(&error))?;
        let lengths: Result<Vec<usize>, rusqlite::Error> =
            select.query_map(params![after, limit], |row| row.get(0)).and_then(Iterator::collect);
        let (mut sum, mut count) = (0, 0);
        for length in lengths.map_err(|error| self.failed(&error))? {
            sum += length;
            count += u32::from(count == 0 || sum <= bytes);
            if sum > bytes {
                break;
            }
        }
        self.events(after, count)
    }

    /// The newest events about one thing (`job:42`, `node:7.0`), in order, at most `limit`.
    ///
    /// # Errors
    /// As `events`.
    pub fn events_about(&self, subject: &str, limit: u32) -> Result<Vec<Stamped>, StoreError> {
        let sql = "SELECT seq, at, body FROM (SELECT seq, at, body FROM event
                   WHERE subject = ?1 ORDER BY seq DESC LIMIT ?2) ORDER BY seq";
        self.select_events(sql, params![subject, limit])
    }

    fn select_events(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Stamped>, StoreError> {
        let mut select = self.db.prepare_cached(sql).map_err(|error| self.failed(&error))?;
        let found: Result<Vec<(u64, i64, String)>, rusqlite::Error> = select
            .query_map(params, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .and_then(Iterator::collect);
        found
            .map_err(|error| self.failed(&error))?
            .into_iter()
            .map(|(seq, at, body)| {
                Ok(Stamped { seq, at: Timestamp(at), event: decode(seq, &body)? })
            })
            .collect()
    }

    /// Rows of jobs that are over, newest first.
    ///
    /// # Errors
    /// When the file cannot be read, or a row does not match its checksum.
    pub fn history(&self, filter: &HistoryFilter) -> Result<Vec<Row>, StoreError> {
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        let since = filter.since.map_or(i64::MIN, |at| at.0);
        let columns = "SELECT tab, key, body, seal FROM row WHERE tab = 'job'";
        let past = if filter.past_only { "AND past IS NOT NULL" } else { "" };
        let order = format!(
            "AND state = 'finished' {past} AND at >= ?1 ORDER BY at DESC, key DESC LIMIT ?2"
        );
        match &filter.user {
            Some(user) => self.select_rows(
                &format!("{columns} AND user = ?3 {order}"),
                params![since, limit, user],
            ),
            None => self.select_rows(&format!("{columns} {order}"), params![since, limit]),
        }
    }

    /// Rows of the tasks of a job that are over.
    ///
    /// # Errors
    /// As `history`.
    pub fn tasks_of(&self, job: &str) -> Result<Vec<Row>, StoreError> {
        // Keys are `JOB.TASK`; `/` is the character after `.`.
        let sql = "SELECT tab, key, body, seal FROM row \
                   WHERE tab = 'task' AND key > ?1 || '.' AND key < ?1 || '/' ORDER BY key";
        self.select_rows(sql, params![job])
    }

    /// One row, where it exists.
    ///
    /// # Errors
    /// As `history`.
    pub fn row(&self, table: &str, key: &str) -> Result<Option<Row>, StoreError> {
        let sql = "SELECT tab, key, body, seal FROM row WHERE tab = ?1 AND key = ?2";
        Ok(self.select_rows(sql, params![table, key])?.pop())
    }

    /// All rows, by table and key.
    ///
    /// # Errors
    /// As `history`.
    pub fn rows(&self) -> Result<Vec<Row>, StoreError> {
        self.select_rows("SELECT tab, key, body, seal FROM row ORDER BY tab, key", [])
    }

    fn select_rows(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        base::select(&self.path, &self.db, sql, params, &mut |row, _| {
            rows.push(row);
            Ok(true)
        })?;
        Ok(rows)
    }
}

pub(crate) fn decode(seq: u64, body: &str) -> Result<Event, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Body { seq, cause: error.to_string() })
}
