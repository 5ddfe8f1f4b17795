//! A copy of the file while a head writes to it, and its rows made anew from the log.
use crate::verify::{Verified, check_seals};
use crate::writer::write_row;
use crate::{Reader, StoreError, base, schema};
use pcluster_core::event::Stamped;
use pcluster_core::rows::{Row, past_row};
use pcluster_core::{Cluster, Event};
use pcluster_model::{ClusterId, Timestamp};
use std::path::Path;

/// Events replayed at a time.
const PAGE: u32 = 4096;

impl Reader {
    /// The log replayed: its base, then the events after it.
    ///
    /// # Errors
    /// An event that does not match its checksum, or that this version does not know.
    pub fn replayed(&self) -> Result<Cluster, StoreError> {
        self.replay(|_, _| Ok(()))
    }

    /// The base with which a replay begins: its number, its time, its rows.
    ///
    /// # Errors
    /// A base that does not match its checksum.
    pub fn base(&self) -> Result<Option<(u64, Timestamp, Vec<Row>)>, StoreError> {
        let base = base::base_of(self.path(), self.db())?;
        Ok(base.map(|(head, rows)| (head.seq, head.at(), rows)))
    }

    /// As `replayed`; `before` sees each event with the state before it.
    pub(crate) fn replay(
        &self,
        mut before: impl FnMut(&Cluster, &Stamped) -> Result<(), StoreError>,
    ) -> Result<Cluster, StoreError> {
        check_seals(self.path(), self.db(), 0)?;
        let mut cluster = match self.base()? {
            None => Cluster::new(ClusterId::default()),
            Some((seq, at, rows)) => {
                Cluster::from_rows(rows.into_iter(), seq, at).map_err(|error| {
                    let detail = format!("the base of event {seq}: {error}");
                    StoreError::Damaged { path: self.path().to_path_buf(), detail }
                })?
            }
        };
        loop {
            let page = self.events(cluster.log_length(), PAGE)?;
            if page.is_empty() {
                return Ok(cluster);
            }
            for stamped in &page {
                before(&cluster, stamped)?;
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

/// Makes all rows of a file anew from its log, in one transaction. Nobody else may write to it. Rows
/// of jobs that were forgotten before the base stay: no event that could make them is left.
///
/// # Errors
/// A log that is damaged; then nothing is changed.
pub fn rebuild(path: &Path) -> Result<Verified, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let mut past = Vec::new();
    let cluster = Reader::open(path)?.replay(|cluster, stamped| {
        if let Event::JobsForgotten { jobs } = &stamped.event {
            past.push((stamped.seq, jobs.clone(), cluster.rows_of_jobs(jobs)));
        }
        Ok(())
    })?;
    let mut db = schema::open_for_writing(path)?;
    schema::bring_up(path, &db)?;
    let base = base::head_of(path, &db)?.map_or(0, |base| base.seq);
    let (cut, _) = base::cut_of(path, &db)?;
    let transaction = db.transaction().map_err(failed)?;
    transaction.execute("REINDEX", []).map_err(failed)?;
    for sql in FORGOTTEN_STAY {
        transaction.execute(sql, [base]).map_err(failed)?;
    }
    let rows = if cluster.log_length() == 0 { Vec::new() } else { cluster.all_rows() };
    for row in rows.iter().chain(past.iter().flat_map(|(_, _, rows)| rows)) {
        write_row(&transaction, row).map_err(failed)?;
    }
    for (seq, jobs, _) in &past {
        for job in jobs {
            write_row(&transaction, &past_row(*job, *seq)).map_err(failed)?;
        }
    }
    transaction.commit().map_err(failed)?;
    let rows = rows.iter().filter(|row| row.body.is_some()).count() as u64;
    Ok(Verified { events: cluster.log_length() - cut, base, rows })
}

/// All rows go but those of jobs that were forgotten before the base.
const FORGOTTEN_STAY: [&str; 4] = [
    "DELETE FROM row WHERE tab NOT IN ('job', 'step', 'task') AND ?1 >= 0",
    "DELETE FROM row WHERE tab = 'task' AND NOT EXISTS (
       SELECT 1 FROM row AS j WHERE j.tab = 'job' AND j.past <= ?1
         AND j.key = substr(row.key, 1, instr(row.key, '.') - 1))",
    "DELETE FROM row WHERE tab = 'step' AND NOT EXISTS (
       SELECT 1 FROM row AS j WHERE j.tab = 'job' AND j.past <= ?1
         AND j.key = CAST(row.job AS TEXT))",
    "DELETE FROM row WHERE tab = 'job' AND (past IS NULL OR past > ?1)",
];
