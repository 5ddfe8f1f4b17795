//! The two records a keeper leaves: that it started, and how it ended.
//!
//! Invariant: the start record exists before anything is spawned; the exit record is on disk before anybody is told.
//! A start record without a living keeper and without an exit record means that the keeper was lost.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `start.json`: who holds this run. Written exclusively before the spawn, replaced once when the job is ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// The run of the order.
    pub run: u64,
    /// The keeper's process.
    pub keeper_pid: i32,
    /// The keeper's start time in clock ticks since boot (`/proc/PID/stat`, field 22): tells it from a later process
    /// with the same number.
    pub keeper_start_ticks: u64,
    /// The boot in which this happened.
    pub boot_id: String,
    /// Wall clock at the start.
    pub started_at_ms: u64,
    /// The job's main process, which leads a session of its own; `None` until it is ready.
    #[serde(default)]
    pub child_pid: Option<i32>,
    /// The main process's start time in clock ticks since boot.
    #[serde(default)]
    pub child_start_ticks: Option<u64>,
    /// The user the job runs as.
    #[serde(default)]
    pub uid: u32,
    /// The keeper's descriptor through which the output can be read; `None` until the job is ready, and for output
    /// that is not a regular file or that the user may not read.
    #[serde(default)]
    pub output_fd: Option<i32>,
    /// The private directory of the run, removed at the end; see [`crate::RunOrder::tmp_parent`].
    #[serde(default)]
    pub private_dir: Option<PathBuf>,
}

/// `exit.json`: how a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The run of the order.
    pub run: u64,
    /// Why it ended.
    pub outcome: Outcome,
    /// The main process's exit code, if it exited, whatever the outcome.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that ended the main process, if one did, whatever the outcome.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Wall clock at the start.
    pub started_at_ms: u64,
    /// Wall clock at the end.
    pub ended_at_ms: u64,
    /// Milliseconds from start to end by the monotonic clock, suspended time included.
    pub elapsed_ms: u64,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// Processes that were still there [`crate::END_ALL_WITHIN_MS`] after the end (stuck in the kernel); 0 as a rule.
    #[serde(default)]
    pub survivors: u32,
}

/// Why a run ended. The first cause wins: a job that exits 0 in answer to the TERM of its time limit is `TimedOut`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The main process exited by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// The main process was ended by a signal that is none of the cases below.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core file was written.
        core: bool,
    },
    /// The time limit.
    TimedOut,
    /// The kernel killed a process of the run for memory (also when the main process then exited 0).
    OutOfMemory,
    /// A `full` command: it used more of the node's disk than it asked for.
    DiskFull {
        /// What it used, bytes.
        used_bytes: u64,
    },
    /// An `end` or `kill` command.
    Cancelled {
        /// The reason as the command gave it; `kill` for a bare kill.
        reason: String,
    },
    /// Nothing of the user's ran.
    CannotRun {
        /// The step that failed: `private_dir`, `spawn`, `cgroup`, `identity`, `work_dir`, `script`, `stdin`, `stdout`,
        /// `stderr`, `profile`, `limits`, `exec`, `start`.
        step: String,
        /// One sentence for the user, such as `cannot write the output file /x/y: Permission denied`.
        why: String,
    },
}

/// What a run used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, milliseconds.
    pub user_cpu_ms: u64,
    /// CPU time in the kernel, milliseconds.
    pub system_cpu_ms: u64,
    /// The largest resident size of a single process, bytes.
    pub max_rss_bytes: u64,
    /// Of that, CPU time of the main process and what it waited for, user mode, milliseconds; 0 where it is a step daemon.
    #[serde(default)]
    pub batch_user_cpu_ms: u64,
    /// The same in the kernel.
    #[serde(default)]
    pub batch_system_cpu_ms: u64,
    /// The largest resident size of a process that had ended by the end of the main process, bytes.
    #[serde(default)]
    pub batch_max_rss_bytes: u64,
    /// The most memory the whole cgroup held at once, page cache included, bytes; `None` without a memory cgroup.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// Size of the output file at the end, bytes (with append, earlier attempts included).
    pub output_bytes: u64,
    /// Processes the kernel killed for memory.
    #[serde(default)]
    pub oom_kills: u64,
}
