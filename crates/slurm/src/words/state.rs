//! States of jobs and why they are in them.
//!
//! Invariant: only words that Slurm has; a reason is one token and one of those that clients know
//! (some stop at any other). Deliberately absent: `CONFIGURING` in accounting, which clients take
//! for an end.
use pcluster_api::{JobRecord, JobState, OutcomeView};

/// A state of a job in Slurm's order, which is the order that lists are sorted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Pending,
    Running,
    Suspended,
    Completed,
    Cancelled,
    Failed,
    Timeout,
    NodeFail,
    Preempted,
    BootFail,
    Deadline,
    OutOfMemory,
    Completing,
    Configuring,
    Resizing,
    Requeued,
    RequeueFed,
    RequeueHold,
    SpecialExit,
    Revoked,
    Signaling,
    Stopped,
    StageOut,
    ResvDelHold,
}

/// Every state with its short and its long word.
const WORDS: [(State, &str, &str); 24] = [
    (State::Pending, "PD", "PENDING"),
    (State::Running, "R", "RUNNING"),
    (State::Suspended, "S", "SUSPENDED"),
    (State::Completed, "CD", "COMPLETED"),
    (State::Cancelled, "CA", "CANCELLED"),
    (State::Failed, "F", "FAILED"),
    (State::Timeout, "TO", "TIMEOUT"),
    (State::NodeFail, "NF", "NODE_FAIL"),
    (State::Preempted, "PR", "PREEMPTED"),
    (State::BootFail, "BF", "BOOT_FAIL"),
    (State::Deadline, "DL", "DEADLINE"),
    (State::OutOfMemory, "OOM", "OUT_OF_MEMORY"),
    (State::Completing, "CG", "COMPLETING"),
    (State::Configuring, "CF", "CONFIGURING"),
    (State::Resizing, "RS", "RESIZING"),
    (State::Requeued, "RQ", "REQUEUED"),
    (State::RequeueFed, "RF", "REQUEUE_FED"),
    (State::RequeueHold, "RH", "REQUEUE_HOLD"),
    (State::SpecialExit, "SE", "SPECIAL_EXIT"),
    (State::Revoked, "RV", "REVOKED"),
    (State::Signaling, "SI", "SIGNALING"),
    (State::Stopped, "ST", "STOPPED"),
    (State::StageOut, "SO", "STAGE_OUT"),
    (State::ResvDelHold, "RD", "RESV_DEL_HOLD"),
];

impl State {
    /// `PD`.
    #[must_use]
    pub fn compact(self) -> &'static str {
        WORDS.iter().find(|(state, ..)| *state == self).map_or("?", |(_, short, _)| short)
    }

    /// `PENDING`.
    #[must_use]
    pub fn long(self) -> &'static str {
        WORDS.iter().find(|(state, ..)| *state == self).map_or("?", |(.., long)| long)
    }

    /// `PD` or `PENDING`, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let same = |word: &str| word.eq_ignore_ascii_case(text);
        WORDS.iter().find(|(_, short, long)| same(short) || same(long)).map(|(state, ..)| *state)
    }

    /// The long words of every state, for error messages.
    #[must_use]
    pub fn all_long() -> Vec<&'static str> {
        WORDS.iter().map(|(.., long)| *long).collect()
    }

    /// What `squeue` and `scontrol` say.
    #[must_use]
    pub fn of(record: &JobRecord) -> Self {
        match record.state {
            JobState::Finished => Self::ended(record.outcome.as_ref()),
            _ if record.suspended => Self::Suspended,
            JobState::Running => Self::Running,
            JobState::Ending => Self::Completing,
            // A node boots for it; of an array's waiting rest that is true of some only.
            JobState::Starting if record.tasks.is_some() => Self::Pending,
            JobState::Starting => Self::Configuring,
            JobState::Queued | JobState::Held => Self::Pending,
        }
    }

    /// What `sacct` says: it runs from the moment it has nodes until it has ended.
    #[must_use]
    pub fn in_accounting(record: &JobRecord) -> Self {
        if record.requeued.is_some() {
            return Self::Requeued;
        }
        match Self::of(record) {
            Self::Configuring if record.node_names.is_empty() => Self::Pending,
            Self::Configuring | Self::Completing => Self::Running,
            other => other,
        }
    }

    fn ended(outcome: Option<&OutcomeView>) -> Self {
        match outcome.map_or("", |outcome| outcome.word.as_str()) {
            "completed" => Self::Completed,
            "timed_out" | "client_gone" => Self::Timeout,
            "out_of_memory" => Self::OutOfMemory,
            "cancelled" => Self::Cancelled,
            "node_failed" => Self::NodeFail,
            "preempted" => Self::Preempted,
            "deadline_missed" => Self::Deadline,
            // `failed`, `disk_full`, `cannot_run`.
            _ => Self::Failed,
        }
    }

    /// True for every state that a job does not leave.
    #[must_use]
    pub fn is_end(self) -> bool {
        (Self::Completed..=Self::OutOfMemory).contains(&self)
    }
}

