//! The order: everything a keeper needs to know about one run, as the agent writes it into `order.json`.
//!
//! Invariant: an order is complete. The keeper reads no configuration and no account database, and hands nothing of its
//! own environment on. Unknown fields are tolerated and added fields have defaults, so agents and keepers of
//! neighbouring versions work together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Notices, command::Target};

/// One run of a job on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// The run's number; it returns in both records.
    pub run: u64,
    /// How users name the job: `42`, or `41_3` for a task of an array.
    #[serde(default)]
    pub job: String,
    /// The job's name; only for the log.
    #[serde(default)]
    pub job_name: String,
    /// Program and arguments. A program without a slash is looked for in the job's own `PATH`. With `script_path` set,
    /// the first element is replaced by the path of the user's copy of the script.
    pub argv: Vec<String>,
    /// The script, in a file only the agent can change (usually in the run's directory, which the user cannot enter).
    /// It is copied as the user to a place the user can read, and run by the interpreter of its first line, so that
    /// neither a private run directory nor a `noexec` mount is in the way.
    #[serde(default)]
    pub script_path: Option<PathBuf>,
    /// The complete environment; the keeper adds `TMPDIR` and puts `path_prepend` before `PATH`, nothing else.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Variables that hold the number of the main process.
    #[serde(default)]
    pub pid_names: Vec<String>,
    /// The directory the job starts in; relative paths below start here.
    pub work_dir: PathBuf,
    /// Where `work_dir` cannot be entered, the job starts in `/tmp` and its error file says so.
    #[serde(default)]
    pub tmp_fallback: bool,
    /// The output file, opened as the user.
    pub stdout: PathBuf,
    /// The error file; `None` is the same open file as `stdout`.
    #[serde(default)]
    pub stderr: Option<PathBuf>,
    /// The input; `None` is `/dev/null`.
    #[serde(default)]
    pub stdin: Option<PathBuf>,
    /// Whether existing output is kept.
    #[serde(default)]
    pub open_mode: OpenMode,
    /// Create missing directories of the output files, as the user.
    #[serde(default)]
    pub make_dirs: bool,
    /// A line written to the output before the job starts (without line end): attempt and node of a requeue.
    #[serde(default)]
    pub append_line: Option<String>,
    /// Whom to run as; `None` is whoever runs the keeper.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The file mode mask of the job.
    #[serde(default = "default_umask")]
    pub umask: u32,
    /// Soft limits by `ulimit` name (`nofile`, `stack`, `core`, …), in the unit of `setrlimit`; `None` is unlimited.
    /// Each is lowered to the hard limit of the keeper. Unknown names are skipped.
    #[serde(default)]
    pub soft_limits: Vec<(String, Option<u64>)>,
    /// Time limit in milliseconds from the start, suspended time not counted; `None` is no limit.
    #[serde(default)]
    pub time_limit_ms: Option<u64>,
    /// Milliseconds from TERM to KILL at the time limit.
    #[serde(default = "default_term_grace_ms")]
    pub term_grace_ms: u64,
    /// A signal before the time limit.
    #[serde(default)]
    pub warn_signal: Option<WarnSignal>,
    /// Where the private directory of the run is made (mode 0700, owned by the user); `$TMPDIR` and the copy of the
    /// script lie in it, and it is removed at the end. It must belong to the keeper's user and be writable by nobody
    /// else, or have the sticky bit. `None`: no `TMPDIR`, and the script is run in place.
    #[serde(default)]
    pub tmp_parent: Option<PathBuf>,
    /// Directories put before the job's `PATH`.
    #[serde(default)]
    pub path_prepend: Vec<PathBuf>,
    /// A shell file sourced, as the user, before the job.
    #[serde(default)]
    pub profile: Option<PathBuf>,
    /// The cgroup of the run, if there is one.
    #[serde(default)]
    pub cgroup: Option<CgroupOrder>,
    /// The step daemon: program and first words. The program is opened with the keeper's rights and run as the user;
    /// `steps` starts it beside the main process. Empty: there is none.
    #[serde(default)]
    pub step_daemon: Vec<String>,
    /// The step daemon is the main process: there is no script, and nothing is written to the output files.
    #[serde(default)]
    pub only_steps: bool,
    /// What is written to the error file when the job is ended; `None` is nothing.
    #[serde(default)]
    pub notices: Option<Notices>,
    /// The boot this order is for; the keeper refuses it after another boot. `None` is any.
    #[serde(default)]
    pub boot_id: Option<String>,
}

impl RunOrder {
    /// An order with defaults for everything optional: no limit, truncated output, the keeper's own user.
    #[must_use]
    pub fn new(
        run: u64,
        argv: Vec<String>,
        work_dir: impl Into<PathBuf>,
        stdout: impl Into<PathBuf>,
    ) -> Self {
        Self {
            run,
            job: String::new(),
            job_name: String::new(),
            argv,
            script_path: None,
            env: Vec::new(),
            pid_names: Vec::new(),
            work_dir: work_dir.into(),
            tmp_fallback: false,
            stdout: stdout.into(),
            stderr: None,
            stdin: None,
            open_mode: OpenMode::Truncate,
            make_dirs: false,
            append_line: None,
            identity: None,
            umask: default_umask(),
            soft_limits: Vec::new(),
            time_limit_ms: None,
            term_grace_ms: default_term_grace_ms(),
            warn_signal: None,
            tmp_parent: None,
            path_prepend: Vec::new(),
            profile: None,
            cgroup: None,
            step_daemon: Vec::new(),
            only_steps: false,
            notices: None,
            boot_id: None,
        }
    }
}

fn default_umask() -> u32 {
    0o022
}

fn default_term_grace_ms() -> u64 {
    30_000
}

/// What happens to output that is there already. Both append from then on, so two open files of one path do not
/// overwrite each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenMode {
    /// The file is emptied first.
    #[default]
    Truncate,
    /// The file is kept and written on.
    Append,
}

/// A user as numbers: the head resolved them, this machine's account files are not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The account's name; only for messages.
    pub user: String,
    /// The user id; `u32::MAX` is refused.
    pub uid: u32,
    /// The primary group; `u32::MAX` is refused.
    pub gid: u32,
    /// All groups, as `id -G` prints them.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// A signal sent once before the time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarnSignal {
    /// The signal's number; see [`crate::signal_number`].
    pub signal: i32,
    /// Milliseconds before the limit.
    pub before_ms: u64,
    /// Who gets it.
    #[serde(default)]
    pub target: Target,
}

/// The cgroup of a run: directories that the agent has made and limited. Their version is seen from the files in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupOrder {
    /// One directory per controller (v1), or one (v2), or both (hybrid).
    pub dirs: Vec<PathBuf>,
}
