//! `sacct`: jobs and steps with what they used.
//!
//! Invariant: a page is a pure function of the head's answer, of what was wanted and of the reader's
//! clock; a job is there from its submit on. Deliberately absent: a database of its own.
pub mod fields;
pub mod rows;
mod wanted;

pub use wanted::{Wanted, Window};

use crate::accounting::table;
use crate::json;
use crate::words::jobid::{self, JobId, StepId};
use crate::words::{Clock, State, job, state};
use pcluster_api::{JobRecord, RecordList};
use rows::{Part, Row, Setting};
use std::sync::Arc;

/// The page: headings and lines.
#[must_use]
pub fn page(list: &RecordList, wanted: &Wanted, clock: &Clock) -> String {
    table::page(&wanted.columns, &rows(list, wanted, clock), &wanted.look, wanted.header)
}

/// The answer as JSON.
#[must_use]
pub fn data(list: &RecordList, wanted: &Wanted, clock: &Clock, command: &[String]) -> String {
    let setting = Arc::new(Setting::of(list, clock));
    let jobs = chosen(list, wanted)
        .into_iter()
        .map(|record| json::accounted_job(&rows::of(record, wanted.steps, &setting)))
        .collect();
    json::answer(&list.cluster, command, vec![("jobs", jobs)])
}

/// The records that were asked for.
#[must_use]
pub fn chosen(list: &RecordList, wanted: &Wanted) -> Vec<JobRecord> {
    let parts = |record: &JobRecord| -> Vec<JobRecord> {
        if wanted.jobs.is_empty() {
            return vec![record.clone()];
        }
        let mut meant = wanted.jobs.iter().filter(|id| id.means(record));
        // A whole array that is meant outweighs its single tasks.
        match meant.clone().find(|id| id.tasks == jobid::Tasks::All).or_else(|| meant.next()) {
            Some(id) => id.part_of(record),
            None => Vec::new(),
        }
    };
    let unfolded = |record: JobRecord| -> Vec<JobRecord> {
        if wanted.unfolded && record.tasks.is_some() {
            jobid::unfolded(&record).collect()
        } else {
            vec![record]
        }
    };
    let records = list.records.iter().flat_map(parts).flat_map(unfolded);
    let mut records: Vec<JobRecord> = records.filter(|record| wants(wanted, record)).collect();
    // The waiting rest of an array stands below its tasks.
    records.sort_by_key(|record| (record.job, record.tasks.is_some()));
    records
}

fn rows(list: &RecordList, wanted: &Wanted, clock: &Clock) -> Vec<Row> {
    let mut setting = Setting::of(list, clock);
    let to = wanted.window.to_ms.min(setting.view.clock.now_ms);
    setting.truncate = wanted.truncate.then_some((wanted.window.from_ms, to));
    setting.unit = wanted.unit;
    let setting = Arc::new(setting);
    chosen(list, wanted)
        .into_iter()
        .flat_map(|record| rows::of(record, wanted.steps, &setting))
        .filter(|row| is_meant(&wanted.jobs, row))
        .collect()
}

/// A step that was named comes without its job.
fn is_meant(ids: &[JobId], row: &Row) -> bool {
    let meant = |id: &JobId| {
        id.means(&row.job)
            && match (id.step, &row.part) {
                (None, _) | (Some(StepId::Batch), Part::Batch) => true,
                (Some(StepId::Number(number)), Part::Step(step)) => step.step == number,
                _ => false,
            }
    };
    ids.is_empty() || ids.iter().any(meant)
}

fn wants(wanted: &Wanted, record: &JobRecord) -> bool {
    let among = |list: &Option<Vec<String>>, values: &[&str]| {
        list.as_ref().is_none_or(|list| list.iter().any(|one| values.contains(&one.as_str())))
    };
    let within = |range: Option<(u64, u64)>, value: u64| {
        range.is_none_or(|(least, most)| (least..=most).contains(&value))
    };
    let limit = job::limit_seconds(record).unwrap_or(i64::MAX);
    let features = wanted.features.as_ref();
    let reason = state::reason(record);
    in_window(wanted, record)
        && among(&wanted.users, &[&record.user, &record.uid.to_string()])
        && among(&wanted.groups, &[&record.group, &record.gid.to_string()])
        && among(&wanted.accounts, &[&record.account])
        && among(&wanted.names, &[&record.name])
        && among(&wanted.partitions, &[&record.pool])
        && among(&wanted.qos, &[job::qos(record)])
        && among(&wanted.reasons, &[reason])
        && features.is_none_or(|list| list.iter().all(|one| job::asks_for(record, one)))
        && wanted
            .nodes
            .as_ref()
            .is_none_or(|list| record.node_names.iter().any(|name| list.contains(name)))
        && wanted.limit.0.is_none_or(|least| limit >= least)
        && wanted.limit.1.is_none_or(|most| limit <= most)
        && within(wanted.node_count, job::node_count(record) as u64)
        && within(wanted.cpu_count, job::cpus(record))
}

/// It was there between the two moments; with states, in one of them at that time.
fn in_window(wanted: &Wanted, record: &JobRecord) -> bool {
    let Window { from_ms, to_ms } = wanted.window;
    let end = record.ended_at_ms.unwrap_or(i64::MAX);
    let there = record.submitted_at_ms <= to_ms && end >= from_ms;
    let Some(states) = &wanted.states else { return there };
    let start = job::start_ms(record);
    let state = State::in_accounting(record);
    let was = |wanted: &State| match wanted {
        // Between its submit and its start (or its end, when it never started).
        State::Pending => start.unwrap_or(end) >= from_ms && record.submitted_at_ms <= to_ms,
        State::Running => start.is_some_and(|start| start <= to_ms) && end >= from_ms,
        ended if ended.is_end() => *ended == state && (from_ms..=to_ms).contains(&end),
        other => *other == state,
    };
    there && states.iter().any(was)
}

#[cfg(test)]
mod tests;