/// `CANCELLED by 1000`, as `sacct` says it; other states by their word.
#[must_use]
pub fn accounting_words(record: &JobRecord) -> String {
    let state = State::in_accounting(record);
    let by = record.outcome.as_ref().and_then(|outcome| outcome.by_uid);
    match by {
        Some(uid) if state == State::Cancelled => format!("CANCELLED by {uid}"),
        _ => state.long().to_owned(),
    }
}

/// Why a job waits or has failed: one token.
#[must_use]
pub fn reason(record: &JobRecord) -> &'static str {
    match State::of(record) {
        State::Pending => waiting(record),
        State::Failed => failed(record),
        State::Timeout if ended_as(record) == "client_gone" => "InactiveLimit",
        State::Timeout | State::Deadline => "TimeLimit",
        State::OutOfMemory => "NonZeroExitCode",
        State::NodeFail | State::Preempted | State::BootFail => "NodeDown",
        // Given up by its own wish, and not by anybody.
        State::Cancelled if word_of(record) == "dependency_failed" => waiting(record),
        _ => "None",
    }
}

fn word_of(record: &JobRecord) -> &str {
    record.reason.as_ref().map_or("", |reason| reason.word.as_str())
}

fn ended_as(record: &JobRecord) -> &str {
    record.outcome.as_ref().map_or("", |outcome| outcome.word.as_str())
}

fn waiting(record: &JobRecord) -> &'static str {
    match word_of(record) {
        "held" => match &record.held_by {
            Some(by) if *by != record.user => "JobHeldAdmin",
            _ => "JobHeldUser",
        },
        "begin" => "BeginTime",
        "dependency" => "Dependency",
        "dependency_failed" => "DependencyNeverSatisfied",
        "throttle" => "JobArrayTaskLimit",
        "priority" => "Priority",
        "budget" => "AssocGrpBillingMinutes",
        "no_room" => "BadConstraints",
        "closing" => "PartitionInactive",
        "" | "planning" => "None",
        // A node boots, all are full, none can be had now: never ReqNodeNotAvail, at which clients
        // cancel their jobs.
        _ => "Resources",
    }
}

fn failed(record: &JobRecord) -> &'static str {
    let Some(outcome) = &record.outcome else { return "NonZeroExitCode" };
    match outcome.word.as_str() {
        "disk_full" => "SystemFailure",
        "cannot_run" => "JobLaunchFailure",
        _ if outcome.signal.is_some_and(|signal| signal != 0) => "JobLaunchFailure",
        _ => "NonZeroExitCode",
    }
}

/// Exit code and signal of a job as `squeue` and `scontrol` tell them.
#[must_use]
pub fn exit_of(record: &JobRecord) -> (i32, i32) {
    match State::of(record) {
        // The batch shell was ended by the signal that ends jobs.
        State::Cancelled | State::Timeout | State::Deadline if record.started_at_ms.is_some() => {
            (0, 15)
        }
        _ => exit_in_accounting(record),
    }
}

/// Exit code and signal of what took more memory than it may.
pub const OUT_OF_MEMORY_EXIT: (i32, i32) = (0, 125);

/// Exit code and signal of a job as `sacct` tells them.
#[must_use]
pub fn exit_in_accounting(record: &JobRecord) -> (i32, i32) {
    let Some(outcome) = &record.outcome else { return (0, 0) };
    match State::of(record) {
        State::OutOfMemory => OUT_OF_MEMORY_EXIT,
        State::Failed => match (outcome.exit_code, outcome.signal) {
            (code, Some(signal)) if signal != 0 => (code.unwrap_or(0), signal),
            (Some(code), _) if code != 0 => (code, 0),
            _ if outcome.word == "cannot_run" => (0, 53),
            _ => (1, 0),
        },
        State::NodeFail => (1, 0),
        _ => (0, 0),
    }
}

