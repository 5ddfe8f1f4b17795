//! The knife: one program of a cluster is killed with -9 just before its n-th call of a kind.
//!
//! By `ptrace`, so that a call is what the kernel is asked for, whichever thread or library asks.
//! Whoever is started below the first command is followed; one process is the victim: the first that
//! becomes the named program after the knife was aimed. Its calls are counted over all its threads,
//! it never makes the one that it is killed at, and all others run as they would.
//!
//! Invariant: nobody but the victim is ever stopped for longer than it takes to look at it.
//! Deliberately absent: job control under the knife (what is stopped by a signal goes on), and what
//! a kill must not do (`tests/it/knife`).
mod tracer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A program of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Head,
    /// A node of processes: what `init` is elsewhere.
    Machine,
    Agent,
    Keeper,
    StepDaemon,
    /// `pcluster` itself, or one of Slurm's names of it.
    Command,
}

impl Program {
    /// What a process with this command line is.
    fn of(words: &[String]) -> Option<Self> {
        let name = words.first()?.rsplit('/').next()?;
        match (name, words.get(1).map(String::as_str)) {
            ("pcluster-headnode", _) => Some(Self::Head),
            ("pcluster-agent", Some("machine")) => Some(Self::Machine),
            ("pcluster-agent", Some("run")) => Some(Self::Agent),
            ("pcluster-keeper", Some("run")) => Some(Self::Keeper),
            ("pcluster-stepd", _) => Some(Self::StepDaemon),
            ("pcluster" | "sbatch" | "srun", _) => Some(Self::Command),
            _ => None,
        }
    }
}

/// A kind of calls: those that leave something behind, or that others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Fsync,
    Rename,
    Pwrite,
    Write,
    Connect,
    Send,
    Make,
    Remove,
    Fork,
    Kill,
}

impl Call {
    pub const ALL: [Self; 10] = [
        Self::Fsync,
        Self::Rename,
        Self::Pwrite,
        Self::Write,
        Self::Connect,
        Self::Send,
        Self::Make,
        Self::Remove,
        Self::Fork,
        Self::Kill,
    ];

    /// The calls of this kind, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fsync => "fsync, fdatasync",
            Self::Rename => "rename, link",
            Self::Pwrite => "pwrite",
            Self::Write => "write",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Make => "mkdir, mknod",
            Self::Remove => "unlink, rmdir",
            Self::Fork => "clone, vfork",
            Self::Kill => "kill",
        }
    }
}

/// Whom to kill, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    pub program: Program,
    pub call: Call,
    /// From 1; with 0 calls are only counted.
    pub nth: u32,
}

impl Aim {
    /// Counts the calls of `program` without a kill; any kind will do.
    #[must_use]
    pub fn counting(program: Program) -> Self {
        Self { program, call: Call::Write, nth: 0 }
    }
}

/// What came of an aim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The victim's process, once there was one.
    pub victim: Option<i32>,
    /// The calls that it has made, the last one not.
    pub made: BTreeMap<Call, u32>,
    pub killed: bool,
}

impl Cut {
    #[must_use]
    pub fn calls(&self, call: Call) -> u32 {
        self.made.get(&call).copied().unwrap_or(0)
    }
}

/// What the thread of the knife and its owner share.
#[derive(Debug, Default)]
struct Aimed {
    aim: Option<Aim>,
    cut: Cut,
    /// How the first command ended, as shells show it.
    ended: Option<i32>,
    /// The owner is gone, and everybody goes free.
    over: bool,
}

/// A command under the knife, with everything that it starts. When this value goes, they go on
/// without it.
#[derive(Debug)]
pub struct Knife {
    shared: Arc<Mutex<Aimed>>,
    pid: i32,
    /// Its end wakes the thread up.
    bell: Child,
    thread: Option<JoinHandle<()>>,
}

impl Knife {
    /// Starts `command` under a knife that is aimed already. Its input is empty, what it says goes to
    /// the file `out`, and its errors to one beside it.
    ///
    /// # Errors
    /// The system's words when nobody may be traced here.
    pub fn start(command: Command, out: &Path, aim: Option<Aim>) -> Result<Self, String> {
        let shared = Arc::new(Mutex::new(Aimed { aim, ..Aimed::default() }));
        let (sender, started) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let open = |path: &Path| File::create(path).map_err(|error| error.to_string());
        let err =
            if out.starts_with("/dev") { out.to_path_buf() } else { out.with_extension("err") };
        let files = (open(out)?, open(&err)?);
        let thread = std::thread::spawn(move || tracer::run(command, files, &theirs, &sender));
        let (pid, bell) =
            started.recv().map_err(|_| "the knife's thread broke off".to_owned())??;
        Ok(Self { shared, pid, bell, thread: Some(thread) })
    }

    /// Whether this system lets anybody be traced.
    #[must_use]
    pub fn cuts_here() -> bool {
        let aim = Aim::counting(Program::Command);
        Self::start(Command::new("true"), Path::new("/dev/null"), Some(aim)).is_ok()
    }

    /// The process of the command.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Aims at whoever becomes the program from now on.
    pub fn aim(&self, aim: Aim) {
        let mut aimed = lock(&self.shared);
        aimed.aim = Some(aim);
        aimed.cut = Cut::default();
    }

    /// What came of the last aim so far.
    #[must_use]
    pub fn cut(&self) -> Cut {
        lock(&self.shared).cut.clone()
    }

    /// How the command ended, as shells show it.
    #[must_use]
    pub fn ended(&self) -> Option<i32> {
        lock(&self.shared).ended
    }
}

impl Drop for Knife {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        drop(self.bell.stdin.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Aimed>) -> MutexGuard<'_, Aimed> {
    // A panic elsewhere leaves it whole: each value is put in by one assignment.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
