//! `show`: everything about one job.
use super::queue::{outcome_words, sorted, state_word};
use crate::look::{Look, elapsed, limit_short};
use crate::text::{Column, facts, headline, money, size_short, table};
use pcluster_api::{JobDetail, JobState, JobView, RunView};

const LABELS: usize = 10;
/// Rows of an array shown one by one; more are counted.
const MOST_ROWS: usize = 20;

pub fn state(job: &JobView, look: &Look) -> String {
    let time = elapsed(job.elapsed_ms);
    let limit = limit_short(job.time_limit_ms);
    match job.state {
        JobState::Finished => outcome_words(job),
        JobState::Running | JobState::Ending => {
            let limit = if limit == "-" { String::new() } else { format!(" of {limit}") };
            format!("{} on {}, {time}{limit}", state_word(job.state), job.node_names.join(", "))
        }
        JobState::Starting | JobState::Queued | JobState::Held => {
            let reason = job.reason.as_ref().map(|reason| reason.short.clone()).unwrap_or_default();
            let start = job.expected_start_ms.map(|at| format!("about {}", look.clock(at)));
            let parts = [Some(state_word(job.state).to_owned()), Some(reason), start];
            let parts: Vec<String> =
                parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
            parts.join(", ")
        }
    }
}

/// The page of `show`.
#[must_use]
pub fn job(detail: &JobDetail, with_script: bool, look: &Look) -> String {
    let Some(first) = detail.rows.first() else { return String::new() };
    let is_array = detail.rows.len() > 1 || first.task.is_some() || first.tasks.is_some();
    let id = if is_array { first.job.to_string() } else { first.id.clone() };
    let title = format!("job {id}  {}  of {}, pool {}", first.name, first.user, first.pool);
    let mut out = headline(&title, look.width);
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |label: &str, text: String| {
        if !text.is_empty() {
            said.push((label.to_owned(), text));
        }
    };
    if !is_array {
        say("state", state(first, look));
    }
    let mut times = format!("submitted {}", look.clock_seconds(first.submitted_at_ms));
    if let (false, Some(at)) = (is_array, first.started_at_ms) {
        times.push_str(&format!(", started {}", look.clock_seconds(at)));
    }
    if let (false, Some(at)) = (is_array, first.ended_at_ms) {
        times.push_str(&format!(", ended {}", look.clock_seconds(at)));
    }
    say("times", times);
    let costs: Vec<i64> = detail.rows.iter().filter_map(|row| row.cost_micro_usd).collect();
    if !costs.is_empty() {
        say("cost", money(costs.iter().sum()));
    }
    for (label, text) in &detail.asked {
        say(label, text.clone());
    }
    say("directory", detail.work_dir.clone().unwrap_or_default());
    say("output", detail.output.clone().unwrap_or_default());
    say("errors", detail.error.clone().unwrap_or_default());
    say("comment", detail.comment.clone().unwrap_or_default());
    out.push_str(&facts(&said, LABELS, look.width));
    if is_array {
        out.push_str(&tasks(&detail.rows, look));
    }
    if !detail.runs.is_empty() {
        out.push_str(&runs(&detail.runs, look));
    }
    if let (true, Some(script)) = (with_script, &detail.script) {
        out.push('\n');
        out.push_str(script.trim_end());
        out.push('\n');
    }
    out
}

fn tasks(rows: &[JobView], look: &Look) -> String {
    let mut out = String::from("tasks\n");
    let shown: Vec<(String, String)> =
        sorted(rows).iter().take(MOST_ROWS).map(|row| (row.id.clone(), state(row, look))).collect();
    let wide = shown.iter().map(|(id, _)| id.chars().count() + 1).max().unwrap_or(0);
    out.push_str(&facts(&shown, wide.max(LABELS), look.width));
    if rows.len() > MOST_ROWS {
        out.push_str(&format!(
            "  and {} more: pcluster queue -t all --json\n",
            rows.len() - MOST_ROWS
        ));
    }
    out
}

fn runs(runs: &[RunView], look: &Look) -> String {
    let columns = [
        Column::right("RUN"),
        Column::right("TRY"),
        Column::left("STARTED"),
        Column::right("TIME"),
        Column::right("CPU TIME"),
        Column::right("MEMORY"),
        Column::left("NODES"),
        Column::left("END"),
    ];
    let hidden = runs.len().saturating_sub(MOST_ROWS);
    let rows: Vec<Vec<String>> = runs[hidden..]
        .iter()
        .map(|run| {
            let start = run.started_at_ms.unwrap_or(run.placed_at_ms);
            let end = run.ended_at_ms.unwrap_or(look.now_ms);
            vec![
                run.run.to_string(),
                run.attempt.to_string(),
                look.clock_seconds(start),
                elapsed(u64::try_from(end - start).unwrap_or(0)),
                elapsed(run.cpu_ms),
                size_short(run.max_rss_bytes),
                run.node_names.join(", "),
                run.end.clone().unwrap_or_else(|| "running".to_owned()),
            ]
        })
        .collect();
    format!("\n{}", table(&columns, &rows, look.width))
}
