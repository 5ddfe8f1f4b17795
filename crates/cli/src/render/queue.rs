//! `queue`: what runs and waits.
use super::Page;
use crate::look::{Look, elapsed, limit_short};
use crate::text::{Column, Side, clean, cut, money, pad, size_short, table, width_of};
use pcluster_api::{JobList, JobState, JobView};

/// The order of the page: running first, then starting, then by expected start, held, finished.
#[must_use]
pub fn sorted(jobs: &[JobView]) -> Vec<&JobView> {
    let mut rows: Vec<&JobView> = jobs.iter().collect();
    let rank = |job: &JobView| match job.state {
        JobState::Running => 0,
        JobState::Ending => 1,
        JobState::Starting => 2,
        JobState::Queued => 3,
        JobState::Held => 4,
        JobState::Finished => 5,
    };
    rows.sort_by_key(|job| {
        // Unknown starts come after known ones.
        let start = job.expected_start_ms.unwrap_or(i64::MAX);
        let by_start =
            if matches!(job.state, JobState::Starting | JobState::Queued) { start } else { 0 };
        (rank(job), by_start, job.job, job.task)
    });
    rows
}

/// The word of a state.
#[must_use]
pub const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Ending => "ending",
        JobState::Starting => "starting",
        JobState::Queued => "queued",
        JobState::Held => "held",
        JobState::Finished => "finished",
    }
}

/// How a finished job ended, in words: `completed`, `failed (exit 1)`, `timed out`.
#[must_use]
pub fn outcome_words(job: &JobView) -> String {
    let Some(outcome) = &job.outcome else { return "finished".to_owned() };
    let word = outcome.word.replace('_', " ");
    let detail = match (outcome.word.as_str(), outcome.signal, outcome.exit_code) {
        ("completed", _, _) => String::new(),
        // It says the word itself: `cancelled by ana`.
        _ if outcome.detail.starts_with(&word) => return outcome.detail.clone(),
        ("failed", Some(signal), _) => format!("signal {signal}"),
        ("failed", None, Some(code)) => format!("exit {code}"),
        _ => outcome.detail.clone(),
    };
    if detail.is_empty() { word } else { format!("{word} ({detail})") }
}

/// Cells whose parts stand under each other: every row's part in its own width.
fn parts_under_each_other(rows: &[Vec<String>], sides: &[Side]) -> Vec<String> {
    let widths: Vec<usize> = (0..sides.len())
        .map(|at| {
            rows.iter().map(|row| row.get(at).map_or(0, |part| width_of(part))).max().unwrap_or(0)
        })
        .collect();
    let cell = |row: &Vec<String>| -> String {
        let parts = row.iter().zip(&widths).zip(sides);
        parts.map(|((part, width), side)| pad(part, *width, *side)).collect()
    };
    rows.iter().map(cell).collect()
}

