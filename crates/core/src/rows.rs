//! Rows: every live thing as one complete row, written in the same transaction as its events.
//!
//! Invariant (I16): rows loaded are equal, byte for byte, to the rows of a replay of the log.
//! Deliberately absent: SQL.
use crate::job::{Job, Run, TaskEnd};
use crate::ledger::Span;
use crate::node::Node;
use crate::standing::Standing;
use crate::step::Step;
use crate::{Cluster, Meta};
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use pcluster_model::{JobId, NodeId, RunId, Timestamp};
use serde::Serialize;

/// The column of a job's row with the number of the event by which it was forgotten: the row and
/// those of its tasks and steps are no part of the living state from there on, and stay.
pub const PAST: &str = "past";

/// A row that changed: complete, or gone; without a body and with `PAST` it stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// `meta job task run step node span standing`.
    pub table: &'static str,
    pub key: String,
    /// Indexed columns beside the body: `state`, `user`, `name`, `at`, `job`, `past`.
    pub columns: Vec<(&'static str, String)>,
    /// JSON; `None` deletes the row.
    pub body: Option<String>,
}

/// A row as it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub table: String,
    pub key: String,
    pub body: String,
}

/// A row that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("row {key} of table {table} is not readable: {cause}")]
    Body { table: String, key: String, cause: String },
    #[error("table {table} is not known to this version")]
    Table { table: String },
}

/// What `apply` has touched since rows were last taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowKey {
    Meta,
    Job(JobId),
    /// A task that is over, or was.
    Task(JobId, u32),
    Run(RunId),
    Step(RunId, u32),
    Node(NodeId),
    Span(NodeId),
    Standing(String, Timestamp),
    /// A job that was forgotten, by the event of this number.
    Past(JobId, u64),
}

/// A job's row is kept as it is, and marked: forgotten by the event of this number.
#[must_use]
pub fn past_row(job: JobId, seq: u64) -> RowChange {
    let columns = alloc::vec![(PAST, seq.to_string())];
    RowChange { table: "job", key: job.to_string(), columns, body: None }
}

