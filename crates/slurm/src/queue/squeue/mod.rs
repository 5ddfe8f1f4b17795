//! `squeue`: records become lines.
//!
//! Invariant: one question to the head a page; a page is a pure function of the answer, of what was
//! wanted and of the reader's clock. Deliberately absent: options (`options`), the loop of
//! `--iterate` (`super`).
pub mod fields;
mod sort;
mod steps;
mod wanted;

pub use wanted::{Format, Wanted};

use crate::json;
use crate::refusal::Refusal;
use crate::words::columns::{self, Cell};
use crate::words::{Clock, State, hosts, job, jobid, size, state};
use pcluster_api::{JobRecord, JobState, RecordList};
use pcluster_model::job::JobKind;

/// How long an ended job is told of: `MinJobAge`.
pub const MIN_JOB_AGE_MS: i64 = 300_000;

/// What values depend on besides the record.
#[derive(Debug, Clone)]
pub struct View {
    pub clock: Clock,
    pub cluster: String,
    /// `--noconvert`: sizes in mebibytes, never in a larger unit.
    pub mebibytes: bool,
}

impl View {
    /// That of an answer.
    #[must_use]
    pub fn of(list: &RecordList, clock: &Clock) -> Self {
        let clock = clock.clone().at(list.now_ms);
        Self { clock, cluster: list.cluster.clone(), mebibytes: false }
    }

    /// A size of memory or disk.
    #[must_use]
    pub fn memory(&self, bytes: u64) -> String {
        match size::mebibytes(bytes) {
            0 => "0".to_owned(),
            mebibytes if self.mebibytes => format!("{mebibytes}M"),
            _ => size::memory(bytes),
        }
    }

    /// The file that its output goes to.
    #[must_use]
    pub fn output_of(&self, record: &JobRecord) -> String {
        self.file(&record.output, record)
    }

    /// A file name of a job as the head tells it, absolute and its letters filled in.
    #[must_use]
    pub fn file(&self, name: &str, record: &JobRecord) -> String {
        let name = if name.is_empty() { "/dev/null" } else { name };
        if name.starts_with('/') || record.work_dir.is_empty() {
            return name.to_owned();
        }
        format!("{}/{name}", record.work_dir.trim_end_matches('/'))
    }
}

/// True for a job with a script.
#[must_use]
pub fn is_batch(record: &JobRecord) -> bool {
    record.kind == JobKind::Batch
}

/// The highest exit code of its steps: `3:0`.
#[must_use]
pub fn derived_exit(record: &JobRecord) -> String {
    let highest = record.steps.iter().filter_map(|step| step.exit_code).max().unwrap_or(0);
    state::exit_words((highest, 0))
}

/// What of the answer was asked for, in the order wanted.
///
/// # Errors
/// One id was asked for, and it is not known.
pub fn chosen(list: &RecordList, wanted: &Wanted) -> Result<Vec<JobRecord>, Refusal> {
    let remembered = |record: &JobRecord| {
        record.ended_at_ms.is_none_or(|at| list.now_ms - at <= MIN_JOB_AGE_MS)
            || record.state != JobState::Finished
    };
    let mut known: Vec<JobRecord> =
        list.records.iter().filter(|record| remembered(record)).cloned().collect();
    if !wanted.jobs.is_empty() {
        let meant = |record: &JobRecord| -> Vec<JobRecord> {
            let ids: Vec<_> = wanted.jobs.iter().filter(|id| id.means(record)).collect();
            // A whole array that is meant outweighs its single tasks.
            match ids.iter().find(|id| id.tasks == jobid::Tasks::All) {
                Some(id) => id.part_of(record),
                None => ids.iter().flat_map(|id| id.part_of(record)).collect(),
            }
        };
        known = known.iter().flat_map(meant).collect();
        if known.is_empty() && wanted.jobs.len() == 1 && wanted.steps.is_none() {
            return Err(Refusal::plain(super::INVALID_JOB, 1));
        }
    }
    if wanted.unfolded {
        known = known.iter().flat_map(unfolded).collect();
    }
    known.retain(|record| wants(wanted, record));
    sort::sort(&mut known, wanted.sort.as_deref().unwrap_or(sort::DEFAULT));
    Ok(known)
}

fn unfolded(record: &JobRecord) -> Vec<JobRecord> {
    if record.tasks.is_some() { jobid::unfolded(record).collect() } else { vec![record.clone()] }
}

