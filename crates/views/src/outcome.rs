//! How tasks ended, in words.
use super::words;
use pcluster_api::OutcomeView;
use pcluster_core::job::{Outcome, PastRun, TaskEnd};
use pcluster_model::units::scratch_words;
use pcluster_wire::Exit;

/// The end of a task as the API tells it. What kept it from starting may name files, which are for
/// those who see all of the job.
#[must_use]
pub fn view(end: &TaskEnd, sees_all: bool) -> OutcomeView {
    let hidden = matches!(end.outcome, Outcome::CannotRun { .. }) && !sees_all;
    let (exit_code, signal) = codes(&end.outcome, end.last.as_ref());
    OutcomeView {
        word: end.outcome.word().into(),
        exit_code,
        signal,
        detail: if hidden { "could not be started".into() } else { detail_of(end) },
        wait_code: wait_code(&end.outcome),
        by_uid: match end.outcome {
            Outcome::Cancelled { uid, .. } => uid,
            _ => None,
        },
    }
}

/// Code and signal that the batch process left.
#[must_use]
pub fn codes(outcome: &Outcome, last: Option<&PastRun>) -> (Option<i32>, Option<i32>) {
    match (outcome, last.and_then(|run| run.exit.as_ref())) {
        (Outcome::Completed, _) => (Some(0), None),
        (Outcome::Failed { code }, _) => (Some(*code), None),
        (Outcome::Signaled { signal }, _) => (None, Some(*signal)),
        (_, Some(Exit::Code(code))) => (Some(*code), None),
        (_, Some(Exit::Signal(signal))) => (None, Some(*signal)),
        (_, Some(Exit::Ended { code, signal })) if *signal != 0 => (Some(*code), Some(*signal)),
        (_, Some(Exit::Ended { code, .. })) => (Some(*code), None),
        _ => (None, None),
    }
}

/// As `detail`, with the figures of the last run.
#[must_use]
pub fn detail_of(end: &TaskEnd) -> String {
    let figures = match (&end.outcome, &end.last) {
        (Outcome::DiskFull, Some(run)) if run.usage.scratch_bytes > 0 => {
            let asked = run.per_node.iter().map(|held| held.tmp_bytes).min();
            asked.map(|asked| scratch_words(run.usage.scratch_bytes, asked))
        }
        _ => None,
    };
    figures.unwrap_or_else(|| detail(&end.outcome))
}

/// `exit 1`, `cancelled by ana`, `ran longer than its time limit`.
#[must_use]
pub fn detail(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed => "exit 0".into(),
        Outcome::Failed { code } => format!("exit {code}"),
        Outcome::Signaled { signal } => words::signal(*signal),
        Outcome::TimedOut => "ran longer than its time limit".into(),
        Outcome::OutOfMemory => "used more memory than it asked for".into(),
        Outcome::DiskFull => "used more of its node's disk than --tmp asked for".into(),
        Outcome::Cancelled { by, .. } => format!("cancelled by {by}"),
        Outcome::NodeFailed { why } => why.clone(),
        Outcome::Preempted => "its node was reclaimed".into(),
        Outcome::DeadlineMissed => "its deadline has passed".into(),
        Outcome::ClientGone => "its client has not been heard of any more".into(),
        Outcome::CannotRun { why } => why.clone(),
    }
}

/// What `wait` and `run` return.
#[must_use]
pub fn wait_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        // The shell's own rule: the low eight bits; a failure is never 0.
        Outcome::Failed { code } => u8::try_from(code & 0xff).unwrap_or(1).max(1),
        Outcome::Signaled { signal } => u8::try_from(128 + signal).unwrap_or(255),
        Outcome::TimedOut
        | Outcome::OutOfMemory
        | Outcome::DiskFull
        | Outcome::Cancelled { .. }
        | Outcome::NodeFailed { .. }
        | Outcome::Preempted
        | Outcome::DeadlineMissed
        | Outcome::ClientGone
        | Outcome::CannotRun { .. } => 1,
    }
}

/// `failed (exit 1)`, `completed`, `cancelled by ana`.
#[must_use]
pub fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".into(),
        Outcome::Failed { .. } | Outcome::Signaled { .. } => {
            format!("failed ({})", detail(outcome))
        }
        Outcome::Cancelled { by, .. } => format!("was cancelled by {by}"),
        Outcome::TimedOut => "was ended at its time limit".into(),
        Outcome::OutOfMemory => "was ended for want of memory".into(),
        Outcome::DiskFull => "was ended for want of scratch disk".into(),
        Outcome::NodeFailed { why } => format!("was lost with its node: {why}"),
        Outcome::Preempted => "was lost: its node was reclaimed".into(),
        Outcome::DeadlineMissed => "missed its deadline".into(),
        Outcome::ClientGone => "was given back: its client went away without a word".into(),
        Outcome::CannotRun { why } => format!("could not run: {why}"),
    }
}