fn row<T: Serialize>(
    table: &'static str,
    key: String,
    columns: Vec<(&'static str, String)>,
    value: Option<&T>,
) -> RowChange {
    let body = value.map(|value| {
        serde_json::to_string(value).expect("rows hold maps with text keys and plain numbers")
    });
    RowChange { table, key, columns, body }
}

fn job_row(id: JobId, job: Option<&Job>) -> RowChange {
    let columns = job.map_or_else(Vec::new, |job| {
        let state = if job.is_finished() { "finished" } else { "live" };
        let at = job.finished.values().map(|end| end.at).max().unwrap_or(job.submitted_at);
        alloc::vec![
            ("state", state.into()),
            ("user", job.owner.user.to_string()),
            ("name", job.spec.name.clone()),
            ("at", at.0.to_string()),
        ]
    });
    row("job", id.to_string(), columns, job)
}

fn task_row(id: JobId, task: u32, end: Option<&TaskEnd>) -> RowChange {
    let columns = end.map_or_else(Vec::new, |end| {
        alloc::vec![("state", end.outcome.word().into()), ("at", end.at.0.to_string())]
    });
    row("task", alloc::format!("{id}.{task}"), columns, end)
}

fn run_row(id: RunId, run: Option<&Run>) -> RowChange {
    row("run", id.to_string(), Vec::new(), run)
}

fn step_row(id: RunId, step: u32, body: Option<&Step>) -> RowChange {
    let columns =
        body.map_or_else(Vec::new, |step| alloc::vec![("job", alloc::format!("{}", step.job))]);
    row("step", alloc::format!("{id}.{step}"), columns, body)
}

fn node_row(id: NodeId, node: Option<&Node>) -> RowChange {
    let columns = node.map_or_else(Vec::new, |node| {
        alloc::vec![("state", node.state.word().into()), ("name", node.name.clone())]
    });
    row("node", id.to_string(), columns, node)
}

fn span_row(id: NodeId, span: Option<&Span>) -> RowChange {
    let columns = span.map_or_else(Vec::new, |span| {
        alloc::vec![("name", span.name.clone()), ("at", span.ended_at.0.to_string())]
    });
    row("span", id.to_string(), columns, span)
}

fn standing_row(reference: &str, since: Timestamp, piece: Option<&Standing>) -> RowChange {
    let columns = piece.map_or_else(Vec::new, |piece| alloc::vec![("name", piece.label.clone())]);
    row("standing", alloc::format!("{reference}@{}", since.0), columns, piece)
}

impl Cluster {
    /// Rows touched since the last call, each complete.
    pub fn take_row_changes(&mut self) -> Vec<RowChange> {
        let touched = core::mem::take(&mut self.touched);
        touched.into_iter().map(|key| self.row_of(&key)).collect()
    }

    pub(crate) fn row_of(&self, key: &RowKey) -> RowChange {
        match key {
            RowKey::Meta => row("meta", "cluster".into(), Vec::new(), Some(&self.meta)),
            RowKey::Job(id) => job_row(*id, self.jobs.get(id)),
            RowKey::Task(id, task) => {
                let end = self.jobs.get(id).and_then(|job| job.finished.get(task));
                task_row(*id, *task, end)
            }
            RowKey::Run(id) => run_row(*id, self.runs.get(id)),
            RowKey::Step(id, step) => {
                let body = self.steps.get(id).and_then(|steps| steps.get(*step as usize));
                step_row(*id, *step, body)
            }
            RowKey::Node(id) => node_row(*id, self.nodes.get(id)),
            RowKey::Span(id) => span_row(*id, self.ledger.spans.get(id)),
            RowKey::Standing(reference, since) => {
                let piece = self.ledger.standing.get(&(reference.clone(), *since));
                standing_row(reference, *since, piece)
            }
            RowKey::Past(id, seq) => past_row(*id, *seq),
        }
    }

    /// Every row, in a fixed order: the definition that I16 compares.
    #[must_use]
    pub fn all_rows(&self) -> Vec<RowChange> {
        let mut keys: Vec<RowKey> = alloc::vec![RowKey::Meta];
        keys.extend(self.jobs.keys().map(|id| RowKey::Job(*id)));
        for job in self.jobs.values() {
            keys.extend(job.finished.keys().map(|task| RowKey::Task(job.id, *task)));
        }
        keys.extend(self.runs.keys().map(|id| RowKey::Run(*id)));
        for steps in self.steps.values() {
            keys.extend(steps.iter().map(|step| RowKey::Step(step.run, step.step)));
        }
        keys.extend(self.nodes.keys().map(|id| RowKey::Node(*id)));
        keys.extend(self.ledger.spans.keys().map(|id| RowKey::Span(*id)));
        let pieces = self.ledger.standing.keys();
        keys.extend(pieces.map(|(reference, since)| RowKey::Standing(reference.clone(), *since)));
        keys.iter().map(|key| self.row_of(key)).collect()
    }

    /// The cluster as its rows say; `log_length` and `last_at` are those of the last event.
    ///
    /// # Errors
    /// A row that this version cannot read: the file is of another version or damaged.
    pub fn from_rows(
        rows: impl Iterator<Item = Row>,
        log_length: u64,
        last_at: Timestamp,
    ) -> Result<Self, RowError> {
        let mut cluster = Self::empty();
        let mut ends = Vec::new();
        for row in rows {
            if row.table == "task" {
                ends.push(row);
            } else if row.table == "step" {
                let step: Step = read(&row)?;
                cluster.steps.entry(step.run).or_default().push(step);
            } else {
                cluster.load_row(&row)?;
            }
        }
        for row in ends {
            cluster.load_task(&row)?;
        }
        // Rows come in the order of their keys, which are text.
        cluster.steps.values_mut().for_each(|steps| steps.sort_by_key(|step| step.step));
        cluster.log_length = log_length;
        cluster.last_at = last_at;
        cluster.rebuild_indexes();
        Ok(cluster)
    }

    fn load_task(&mut self, row: &Row) -> Result<(), RowError> {
        let id = row.key.split_once('.').and_then(|(job, _)| job.parse().ok()).map(JobId);
        let job = id.and_then(|id| self.jobs.get_mut(&id)).ok_or_else(|| no_task(row))?;
        add_end(job, row)
    }

    fn load_row(&mut self, row: &Row) -> Result<(), RowError> {
        match row.table.as_str() {
            "meta" => self.meta = read::<Meta>(row)?,
            "job" => {
                let job: Job = read(row)?;
                self.jobs.insert(job.id, job);
            }
            "run" => {
                let run: Run = read(row)?;
                self.runs.insert(run.id, run);
            }
            "node" => {
                let node: Node = read(row)?;
                self.nodes.insert(node.id, node);
            }
            "span" => {
                let span: Span = read(row)?;
                self.ledger.spans.insert(span.node, span);
            }
            "standing" => {
                let piece: Standing = read(row)?;
                self.ledger.standing.insert((piece.reference.clone(), piece.since), piece);
            }
            _ => return Err(RowError::Table { table: row.table.clone() }),
        }
        Ok(())
    }
}

/// True when a stored row says what the row `expected` of this version says. Its writer may have been
/// of an earlier version: fields that it did not know have their defaults.
#[must_use]
pub fn says_the_same(expected: &str, stored: &Row) -> bool {
    fn again<T: Serialize + serde::de::DeserializeOwned>(text: &str) -> Option<String> {
        let value: T = serde_json::from_str(text).ok()?;
        serde_json::to_string(&value).ok()
    }
    if expected == stored.body {
        return true;
    }
    let found = match stored.table.as_str() {
        "meta" => return same_meta(expected, &stored.body),
        "job" => again::<Job>(&stored.body),
        "task" => again::<TaskEnd>(&stored.body),
        "run" => again::<Run>(&stored.body),
        "step" => again::<Step>(&stored.body),
        "node" => again::<Node>(&stored.body),
        "span" => again::<Span>(&stored.body),
        "standing" => again::<Standing>(&stored.body),
        _ => None,
    };
    found.as_deref() == Some(expected)
}

/// Failed boots were counted by kind of machine once, and are by image now: the counts of before say
/// nothing about images.
fn same_meta(expected: &str, stored: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Meta>(text).ok();
    let (Some(mut wanted), Some(mut found)) = (read(expected), read(stored)) else { return false };
    if stored.contains("\"boot_failures\"") {
        for meta in [&mut wanted, &mut found] {
            for (_, health) in &mut meta.offerings {
                health.boots.clear();
            }
        }
    }
    serde_json::to_string(&wanted).ok() == serde_json::to_string(&found).ok()
}

/// A job as its row and those of its tasks say.
///
/// # Errors
/// A row that this version cannot read.
pub fn job_of(row: &Row, tasks: &[Row]) -> Result<Job, RowError> {
    let mut job: Job = read(row)?;
    tasks.iter().try_for_each(|task| add_end(&mut job, task))?;
    Ok(job)
}

fn no_task(row: &Row) -> RowError {
    RowError::Body {
        table: row.table.clone(),
        key: row.key.clone(),
        cause: "it is no task of a job".into(),
    }
}

fn add_end(job: &mut Job, row: &Row) -> Result<(), RowError> {
    let task = row.key.split_once('.').and_then(|(_, task)| task.parse::<u32>().ok());
    let end: TaskEnd = read(row)?;
    job.failed += usize::from(!end.outcome.is_success());
    job.finished.insert(task.ok_or_else(|| no_task(row))?, end);
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, RowError> {
    serde_json::from_str(&row.body).map_err(|cause| RowError::Body {
        table: row.table.clone(),
        key: row.key.clone(),
        cause: cause.to_string(),
    })
}

/// Keys touched by `apply`.
pub(crate) type Touched = BTreeSet<RowKey>;
