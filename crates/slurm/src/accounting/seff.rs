//! `seff JOB`: how well a job used what it held.
//!
//! Invariant: the lines are those that users of `seff` know, in their order. Deliberately absent:
//! advice.
use super::sacct::rows::{Part, Row, Setting, of};
use super::used;
use crate::options::{Effect, Table, Takes, own};
use crate::queue::squeue::View;
use crate::words::{State, clock, job, state};
use pcluster_api::{JobRecord, RecordList};
use std::sync::Arc;

/// The options of `seff`.
pub const SEFF: Table = Table::own(
    "seff",
    "job",
    "Shows how well a job used the CPUs and the memory that it held.",
    "  seff 41\n  seff 42_3\n",
    &[
        own("debug", 'd', Takes::Nothing, Effect::Silent("there is nothing more to say"), ""),
        own("full", 'f', Takes::Nothing, Effect::Silent("array ids are always shown"), ""),
        own("help", 'h', Takes::Nothing, Effect::Used, "this text"),
        own("usage", '-', Takes::Nothing, Effect::Used, "all options in short"),
        own("version", 'v', Takes::Nothing, Effect::Used, "the version that clients compare"),
    ],
);

/// What a job held and used.
struct Use {
    cpu_seconds: u64,
    wall_seconds: u64,
    cores: u64,
    nodes: u64,
    /// Of its hungriest part, times its tasks.
    memory: u64,
    /// The above is an upper bound.
    estimated: bool,
    held_memory: u64,
}

impl Use {
    fn of(record: &JobRecord, view: &View) -> Self {
        let setting = Setting { view: view.clone(), unit: None, truncate: None };
        let rows = of(record.clone(), true, &Arc::new(setting));
        let own = rows.iter().find(|row| row.part == Part::Job);
        let (user, system) = own.map_or((0, 0), Row::cpu_ms);
        // Of all tasks together where they told one by one, else at most.
        let of_tasks = |row: &Row| match (used::together(row), row.max_rss()?, row.tasks()?) {
            (Some(bytes), ..) => Some((bytes, false)),
            (None, bytes, tasks) => Some((bytes.saturating_mul(tasks.max(1).into()), tasks > 1)),
        };
        let (memory, estimated) =
            rows.iter().filter_map(of_tasks).max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
        Self {
            cpu_seconds: (user + system + 500) / 1000,
            wall_seconds: u64::try_from(job::run_seconds(record, &view.clock)).unwrap_or(0),
            cores: job::cpus(record),
            nodes: job::node_count(record) as u64,
            memory,
            estimated,
            held_memory: job::memory(record),
        }
    }
}

/// Hundredths of a percent as text.
fn percent(part: u128, whole: u128) -> String {
    let hundredths = (part * 10_000 + whole / 2).checked_div(whole).unwrap_or(0);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// `12.06 MB`.
fn size(bytes: u64) -> String {
    let units = ["KB", "MB", "GB", "TB", "PB"];
    let (mut at, mut scale) = (0, 1024u128);
    if bytes == 0 {
        return "0.00 MB".to_owned();
    }
    while u128::from(bytes) >= scale * 1024 && at + 1 < units.len() {
        scale *= 1024;
        at += 1;
    }
    let hundredths = (u128::from(bytes) * 100 + scale / 2) / scale;
    format!("{}.{:02} {}", hundredths / 100, hundredths % 100, units[at])
}

fn span(seconds: u64) -> String {
    clock::long_span(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// The page of one job.
#[must_use]
pub fn page(list: &RecordList, record: &JobRecord, clock: &crate::words::Clock) -> String {
    let view = View::of(list, clock);
    let state = State::in_accounting(record);
    let mut out = format!("Job ID: {}\n", record.raw_job);
    if record.array {
        out.push_str(&format!("Array Job ID: {}\n", job::id(record)));
    }
    out.push_str(&format!("Cluster: {}\n", list.cluster));
    out.push_str(&format!("User/Group: {}/{}\n", record.user, record.group));
    if state.is_end() {
        let (code, _) = state::exit_in_accounting(record);
        out.push_str(&format!("State: {} (exit code {code})\n", state.long()));
    } else {
        out.push_str(&format!("State: {}\n", state.long()));
    }
    let used = Use::of(record, &view);
    if used.cores == 1 {
        out.push_str("Cores: 1\n");
    } else {
        let per_node = used.cores / used.nodes.max(1);
        out.push_str(&format!("Nodes: {}\nCores per node: {per_node}\n", used.nodes));
    }
    if state == State::Pending {
        out.push_str("Efficiency not available for jobs in the PENDING state.\n");
        return out;
    }
    out.push_str(&efficiency(&used));
    if state == State::Running {
        out.push_str("WARNING: Efficiency statistics may be misleading for RUNNING jobs.\n");
    }
    out
}

fn efficiency(used: &Use) -> String {
    let core_seconds = used.wall_seconds * used.cores;
    let share = if used.estimated && used.nodes > 1 {
        format!(" ({}/node)", size(used.held_memory / used.nodes))
    } else if used.estimated {
        format!(" ({}/core)", size(used.held_memory / used.cores.max(1)))
    } else {
        String::new()
    };
    let bound = if used.estimated { " (estimated maximum)" } else { "" };
    format!(
        "CPU Utilized: {}\nCPU Efficiency: {} of {} core-walltime\nJob Wall-clock time: {}\nMemory Utilized: {}{bound}\nMemory Efficiency: {} of {}{share}\n",
        span(used.cpu_seconds),
        percent(used.cpu_seconds.into(), core_seconds.into()),
        span(core_seconds),
        span(used.wall_seconds),
        size(used.memory),
        percent(used.memory.into(), used.held_memory.into()),
        size(used.held_memory),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    fn seff(record: JobRecord) -> String {
        page(&made_up::records(vec![record.clone()]), &record, &made_up::clock())
    }

    #[test]
    fn an_ended_job_says_how_it_used_what_it_held() {
        insta::assert_snapshot!(seff(made_up::ended(146, "failed", Some(3), None)), @r"
        Job ID: 146
        Cluster: refc
        User/Group: root/root
        State: FAILED (exit code 3)
        Nodes: 1
        Cores per node: 2
        CPU Utilized: 00:00:01
        CPU Efficiency: 10.00% of 00:00:10 core-walltime
        Job Wall-clock time: 00:00:05
        Memory Utilized: 12.06 MB
        Memory Efficiency: 6.03% of 200.00 MB
        ");
    }

    #[test]
    fn steps_with_many_tasks_are_an_upper_bound() {
        let mut job = made_up::ended(146, "completed", Some(0), None);
        job.steps = vec![made_up::step(0)];
        job.steps[0].max_rss_bytes = 60 << 20;
        let page = seff(job);
        assert!(page.contains("Memory Utilized: 120.00 MB (estimated maximum)\n"), "{page}");
        assert!(
            page.contains("Memory Efficiency: 60.00% of 200.00 MB (100.00 MB/core)\n"),
            "{page}"
        );
    }

    #[test]
    fn what_waits_or_runs_says_so() {
        let page = seff(made_up::array_task(148, 1, 150));
        assert!(page.starts_with("Job ID: 150\nArray Job ID: 148_1\n"), "{page}");
        assert!(
            page.ends_with("WARNING: Efficiency statistics may be misleading for RUNNING jobs.\n")
        );
        let page = seff(made_up::pending(7));
        assert!(page.ends_with("State: PENDING\nCores: 1\nEfficiency not available for jobs in the PENDING state.\n"), "{page}");
    }
}
