//! The whole file against itself: seals of all events, and rows against a replay.
use crate::reader::decode;
use crate::seal::event_seal;
use crate::{EventStore, Reader, StoreError};
use pcluster_core::Cluster;
use pcluster_core::rows::{Row, RowChange};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// What a check of the whole file found in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub events: u64,
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

impl Reader {
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
        let cluster = self.replayed()?;
        let rows = self.rows()?;
        let events = cluster.log_length();
        if events > 0 {
            let path = self.path().to_path_buf();
            compare_rows(&cluster.all_rows(), &rows)
                .map_err(|detail| StoreError::Damaged { path, detail })?;
        }
        Ok((Verified { events, rows: rows.len() as u64 }, cluster))
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
    let mut found: Vec<(&str, &str, &str)> = stored
        .iter()
        .map(|row| (row.table.as_str(), row.key.as_str(), row.body.as_str()))
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    for (expected, found) in expected.iter().zip(&found) {
        if expected != found {
            return Err(format!(
                "the log gives row {} of table {}: {}; the file has row {} of table {}: {}",
                expected.1, expected.0, expected.2, found.1, found.0, found.2
            ));
        }
    }
    if expected.len() == found.len() {
        return Ok(());
    }
    Err(format!("the log gives {} rows, the file has {}", expected.len(), found.len()))
}

/// Checks the chain of all events after `after`.
pub(crate) fn check_seals(path: &Path, db: &Connection, after: u64) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let damaged = |detail: String| StoreError::Damaged { path: path.to_path_buf(), detail };
    let mut before: i64 = db
        .query_row("SELECT seal FROM event WHERE seq = ?1", [after], |row| row.get(0))
        .optional()
        .map_err(failed)?
        .unwrap_or_default();
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
