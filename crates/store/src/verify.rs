//! The whole file against itself: seals of all events, and rows against a replay.
use crate::reader::decode;
use crate::seal::event_seal;
use crate::{EventStore, Reader, StoreError, base};
use pcluster_core::rows::{Row, RowChange, says_the_same};
use pcluster_core::{Cluster, Event};
use pcluster_model::{JobId, Timestamp};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// What a check of the whole file found in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Events that are there.
    pub events: u64,
    /// The number of the base with which a replay begins; 0: with the first event.
    pub base: u64,
    /// Rows of what lives.
    pub rows: u64,
}

impl EventStore {
    /// Replays the whole log and compares the result with the rows, byte for byte (I16).
    ///
    /// # Errors
    /// `Damaged` names the first row or event that differs.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        self.reader()?.verify()
    }
}

/// The end of a log that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The number of the last event; 0: there is none.
    pub last: u64,
    /// How many events before and with it match their checksums.
    pub checked: u64,
    /// When it was written, in the head's steady time.
    pub at: Timestamp,
}

impl Reader {
    /// The last events, at most `most`, against their checksums: as quick for a long log as for a
    /// short one.
    ///
    /// # Errors
    /// `Damaged` names the first event that differs.
    pub fn check_end(&self, most: u64) -> Result<LogEnd, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(self.path(), &error);
        let _moment = self.db().unchecked_transaction().map_err(failed)?;
        let (cut, _) = base::cut_of(self.path(), self.db())?;
        let last = "SELECT seq, at FROM event ORDER BY seq DESC LIMIT 1";
        let last: Option<(u64, i64)> = self
            .db()
            .query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(failed)?;
        let (last, at) = last.unwrap_or((cut, 0));
        let after = last.saturating_sub(most).max(cut);
        check_seals(self.path(), self.db(), after)?;
        Ok(LogEnd { last, checked: last - after, at: Timestamp(at) })
    }

    /// As `EventStore::verify`, for anybody who may read the file.
    ///
    /// # Errors
    /// `Damaged` names the first row or event that differs.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        Ok(self.verified()?.0)
    }

    /// As `verify`, with the cluster that the log gives.
    ///
    /// # Errors
    /// As `verify`.
    pub fn verified(&self) -> Result<(Verified, Cluster), StoreError> {
        // One moment of a file that somebody may be writing.
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(self.path(), &error);
        let _moment = self.db().unchecked_transaction().map_err(failed)?;
        let cluster = self.replay(|cluster, stamped| match &stamped.event {
            Event::JobsForgotten { jobs } => self.check_past(cluster, stamped.seq, jobs),
            _ => Ok(()),
        })?;
        // Rows that no replay makes have their seals alone.
        let all = "SELECT tab, key, body, seal FROM row";
        base::select(self.path(), self.db(), all, [], &mut |_, _| Ok(true))?;
        let rows = base::living(self.path(), self.db())?;
        if cluster.log_length() > 0 {
            compare_rows(&cluster.all_rows(), &rows).map_err(|detail| self.damaged(detail))?;
        }
        let (cut, _) = base::cut_of(self.path(), self.db())?;
        let base = base::head_of(self.path(), self.db())?.map_or(0, |base| base.seq);
        let events = cluster.log_length() - cut;
        Ok((Verified { events, base, rows: rows.len() as u64 }, cluster))
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { path: self.path().to_path_buf(), detail }
    }

    /// The rows of jobs that are forgotten now are as the replay has them, and stay like that.
    fn check_past(&self, cluster: &Cluster, seq: u64, jobs: &[JobId]) -> Result<(), StoreError> {
        for expected in cluster.rows_of_jobs(jobs) {
            let (table, key) = (expected.table, &expected.key);
            let stored = self.row(table, key)?;
            let same = match (&expected.body, &stored) {
                (Some(expected), Some(stored)) => says_the_same(expected, stored),
                (expected, stored) => expected.is_none() && stored.is_none(),
            };
            if !same {
                let detail = format!(
                    "the log gives row {key} of table {table}, which is forgotten: {}; the file has {}",
                    expected.body.unwrap_or_default(),
                    stored.map(|row| row.body).unwrap_or_default()
                );
                return Err(self.damaged(detail));
            }
        }
        for job in jobs {
            let sql = "SELECT past FROM row WHERE tab = 'job' AND key = ?1";
            let past: Option<Option<u64>> = self
                .db()
                .query_row(sql, [job.to_string()], |row| row.get(0))
                .optional()
                .map_err(|error| StoreError::from_sqlite(self.path(), &error))?;
            if past != Some(Some(seq)) {
                return Err(
                    self.damaged(format!("event {seq} forgets job {job}, its row does not"))
                );
            }
        }
        Ok(())
    }
}

/// Compares rows of a cluster with rows of a file.
///
/// # Errors
/// The first difference, in words.
pub fn compare_rows(live: &[RowChange], stored: &[Row]) -> Result<(), String> {
    let mut expected: Vec<(&str, &str, &str)> = live
        .iter()
        .filter_map(|row| Some((row.table, row.key.as_str(), row.body.as_deref()?)))
        .collect();
    let mut found: Vec<&Row> = stored.iter().collect();
    expected.sort_unstable();
    found.sort_unstable_by(|a, b| (&a.table, &a.key).cmp(&(&b.table, &b.key)));
    for (expected, found) in expected.iter().zip(&found) {
        let same_key = (expected.0, expected.1) == (&found.table[..], &found.key[..]);
        if !same_key || !says_the_same(expected.2, found) {
            return Err(format!(
                "the log gives row {} of table {}: {}; the file has row {} of table {}: {}",
                expected.1, expected.0, expected.2, found.key, found.table, found.body
            ));
        }
    }
    if expected.len() == found.len() {
        return Ok(());
    }
    Err(format!("the log gives {} rows, the file has {}", expected.len(), found.len()))
}

/// Checks the chain of all events after `after` that are there.
pub(crate) fn check_seals(path: &Path, db: &Connection, after: u64) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let damaged = |detail: String| StoreError::Damaged { path: path.to_path_buf(), detail };
    let (cut, seal) = base::cut_of(path, db)?;
    let after = after.max(cut);
    let mut before: i64 = db
        .query_row("SELECT seal FROM event WHERE seq = ?1", [after], |row| row.get(0))
        .optional()
        .map_err(failed)?
        .unwrap_or(seal);
    let mut select = db
        .prepare("SELECT seq, at, kind, body, seal FROM event WHERE seq > ?1 ORDER BY seq")
        .map_err(failed)?;
    let mut found = select.query([after]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let (seq, at, kind, body, seal): (u64, i64, String, String, i64) = row
            .get(0)
            .and_then(|seq| Ok((seq, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
            .map_err(failed)?;
        if seal != event_seal(before, seq, at, &kind, &body) {
            return Err(damaged(format!("event {seq} does not match its checksum")));
        }
        decode(seq, &body)?;
        before = seal;
    }
    Ok(())
}
