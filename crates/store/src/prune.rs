//! Cuts the log: a base where one is missing, then old events go, some at a time.
//!
//! Invariant: after every step the file is whole: its replay is its newest base and the events after
//! it, and the chain of seals goes on from where it is cut. No transaction is longer than one slice,
//! so the writer never waits for longer. Deliberately absent: clocks and pauses (the caller's).
use crate::base::{self, BaseHead, each_living, joined};
use crate::{StoreError, schema};
use pcluster_core::rows::Row;
use pcluster_model::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};

/// Bytes of rows that one slice copies.
const COPY_BYTES: usize = 256 << 10;
/// Rows that one slice copies at most.
const COPY_ROWS: usize = 1_000;
/// Events that one slice deletes.
const DELETE_EVENTS: u64 = 1_000;
/// Rows of old bases that one slice deletes.
const DELETE_ROWS: usize = 1_000;
/// Free pages that one slice gives back to the disk.
const FREE_PAGES: u32 = 200;
/// SQLite's number of the mode in which a file is made.
const INCREMENTAL: u32 = 2;

/// What was just done, and is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    /// Rows of a base that is not whole yet.
    Copied { rows: u64 },
    /// A base is whole.
    Based { seq: u64, rows: u64 },
    /// Events up to this one are gone.
    Cut { seq: u64, events: u64 },
    /// Rows of bases that no replay needs.
    Dropped { rows: u64 },
    /// Pages that the file no longer has.
    Freed { pages: u32 },
}

/// A second writer of the file, beside its head.
#[derive(Debug)]
pub struct Pruner {
    db: Connection,
    path: PathBuf,
}

