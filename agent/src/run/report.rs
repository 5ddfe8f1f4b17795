//! The keeper's records in the words of the brain and of the head.
use super::Stage;
use pcluster_core::agent::KeeperSaid;
use pcluster_keeper::{ExitRecord, KeeperHandle, Outcome};
use pcluster_model::{RunId, Timestamp};
use pcluster_wire::{Exit, RunEnd, Usage};

/// What the brain is told of a stage.
pub fn said(run: RunId, stage: &Stage) -> Option<KeeperSaid> {
    match stage {
        Stage::Asked(_) | Stage::Ordered(_) | Stage::Over => None,
        Stage::Held(handle, _) => said_held(run, handle),
        Stage::Lost(start) => Some(KeeperSaid::Lost { run, started_at: wall(start.started_at_ms) }),
        Stage::Ended(exit) => Some(KeeperSaid::Ended(ended(run, exit))),
        Stage::NotStarted(why) => Some(KeeperSaid::NotStarted { run, why: why.clone() }),
    }
}

/// A keeper whose job is ready to run has started.
pub(super) fn said_held(run: RunId, handle: &KeeperHandle) -> Option<KeeperSaid> {
    let start = handle.start_record();
    start.child_pid.map(|_| KeeperSaid::Started { run, started_at: wall(start.started_at_ms) })
}

/// Milliseconds since 1970 as the keeper counts them.
pub(super) fn wall(ms: u64) -> Timestamp {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The keeper's record in the head's words.
pub(super) fn ended(run: RunId, record: &ExitRecord) -> RunEnd {
    let exit = match &record.outcome {
        Outcome::Exited { code } => Exit::Code(*code),
        Outcome::Signaled { signal, .. } => Exit::Signal(*signal),
        Outcome::TimedOut => Exit::TimedOut,
        Outcome::OutOfMemory => Exit::OutOfMemory,
        Outcome::DiskFull { .. } => Exit::DiskFull,
        Outcome::Cancelled { .. } => {
            Exit::Ended { code: record.code.unwrap_or(0), signal: record.signal.unwrap_or(0) }
        }
        Outcome::CannotRun { why, .. } => Exit::CannotRun { why: why.clone() },
    };
    RunEnd {
        run,
        exit,
        usage: Usage {
            user_cpu_ms: record.usage.user_cpu_ms,
            system_cpu_ms: record.usage.system_cpu_ms,
            max_rss_bytes: record.usage.max_rss_bytes,
            batch_user_cpu_ms: record.usage.batch_user_cpu_ms,
            batch_system_cpu_ms: record.usage.batch_system_cpu_ms,
            batch_max_rss_bytes: record.usage.batch_max_rss_bytes,
            output_bytes: record.usage.output_bytes,
            scratch_bytes: match record.outcome {
                Outcome::DiskFull { used_bytes } => used_bytes,
                _ => 0,
            },
        },
        started_at: wall(record.started_at_ms),
        ended_at: wall(record.ended_at_ms),
    }
}
