//! The disk of the head: committed events and rows, and the base with which a replay begins once the
//! log is cut. It survives every crash of the head.
//!
//! Invariant: a batch, and each step of pruning, is written whole or not at all, as one SQLite
//! transaction is. Deliberately absent: SQL and fsync; `pcluster-store` has tests of its own.
use crate::plant::Plant;
use pcluster_core::Cluster;
use pcluster_core::event::Stamped;
use pcluster_core::rows::{PAST, Row, RowChange, RowError};
use pcluster_core::step::Step;
use pcluster_model::{ClusterId, Timestamp};
use std::collections::BTreeMap;

/// Bodies by table and key.
pub type Rows = BTreeMap<(&'static str, String), String>;

/// Committed events, and the rows they led to.
#[derive(Debug, Default)]
pub struct SimStore {
    /// In order of `seq`; the first `removed` are gone.
    events: Vec<Stamped>,
    removed: usize,
    /// The last event that is gone.
    cut: u64,
    /// Of what lives.
    pub rows: Rows,
    /// Of forgotten jobs.
    pub past: Rows,
    base: Option<Base>,
    /// A base that is being copied. A crash leaves its rows, which count for nothing.
    making: Option<Making>,
}

/// Rows at one number.
#[derive(Debug, Clone)]
struct Base {
    seq: u64,
    at: Timestamp,
    rows: Rows,
}

#[derive(Debug)]
struct Making {
    /// What has been copied.
    base: Base,
    /// The rest of the rows of that moment.
    left: Rows,
}

/// What a step of pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    Copied,
    Based(u64),
    Cut(u64),
    /// Nothing is left to be done.
    Nothing,
}

impl SimStore {
    /// Writes one batch.
    pub fn commit(&mut self, events: &[Stamped], rows: &[RowChange]) {
        self.events.extend_from_slice(events);
        for row in rows {
            let key = (row.table, row.key.clone());
            match &row.body {
                Some(body) => drop(self.rows.insert(key, body.clone())),
                None if row.columns.iter().any(|(name, _)| *name == PAST) => self.forget(&row.key),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    /// The rows of a job, of its tasks and its steps are no part of the living any more.
    fn forget(&mut self, job: &str) {
        let is_task = |key: &str| key.split_once('.').is_some_and(|(of, _)| of == job);
        let is_step = |body: &str| {
            serde_json::from_str::<Step>(body).is_ok_and(|step| step.job.to_string() == job)
        };
        let of_job = self.rows.extract_if(.., |(table, key), body| match *table {
            "job" => key == job,
            "task" => is_task(key),
            "step" => is_step(body),
            _ => false,
        });
        self.past.extend(of_job);
    }

    /// Events after the first `count` that were ever written.
    #[must_use]
    pub fn after(&self, count: u64) -> &[Stamped] {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.events.get(count.saturating_sub(self.removed)..).unwrap_or_default()
    }

    /// How many events were ever written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.removed + self.events.len()
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
    pub fn load(&mut self, cluster: &ClusterId) -> Result<Cluster, RowError> {
        self.making = None;
        let (length, last_at) = self.end();
        if length == 0 {
            return Ok(Cluster::new(cluster.clone()));
        }
        of_rows(&self.rows, length, last_at)
    }

    /// The base, and the events after it.
    ///
    /// # Errors
    /// Events are gone for which no base stands, or a row of it cannot be read.
    pub fn replay(&self, cluster: &ClusterId) -> Result<Cluster, String> {
        let mut replayed = match &self.base {
            Some(base) => {
                of_rows(&base.rows, base.seq, base.at).map_err(|error| error.to_string())?
            }
            None => Cluster::new(cluster.clone()),
        };
        if self.cut >= replayed.log_length().max(1) {
            let base = replayed.log_length();
            return Err(format!("events up to {} are gone, the base is of {base}", self.cut));
        }
        let begin = self.events.partition_point(|event| event.seq <= replayed.log_length());
        for stamped in &self.events[begin..] {
            if stamped.seq != replayed.log_length() + 1 {
                return Err(format!("event {} follows {}", stamped.seq, replayed.log_length()));
            }
            replayed.apply(stamped);
        }
        Ok(replayed)
    }

    /// One step of what `pcluster_store::Pruner` does, with at most `most` rows or events.
    pub fn prune(&mut self, before: Timestamp, most: usize, plant: Plant) -> Pruned {
        let last = self.events.iter().take_while(|event| event.at < before).last();
        let last = last.map_or(self.cut, |event| event.seq);
        let mut covered = self.base.as_ref().map_or(0, |base| base.seq);
        if let Some(making) = &self.making {
            if plant == Plant::HastyCut {
                covered = making.base.seq;
            } else {
                return self.copy(most, plant);
            }
        } else if last > self.cut && covered <= last {
            let (seq, at) = self.end();
            let base = Base { seq, at, rows: Rows::new() };
            self.making = Some(Making { base, left: self.rows.clone() });
            return Pruned::Copied;
        }
        let upto = last.min(covered.saturating_sub(1));
        if upto <= self.cut {
            return if self.making.is_some() { self.copy(most, plant) } else { Pruned::Nothing };
        }
        let old = self.events.iter().take_while(|event| event.seq <= upto).count().min(most);
        let gone: Vec<Stamped> = self.events.drain(..old).collect();
        self.removed += gone.len();
        self.cut = gone.last().map_or(upto, |event| event.seq);
        Pruned::Cut(self.cut)
    }

    fn copy(&mut self, most: usize, plant: Plant) -> Pruned {
        let Some(making) = &mut self.making else { return Pruned::Nothing };
        for at in 0..most {
            let Some((key, body)) = making.left.pop_first() else {
                let seq = making.base.seq;
                self.base = self.making.take().map(|made| made.base);
                return Pruned::Based(seq);
            };
            if plant == Plant::LeakyBase && at == 7 {
                continue;
            }
            making.base.rows.insert(key, body);
        }
        Pruned::Copied
    }
}

fn of_rows(rows: &Rows, length: u64, at: Timestamp) -> Result<Cluster, RowError> {
    let rows = rows.iter().map(|((table, key), body)| Row {
        table: (*table).into(),
        key: key.clone(),
        body: body.clone(),
    });
    Cluster::from_rows(rows, length, at)
}