impl Pruner {
    /// Opens a file that somebody else may be writing.
    ///
    /// # Errors
    /// As `Reader::open`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { db: schema::open_beside(path)?, path: path.to_path_buf() })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |error| StoreError::from_sqlite(&path, &error)
    }

    /// Deletes events from before `before`, with a new base where the last one does not cover
    /// them. `after_each` is called after every transaction, with the file unlocked; it says
    /// whether to go on. Returns false when it did not.
    ///
    /// # Errors
    /// The disk refuses or the file is damaged; what was done stays, and is whole.
    pub fn prune(
        &mut self,
        before: Timestamp,
        mut after_each: impl FnMut(Pruned) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(last) = self.last_before(before)? else { return Ok(true) };
        let base = base::head_of(&self.path, &self.db)?;
        // What a crash left of a base would stand in the way of the next one of its number.
        if !self.drop_old(base, &mut after_each)? {
            return Ok(false);
        }
        if base.is_none_or(|base| base.seq <= last) && !self.copy(&mut after_each)? {
            return Ok(false);
        }
        let base = base::head_of(&self.path, &self.db)?;
        Ok(self
            .cut(last.min(base.map_or(0, |base| base.seq.saturating_sub(1))), &mut after_each)?
            && self.drop_old(base, &mut after_each)?
            && self.free(&mut after_each)?)
    }

    /// The last event of before this moment that is still there. Times never fall, so whatever
    /// comes before it is as old.
    fn last_before(&self, before: Timestamp) -> Result<Option<u64>, StoreError> {
        let ends = "SELECT min(seq), max(seq) FROM event";
        let ends = self.db.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (first, last): (Option<u64>, Option<u64>) = ends.map_err(self.failed())?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        let mut at =
            self.db.prepare("SELECT at FROM event WHERE seq = ?1").map_err(self.failed())?;
        // There is no index by time: halve the numbers.
        let (mut old, mut young) = (first - 1, last + 1);
        while young - old > 1 {
            let middle = old + (young - old) / 2;
            let when: i64 = at.query_row([middle], |row| row.get(0)).map_err(self.failed())?;
            if when < before.0 { old = middle } else { young = middle }
        }
        Ok((old >= first).then_some(old))
    }

    /// Writes a base of this moment.
    fn copy(&self, after_each: &mut impl FnMut(Pruned) -> bool) -> Result<bool, StoreError> {
        let source = schema::open_for_reading(&self.path)?;
        let moment = source.unchecked_transaction().map_err(self.failed())?;
        let last = "SELECT seq, at FROM event ORDER BY seq DESC LIMIT 1";
        let last = moment.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (seq, at): (u64, i64) = last.map_err(self.failed())?;
        let mut head = BaseHead { seq, at, rows: 0, seal: 0 };
        let (mut slice, mut bytes) = (Vec::new(), 0);
        let all = each_living(&self.path, &moment, |row, seal| {
            bytes += row.body.len();
            slice.push((row, seal));
            if bytes >= COPY_BYTES || slice.len() >= COPY_ROWS {
                bytes = 0;
                return Ok(after_each(self.write(&mut head, &mut slice)?));
            }
            Ok(true)
        })?;
        if !all || !after_each(self.write(&mut head, &mut slice)?) {
            return Ok(false);
        }
        let BaseHead { seq, at, rows, seal } = head;
        self.transaction(|db| {
            let sql = "INSERT INTO base(seq, at, rows, seal) VALUES (?1, ?2, ?3, ?4)";
            db.execute(sql, params![seq, at, rows, seal])
        })?;
        Ok(after_each(Pruned::Based { seq, rows }))
    }

    fn write(
        &self,
        head: &mut BaseHead,
        slice: &mut Vec<(Row, i64)>,
    ) -> Result<Pruned, StoreError> {
        let seq = head.seq;
        self.transaction(|db| {
            let sql = "INSERT INTO base_row(seq, tab, key, body, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = db.prepare_cached(sql)?;
            for (row, seal) in slice.iter() {
                insert.execute(params![seq, row.table, row.key, row.body, seal])?;
            }
            Ok(())
        })?;
        head.rows += slice.len() as u64;
        head.seal = slice.drain(..).fold(head.seal, |seal, (_, of_row)| joined(seal, of_row));
        Ok(Pruned::Copied { rows: head.rows })
    }

    /// Deletes events up to this one.
    fn cut(
        &self,
        last: u64,
        after_each: &mut impl FnMut(Pruned) -> bool,
    ) -> Result<bool, StoreError> {
        loop {
            let (from, _) = base::cut_of(&self.path, &self.db)?;
            if from >= last {
                return Ok(true);
            }
            let to = last.min(from + DELETE_EVENTS);
            let events = self.transaction(|db| {
                let seal: i64 =
                    db.query_row("SELECT seal FROM event WHERE seq = ?1", [to], |row| row.get(0))?;
                let sql = "INSERT INTO cut(one, seq, seal) VALUES (1, ?1, ?2)
                           ON CONFLICT(one) DO UPDATE SET seq = excluded.seq, seal = excluded.seal";
                db.execute(sql, params![to, seal])?;
                db.execute("DELETE FROM event WHERE seq <= ?1", [to])
            })?;
            if !after_each(Pruned::Cut { seq: to, events: events as u64 }) {
                return Ok(false);
            }
        }
    }

    /// Deletes bases before this one, and what is no base.
    fn drop_old(
        &self,
        base: Option<BaseHead>,
        after_each: &mut impl FnMut(Pruned) -> bool,
    ) -> Result<bool, StoreError> {
        let kept = base.map_or(0, |base| base.seq);
        loop {
            let rows = self.transaction(|db| {
                db.execute("DELETE FROM base WHERE seq < ?1", [kept])?;
                let sql = "DELETE FROM base_row WHERE rowid IN (
                             SELECT rowid FROM base_row WHERE seq < ?1
                             UNION ALL SELECT rowid FROM base_row WHERE seq > ?1 LIMIT ?2)";
                db.execute(sql, params![kept, DELETE_ROWS])
            })?;
            if rows == 0 {
                return Ok(true);
            }
            if !after_each(Pruned::Dropped { rows: rows as u64 }) {
                return Ok(false);
            }
        }
    }

    /// Gives free pages back to the disk, where the file was made for it.
    fn free(&self, after_each: &mut impl FnMut(Pruned) -> bool) -> Result<bool, StoreError> {
        let number = |name: &str| {
            let value = self.db.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
            value.map_err(self.failed())
        };
        if number("auto_vacuum")? != INCREMENTAL {
            return Ok(true);
        }
        let mut left = number("freelist_count")?;
        while left > 0 {
            self.vacuum().map_err(self.failed())?;
            let now = number("freelist_count")?;
            if now >= left {
                break;
            }
            if !after_each(Pruned::Freed { pages: left - now }) {
                return Ok(false);
            }
            left = now;
        }
        Ok(true)
    }

    fn vacuum(&self) -> Result<(), rusqlite::Error> {
        let sql = format!("PRAGMA incremental_vacuum({FREE_PAGES})");
        let mut vacuum = self.db.prepare_cached(&sql)?;
        let mut steps = vacuum.query([])?;
        // A page for each step.
        while steps.next()?.is_some() {}
        Ok(())
    }

    fn transaction<T>(
        &self,
        what: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let begin = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate);
        let done = begin.and_then(|transaction| {
            let value = what(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        done.map_err(self.failed())
    }
}