/// State, exit code and signal of the batch step of a job that ended.
#[must_use]
pub fn batch_end(record: &JobRecord) -> (State, i32, i32) {
    let (code, signal) = exit_in_accounting(record);
    match State::in_accounting(record) {
        State::Cancelled | State::Timeout | State::Deadline => (State::Cancelled, 0, 15),
        State::Failed if signal != 0 => (State::Cancelled, code, signal),
        State::Preempted | State::NodeFail | State::Requeued => (State::Cancelled, 0, 0),
        state => (state, code, signal),
    }
}

/// `3:0`.
#[must_use]
pub fn exit_words((code, signal): (i32, i32)) -> String {
    format!("{code}:{signal}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    #[test]
    fn words_are_read_as_they_are_written() {
        for (state, short, long) in WORDS {
            assert_eq!((state.compact(), state.long()), (short, long));
            assert_eq!(State::parse(&short.to_lowercase()), Some(state));
            assert_eq!(State::parse(long), Some(state));
        }
        assert_eq!(State::parse("LOST"), None);
    }

    #[test]
    fn a_job_whose_node_boots_is_configuring_in_the_queue_only() {
        let mut job = made_up::running(146);
        job.state = JobState::Starting;
        assert_eq!(State::of(&job), State::Configuring);
        assert_eq!(State::in_accounting(&job), State::Running);
        // Without a place yet: in accounting it has not begun.
        job.node_names.clear();
        assert_eq!(State::of(&job), State::Configuring);
        assert_eq!((State::in_accounting(&job), reason(&job)), (State::Pending, "None"));
        // Of the rest of an array some task may have a node on its way, not all.
        job.tasks = Some("2-9".into());
        assert_eq!(State::of(&job), State::Pending);
    }

    /// What the reference said for each kind of end: state, reason, `squeue` and `sacct` exit codes,
    /// and the batch step.
    fn end(word: &str, code: Option<i32>, signal: Option<i32>) -> String {
        let job = made_up::ended(146, word, code, signal);
        let (batch, batch_code, batch_signal) = batch_end(&job);
        format!(
            "{} {} {} {} / {} {batch_code}:{batch_signal}",
            accounting_words(&job),
            reason(&job),
            exit_words(exit_of(&job)),
            exit_words(exit_in_accounting(&job)),
            batch.long(),
        )
    }

    #[test]
    fn ends_read_as_on_the_reference() {
        assert_eq!(end("completed", Some(0), None), "COMPLETED None 0:0 0:0 / COMPLETED 0:0");
        assert_eq!(end("failed", Some(3), None), "FAILED NonZeroExitCode 3:0 3:0 / FAILED 3:0");
        assert_eq!(end("failed", None, Some(9)), "FAILED JobLaunchFailure 0:9 0:9 / CANCELLED 0:9");
        assert_eq!(
            end("cannot_run", None, None),
            "FAILED JobLaunchFailure 0:53 0:53 / CANCELLED 0:53"
        );
        assert_eq!(end("timed_out", None, Some(15)), "TIMEOUT TimeLimit 0:15 0:0 / CANCELLED 0:15");
        // As with Slurm's InactiveLimit.
        assert!(end("client_gone", None, Some(15)).starts_with("TIMEOUT InactiveLimit 0:15 0:0"));
        assert_eq!(
            end("cancelled", None, Some(15)),
            "CANCELLED by 0 None 0:15 0:0 / CANCELLED 0:15"
        );
    }

    #[test]
    fn reasons_are_tokens_that_clients_know() {
        let mut job = made_up::pending(7);
        let said = |job: &mut JobRecord, word: &str| {
            job.reason = Some(made_up::reason(word));
            reason(job)
        };
        assert_eq!(said(&mut job, "node_boots"), "Resources");
        assert_eq!(said(&mut job, "dependency_failed"), "DependencyNeverSatisfied");
        assert_eq!(said(&mut job, "held"), "JobHeldUser");
        job.held_by = Some("admin".into());
        assert_eq!(said(&mut job, "held"), "JobHeldAdmin");
        assert_eq!(said(&mut job, "a word of next year"), "Resources");
        let mut job = made_up::ended(7, "cancelled", None, None);
        assert_eq!(reason(&job), "None");
        assert_eq!(said(&mut job, "dependency_failed"), "DependencyNeverSatisfied");
    }
}
