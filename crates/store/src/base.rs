//! The living rows of a file, and the base: a copy of them at one number, with which a replay begins
//! once the events before it are deleted.
//!
//! Invariant: a base that is in table `base` is whole and on disk. What lies in `base_row` of another
//! number is a beginning, or the end of an older one, and counts for nothing.
use crate::StoreError;
use crate::seal::row_seal;
use pcluster_core::rows::Row;
use pcluster_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params};
use std::path::Path;

/// What table `base` says of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseHead {
    /// The event after which the rows were like this.
    pub seq: u64,
    /// Its time.
    pub at: i64,
    pub rows: u64,
    /// Of all its rows.
    pub seal: i64,
}

/// The newest base; `None`: a replay begins with the first event.
pub(crate) fn head_of(path: &Path, db: &Connection) -> Result<Option<BaseHead>, StoreError> {
    db.query_row("SELECT seq, at, rows, seal FROM base ORDER BY seq DESC LIMIT 1", [], |row| {
        let (seq, at) = (row.get(0)?, row.get(1)?);
        Ok(BaseHead { seq, at, rows: row.get(2)?, seal: row.get(3)? })
    })
    .optional()
    .map_err(|error| StoreError::from_sqlite(path, &error))
}

/// Number and seal of the last event that was deleted; zeros when none was.
pub(crate) fn cut_of(path: &Path, db: &Connection) -> Result<(u64, i64), StoreError> {
    let cut = db.query_row("SELECT seq, seal FROM cut", [], |row| Ok((row.get(0)?, row.get(1)?)));
    let cut = cut.optional().map_err(|error| StoreError::from_sqlite(path, &error))?;
    Ok(cut.unwrap_or_default())
}

/// The seal of a base, from those of its rows in whatever order.
pub(crate) const fn joined(seal: i64, row: i64) -> i64 {
    seal.wrapping_add(row)
}

/// The rows of the newest base, checked.
pub(crate) fn base_of(
    path: &Path,
    db: &Connection,
) -> Result<Option<(BaseHead, Vec<Row>)>, StoreError> {
    let Some(head) = head_of(path, db)? else { return Ok(None) };
    let (mut rows, mut seal) = (Vec::new(), 0);
    let sql = "SELECT tab, key, body, seal FROM base_row WHERE seq = ?1";
    select(path, db, sql, [head.seq], &mut |row, of_row| {
        seal = joined(seal, of_row);
        rows.push(row);
        Ok(true)
    })?;
    if rows.len() as u64 != head.rows || seal != head.seal {
        let detail = format!("the base of event {} does not match its checksum", head.seq);
        return Err(StoreError::Damaged { path: path.to_path_buf(), detail });
    }
    Ok(Some((head, rows)))
}

/// The time of a base.
impl BaseHead {
    pub(crate) const fn at(&self) -> Timestamp {
        Timestamp(self.at)
    }
}

/// Every row of what lives, with its seal, checked: not those of forgotten jobs. Ends at the first
/// error of `take`, and, with false, when that says not to go on.
pub(crate) fn each_living(
    path: &Path,
    db: &Connection,
    mut take: impl FnMut(Row, i64) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    // Around the tables that belong to jobs.
    let others = "SELECT tab, key, body, seal FROM row WHERE tab > ?1 AND tab < ?2";
    for (after, before) in [("", "job"), ("job", "step"), ("step", "task"), ("task", "\u{10ffff}")]
    {
        if !select(path, db, others, [after, before], &mut take)? {
            return Ok(false);
        }
    }
    // A file of format 1 has no such index, and no forgotten jobs to be skipped.
    let known = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'row_living'";
    let known: u32 = db
        .query_row(known, [], |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    let index = if known > 0 { "INDEXED BY row_living" } else { "" };
    let living = format!("row AS j {index}");
    for sql in [
        format!("SELECT tab, key, body, seal FROM {living} WHERE tab = 'job' AND past IS NULL"),
        // Keys are `JOB.TASK`; `/` is the character after `.`.
        format!(
            "SELECT t.tab, t.key, t.body, t.seal FROM {living} CROSS JOIN row AS t
             WHERE j.tab = 'job' AND j.past IS NULL
               AND t.tab = 'task' AND t.key > j.key || '.' AND t.key < j.key || '/'"
        ),
        format!(
            "SELECT s.tab, s.key, s.body, s.seal FROM {living} CROSS JOIN row AS s
             WHERE j.tab = 'job' AND j.past IS NULL
               AND s.tab = 'step' AND s.job = CAST(j.key AS INTEGER)"
        ),
    ] {
        if !select(path, db, &sql, [], &mut take)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All of them.
pub(crate) fn living(path: &Path, db: &Connection) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    each_living(path, db, |row, _| {
        rows.push(row);
        Ok(true)
    })?;
    Ok(rows)
}

/// Rows of a query, each checked. Returns false when `take` did.
pub(crate) fn select(
    path: &Path,
    db: &Connection,
    sql: &str,
    params: impl Params,
    take: &mut impl FnMut(Row, i64) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let mut select = db.prepare_cached(sql).map_err(failed)?;
    let mut found = select.query(params).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let (table, key, body, seal): (String, String, String, i64) = row
            .get(0)
            .and_then(|table| Ok((table, row.get(1)?, row.get(2)?, row.get(3)?)))
            .map_err(failed)?;
        if seal != row_seal(&table, &key, &body) {
            let detail = format!("row {key} of table {table} does not match its checksum");
            return Err(StoreError::Damaged { path: path.to_path_buf(), detail });
        }
        if !take(Row { table, key, body }, seal)? {
            return Ok(false);
        }
    }
    Ok(true)
}