fn wants(wanted: &Wanted, record: &JobRecord) -> bool {
    let among = |list: &Option<Vec<String>>, value: &str| {
        list.as_ref().is_none_or(|list| list.iter().any(|one| one == value))
    };
    let state = State::of(record);
    let states =
        wanted.states.as_ref().map_or_else(|| !state.is_end(), |list| list.contains(&state));
    let user = wanted.users.as_ref().is_none_or(|users| {
        users.iter().any(|user| *user == record.user || *user == record.uid.to_string())
    });
    let on = |nodes: &Vec<String>| record.node_names.iter().any(|name| nodes.contains(name));
    (states || wanted.steps.is_some())
        && user
        && among(&wanted.accounts, &record.account)
        && among(&wanted.names, &record.name)
        && among(&wanted.partitions, &record.pool)
        && among(&wanted.qos, job::qos(record))
        && wanted.nodes.as_ref().is_none_or(on)
        && wanted.reservation.is_none()
}

/// The page: headline and lines.
///
/// # Errors
/// One id was asked for, and it is not known.
pub fn page(list: &RecordList, wanted: &Wanted, clock: &Clock) -> Result<String, Refusal> {
    let view = View { mebibytes: wanted.mebibytes, ..View::of(list, clock) };
    let records = chosen(list, wanted)?;
    let mut out = String::new();
    if wanted.long && wanted.header {
        out.push_str(&format!("{}\n", view.clock.headline()));
    }
    if let Some(ids) = &wanted.steps {
        out.push_str(&steps::page(&records, ids, wanted, &view));
        return Ok(out);
    }
    let (format, _) = columns_of(&wanted.format);
    if wanted.header {
        out.push_str(&format.line(|field| Cell::from(field.heading)));
    }
    for record in &records {
        out.push_str(&format.line(|field| (field.value)(record, &view)));
    }
    Ok(out)
}

/// The answer as JSON: jobs, or with `-s` the steps that run.
///
/// # Errors
/// As [`page`].
pub fn data(
    list: &RecordList,
    wanted: &Wanted,
    clock: &Clock,
    command: &[String],
) -> Result<String, Refusal> {
    let view = View::of(list, clock);
    let records = chosen(list, wanted)?;
    let parts = if wanted.steps.is_some() {
        let of_job = |r: &JobRecord| -> Vec<_> {
            let running = r.steps.iter().filter(|step| step.ended_at_ms.is_none());
            running.map(|step| json::step(r, step, &view)).collect()
        };
        vec![("steps", records.iter().flat_map(of_job).collect())]
    } else {
        vec![("jobs", records.iter().map(|r| json::job(r, &view)).collect())]
    };
    Ok(json::answer(&list.cluster, command, parts))
}

/// What to say about fields that are none, which is no reason to fail.
#[must_use]
pub fn complaints(wanted: &Wanted) -> String {
    if wanted.steps.is_some() {
        return steps::complaints(wanted);
    }
    columns_of(&wanted.format).1
}

/// The names of all fields, four in a line.
#[must_use]
pub fn help_format() -> String {
    let names: Vec<&str> = fields::names().collect();
    columns::in_fours(&names)
}

/// The columns of a format, and what to say about those that are none.
fn columns_of(format: &Format) -> (columns::Format<&'static fields::Field>, String) {
    let said = |word: String| format!("squeue: error: Invalid job format specification: {word}\n");
    match format {
        Format::Letters(text) if text.eq_ignore_ascii_case("%all") => {
            let letters: Vec<String> = ('a'..='z')
                .chain('A'..='Z')
                .filter(|c| fields::by_letter(*c).is_some())
                .map(|c| format!("%{c}"))
                .collect();
            (columns::Format::letters(&letters.join("|"), fields::by_letter).0, String::new())
        }
        Format::Letters(text) => {
            let (columns, unknown) = columns::Format::letters(text, fields::by_letter);
            (columns, unknown.into_iter().map(|letter| said(letter.to_string())).collect())
        }
        Format::Names(text) => {
            let (columns, unknown) = columns::Format::names(text, fields::by_name);
            (columns, unknown.into_iter().map(said).collect())
        }
    }
}

/// Names of nodes given by `-w`.
#[must_use]
pub fn nodes_of(text: &str) -> Option<Vec<String>> {
    hosts::expand(text)
}

#[cfg(test)]
mod tests;
