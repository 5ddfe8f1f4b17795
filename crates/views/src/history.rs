//! What ran, and how well it used what it asked for.
use super::money::JobCosts;
use super::{Cx, rows, schema};
use pcluster_api::{HistoryEntry, HistoryList};
use pcluster_core::Job;
use pcluster_core::job::{Outcome, PastRun, TaskEnd};
use pcluster_model::UserName;

/// Entries of one job: every finished task of it.
#[must_use]
pub fn of_job(cx: &Cx<'_>, job: &Job, costs: &JobCosts) -> Vec<HistoryEntry> {
    let sees = cx.sees_all_of(job);
    let ended = rows::of_job(cx, job, None, true, costs);
    let ended = ended.into_iter().filter(|row| row.outcome.is_some());
    ended
        .map(|row| {
            let end = job.finished.get(&row.task.unwrap_or(0));
            let usage = end.and_then(|end| end.last.as_ref()).map(|last| last.usage);
            let usage = usage.filter(|_| sees).unwrap_or_default();
            HistoryEntry {
                cpu_ms: usage.user_cpu_ms + usage.system_cpu_ms,
                max_rss_bytes: usage.max_rss_bytes,
                job: row,
            }
        })
        .collect()
}

/// `GET /v1/history` of these jobs, newest end first, at most `limit` tasks.
#[must_use]
pub fn list(cx: &Cx<'_>, jobs: &[Job], since_ms: Option<i64>, limit: usize) -> HistoryList {
    let first = jobs.iter().map(|job| job.submitted_at).min().unwrap_or(cx.now);
    let costs = JobCosts::since(cx, first);
    let mut entries: Vec<HistoryEntry> =
        jobs.iter().flat_map(|job| of_job(cx, job, &costs)).collect();
    entries.retain(|entry| since_ms.is_none_or(|since| entry.job.ended_at_ms >= Some(since)));
    entries.sort_by_key(|entry| {
        core::cmp::Reverse((entry.job.ended_at_ms, entry.job.job, entry.job.task))
    });
    entries.truncate(limit);
    HistoryList { schema: schema("history"), now_ms: cx.wall_now(), jobs: entries }
}

/// What earlier runs of this user and name say about the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Runs that the numbers come from.
    pub runs: u32,
    /// Mean of the last two that completed (Tsafrir, Etsion and Feitelson 2007: it predicts better
    /// than more history and than users' own estimates).
    pub runtime_ms: u64,
    /// The most memory of the last five runs.
    pub max_rss_bytes: u64,
    /// Runs that `max_rss_bytes` comes from.
    pub memory_runs: u32,
}

/// How many jobs are looked at for earlier runs, newest first.
const LOOK_BACK: usize = 20_000;

/// Earlier runs of jobs of this name of this user.
#[must_use]
pub fn earlier(cx: &Cx<'_>, user: &UserName, name: &str) -> Earlier {
    let mut ends: Vec<(&TaskEnd, &PastRun)> = cx
        .cluster
        .jobs
        .values()
        .rev()
        .take(LOOK_BACK)
        .filter(|job| job.owner.user == *user && job.spec.name == name)
        .take(5)
        .flat_map(|job| job.finished.values())
        .filter_map(|end| Some((end, end.last.as_ref()?)))
        .filter(|(_, last)| last.started_at.is_some())
        .collect();
    ends.sort_by_key(|(end, _)| core::cmp::Reverse(end.at));
    let spans: Vec<u64> = ends
        .iter()
        .filter(|(end, _)| matches!(end.outcome, Outcome::Completed))
        .take(2)
        .filter_map(|(end, last)| u64::try_from(cx.wall(end.at) - last.started_at?.0).ok())
        .collect();
    let memory: Vec<u64> = ends.iter().take(5).map(|(_, last)| last.usage.max_rss_bytes).collect();
    Earlier {
        runs: u32::try_from(spans.len()).unwrap_or(0),
        runtime_ms: if spans.is_empty() {
            0
        } else {
            spans.iter().sum::<u64>() / spans.len() as u64
        },
        max_rss_bytes: memory.iter().copied().max().unwrap_or(0),
        memory_runs: u32::try_from(memory.len()).unwrap_or(0),
    }
}