fn needs(jobs: &[&JobView]) -> Vec<String> {
    let any_gpus = jobs.iter().any(|job| job.gpus > 0);
    let row = |job: &&JobView| {
        let nodes = if job.nodes > 1 { format!("{}n ", job.nodes) } else { String::new() };
        let gpus = match (any_gpus, job.gpus) {
            (false, _) => String::new(),
            (true, 0) => " -".to_owned(),
            (true, gpus) => format!(" {gpus}g"),
        };
        vec![format!("{nodes}{}c", job.cpus), " ".to_owned(), size_short(job.memory_bytes), gpus]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    parts_under_each_other(&rows, &[Side::Right, Side::Left, Side::Right, Side::Left])
}

fn times(jobs: &[&JobView]) -> Vec<String> {
    let row = |job: &&JobView| {
        let ran = job.started_at_ms.is_some();
        let passed = if ran { elapsed(job.elapsed_ms) } else { "-".to_owned() };
        vec![passed, " / ".to_owned(), limit_short(job.time_limit_ms)]
    };
    let mut rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    // The heading `TIME / LIMIT` has its slash where the cells have theirs.
    rows.push(vec!["TIME ".to_owned(), " / ".to_owned(), String::new()]);
    let mut cells = parts_under_each_other(&rows, &[Side::Right, Side::Left, Side::Left]);
    cells.pop();
    cells
}

fn where_or_why(job: &JobView, look: &Look) -> String {
    let nodes = || job.node_names.join(", ");
    let reason = job.reason.as_ref().map_or("", |reason| reason.short.as_str());
    match job.state {
        JobState::Running | JobState::Ending => nodes(),
        JobState::Starting | JobState::Queued => {
            let start = job.expected_start_ms.map(|at| format!("~{}", look.clock(at)));
            let parts = [start.unwrap_or_default(), reason.to_owned()];
            parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
        }
        JobState::Held => reason.to_owned(),
        JobState::Finished => {
            let end = job.ended_at_ms.map(|at| format!("{}, ", look.clock(at))).unwrap_or_default();
            format!("{end}{}", outcome_words(job))
        }
    }
}

/// The page of `queue`; with `all` it has a column of users.
#[must_use]
pub fn queue(list: &JobList, all: bool, look: &Look) -> Page {
    let jobs = sorted(&list.jobs);
    let mut page = Page { data: String::new(), talk: footer(list, all) };
    if jobs.is_empty() {
        return page;
    }
    let wide = look.width > 100;
    let (id_width, name_width) = match (wide, all) {
        (true, _) => (28, 32),
        (false, false) => (14, 16),
        (false, true) => (12, 10),
    };
    let mut columns =
        vec![Column::left("JOB").at_most(id_width).at_least(if wide { 0 } else { 4 })];
    if all {
        columns.push(Column::left("USER").at_most(if wide { 16 } else { 8 }));
    }
    columns.extend([
        Column::left("NAME").at_most(name_width),
        Column::left("STATE").at_least(8),
        Column::left("NEEDS").at_least(8),
        Column::left("TIME / LIMIT"),
        Column::left("COST").at_least(6),
        Column::left("WHERE OR WHY"),
    ]);
    let (needs, times) = (needs(&jobs), times(&jobs));
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .zip(needs.into_iter().zip(times))
        .map(|(job, (needs, time))| {
            let mut row = vec![job.id.clone()];
            if all {
                row.push(job.user.clone());
            }
            row.extend([
                cut(&clean(&job.name), name_width),
                state_word(job.state).to_owned(),
                needs,
                time,
                cost_cell(job),
                where_or_why(job, look),
            ]);
            row
        })
        .collect();
    page.data = table(&columns, &rows, look.width);
    page
}

/// Nothing is spent before the first run; `-` also stands for what this reader may not see.
fn cost_cell(job: &JobView) -> String {
    let began = job.started_at_ms.is_some() || job.cost_micro_usd.is_some_and(|cost| cost != 0);
    match job.cost_micro_usd {
        Some(cost) if began => money(cost),
        _ => "-".to_owned(),
    }
}

fn footer(list: &JobList, all: bool) -> String {
    let count = |wanted: &[JobState]| -> u64 {
        list.jobs.iter().filter(|job| wanted.contains(&job.state)).map(|job| job.count).sum()
    };
    let kinds = [
        (count(&[JobState::Running, JobState::Ending]), "run", "runs"),
        (count(&[JobState::Starting]), "start", "starts"),
        (count(&[JobState::Queued]), "wait", "waits"),
        (count(&[JobState::Held]), "held", "held"),
        (count(&[JobState::Finished]), "ended", "ended"),
    ];
    let said: Vec<String> = kinds
        .iter()
        .filter(|(number, _, _)| *number > 0)
        .map(|(number, many, one)| format!("{number} {}", if *number == 1 { one } else { many }))
        .collect();
    let said = if said.is_empty() { "nothing runs or waits".to_owned() } else { said.join(", ") };
    let whose = if all { "all" } else { "yours" };
    match (list.others, list.other_users) {
        (0, _) => format!("{whose}: {said}\n"),
        (others, 1) => format!("{whose}: {said}; {others} more of 1 other: --all\n"),
        (others, users) => format!("{whose}: {said}; {others} more of {users} others: --all\n"),
    }
}
