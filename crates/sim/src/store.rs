//! The disk of the head: committed events and rows. It survives every crash of the head.
//!
//! Invariant: a batch is written whole or not at all, as one SQLite transaction is. Deliberately
//! absent: SQL and fsync; `pcluster-store` has tests of its own.
use pcluster_core::Cluster;
use pcluster_core::event::Stamped;
use pcluster_core::rows::{Row, RowChange, RowError};
use pcluster_model::{ClusterId, Timestamp};
use std::collections::BTreeMap;

/// Committed events, and the rows they led to.
#[derive(Debug, Default)]
pub struct SimStore {
    /// In order of `seq`.
    pub events: Vec<Stamped>,
    /// Bodies by table and key.
    pub rows: BTreeMap<(&'static str, String), String>,
}

impl SimStore {
    /// Writes one batch.
    pub fn commit(&mut self, events: &[Stamped], rows: &[RowChange]) {
        self.events.extend_from_slice(events);
        for row in rows {
            let key = (row.table, row.key.clone());
            match &row.body {
                Some(body) => self.rows.insert(key, body.clone()),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Number and time of the last event.
    #[must_use]
    pub fn end(&self) -> (u64, Timestamp) {
        self.events.last().map_or((0, Timestamp(0)), |last| (last.seq, last.at))
    }

    /// What a starting head loads; a new cluster when nothing was ever committed.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn load(&self, cluster: &ClusterId) -> Result<Cluster, RowError> {
        let (length, last_at) = self.end();
        if length == 0 {
            return Ok(Cluster::new(cluster.clone()));
        }
        let rows = self.rows.iter().map(|((table, key), body)| Row {
            table: (*table).into(),
            key: key.clone(),
            body: body.clone(),
        });
        Cluster::from_rows(rows, length, last_at)
    }
}
