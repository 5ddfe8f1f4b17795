//! A copy of the file while a head writes to it, and its rows made anew from the log.
use crate::verify::{Verified, check_seals};
use crate::writer::write_row;
use crate::{Reader, StoreError, schema};
use pcluster_core::Cluster;
use pcluster_model::ClusterId;
use std::path::Path;

/// Events replayed at a time.
const PAGE: u32 = 4096;

impl Reader {
    /// The log replayed from its first event.
    ///
    /// # Errors
    /// An event that does not match its checksum, or that this version does not know.
    pub fn replayed(&self) -> Result<Cluster, StoreError> {
        check_seals(self.path(), self.db(), 0)?;
        let mut cluster = Cluster::new(ClusterId::default());
        let mut after = 0;
        loop {
            let page = self.events(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(cluster) };
            after = last.seq;
            for stamped in &page {
                cluster.apply(stamped);
            }
        }
    }

    /// Writes a copy of the file as it is at one moment, while a head may be writing to it.
    ///
    /// # Errors
    /// `to` is there already, or the disk refuses.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(to, &error);
        let name = to.to_str().ok_or_else(|| StoreError::Io {
            path: to.to_path_buf(),
            cause: "its name is not UTF-8".into(),
        })?;
        // One read transaction; the copy has no write-ahead log beside it.
        let db = schema::open_for_copying(self.path())?;
        db.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
        std::fs::File::open(to)
            .and_then(|file| file.sync_all())
            .map_err(|error| schema::io(to, &error))
    }
}

/// Makes all rows of a file anew from its log, in one transaction. Nobody else may write to it.
///
/// # Errors
/// A log that is damaged; then nothing is changed.
pub fn rebuild(path: &Path) -> Result<Verified, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let cluster = Reader::open(path)?.replayed()?;
    let mut db = schema::open_for_writing(path)?;
    let transaction = db.transaction().map_err(failed)?;
    transaction.execute("REINDEX", []).map_err(failed)?;
    transaction.execute("DELETE FROM row", []).map_err(failed)?;
    let rows = if cluster.log_length() == 0 { Vec::new() } else { cluster.all_rows() };
    for row in &rows {
        write_row(&transaction, row).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    let rows = rows.iter().filter(|row| row.body.is_some()).count() as u64;
    Ok(Verified { events: cluster.log_length(), rows })
}
