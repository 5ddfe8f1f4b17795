//! Starts the process of a task.
//!
//! Invariant: no task gets a descriptor of another: all are closed on exec but the library's, and
//! while that one is open for its task no other is started.
use super::Place;
use super::output::Terminal;
use super::task::{Before, words};
use super::usage::Report;
use crate::message::{Input, Output, StepOrder, TaskOrder};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// A started task and the daemon's ends of what it writes and reads.
#[derive(Debug)]
pub(super) struct Spawned {
    pub child: Child,
    pub ends: Ends,
    pub terminal: Option<Arc<Terminal>>,
    /// What its launcher tells.
    pub report: Report<PipeReader>,
    /// The daemon's own largest size by then: for a moment the task was a copy of it.
    pub daemon_peak: u64,
}

/// The daemon's ends of the pipes and sockets of a task.
#[derive(Debug)]
pub(super) struct Ends {
    pub input: Option<OwnedFd>,
    pub output: Option<OwnedFd>,
    pub error: Option<OwnedFd>,
    pub library: Option<OwnedFd>,
}

/// What the daemon is told by its environment.
const DAEMONS_OWN: [&str; 4] =
    ["PCLUSTER_SOCKET", "PCLUSTER_RUN_ID", "PCLUSTER_NODE", "SLURM_NODEID"];

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Starts a task.
///
/// # Errors
/// In words for the user: what could not be opened or started.
pub(super) fn spawn(
    order: &StepOrder,
    task: &TaskOrder,
    cpus: &[u32],
    place: &Place,
) -> Result<Spawned, String> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |error: io::Error| format!("cannot start a task: {}", words(&error));
    let terminal = order.terminal.filter(|_| task.number == 0);
    let report = report_pipe().map_err(failed)?;
    let before = Before {
        work_dir: if order.as_the_job { String::new() } else { order.work_dir.clone() },
        umask: Some(order.umask.unwrap_or(if order.as_the_job { place.umask } else { 0o022 })),
        soft_limits: place.files.among(&order.soft_limits),
        cpus: cpus.to_vec(),
        on_node: place.is_node(),
        terminal: terminal.is_some(),
        node: place.node.clone(),
        report: format!("/proc/{}/fd/{}", std::process::id(), report.as_raw_fd()),
        fifos: if terminal.is_some() { Vec::new() } else { fifos(task, is_fifo) },
    };
    let mut command = helper(task, &before);
    if order.as_the_job {
        command.envs(as_the_job(order, place, std::env::vars_os()));
    } else {
        command.envs(order.environment.iter().map(|(name, value)| (name, value)));
    }
    command.envs(task.environment.iter().map(|(name, value)| (name, value)));
    if !order.as_the_job {
        command.envs(of_this_node(order));
    }
    let terminal = match terminal {
        Some((rows, columns)) => {
            Some(attach_terminal(&mut command, rows, columns).map_err(failed)?)
        }
        None => {
            // A group of its own: signals reach what the task has started, too.
            command.process_group(0);
            give_input(&mut command, &task.input)?;
            give_output(&mut command, order, task)?;
            None
        }
    };
    let library = order.library.as_ref().map(|_| library_pair()).transpose().map_err(failed)?;
    if let Some((_, its)) = &library {
        command.env("PMI_FD", its.as_raw_fd().to_string());
    }
    let mut child = command.spawn().map_err(failed)?;
    Ok(Spawned {
        ends: Ends {
            output: child.stdout.take().map(OwnedFd::from),
            error: child.stderr.take().map(OwnedFd::from),
            input: child.stdin.take().map(OwnedFd::from),
            library: library.map(|(ours, _)| ours),
        },
        terminal,
        report: Report::new(report),
        daemon_peak: super::proc::own_peak_bytes(),
        child,
    })
}

fn is_fifo(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|seen| seen.file_type().is_fifo())
}

/// The named pipes among a task's files, by the descriptor that each is for. Opening one waits for
/// its other side: that is the task's own affair, not the daemon's.
fn fifos(task: &TaskOrder, is_fifo: impl Fn(&str) -> bool) -> Vec<(u8, String)> {
    let input = match &task.input {
        Input::File(path) => Some(path),
        Input::Nothing | Input::Client => None,
    };
    let output = match &task.output {
        Output::File { path, .. } => Some(path),
        _ => None,
    };
    let error = match &task.error {
        Output::File { path, .. } => Some(path),
        Output::WithOutput => output,
        Output::Nothing | Output::Client => None,
    };
    let all = [(0, input), (1, output), (2, error)].into_iter();
    let named = all.filter_map(|(number, path)| Some((number, path?.clone())));
    named.filter(|(_, path)| is_fifo(path)).collect()
}

/// The daemon's own program in its other role.
fn helper(task: &TaskOrder, before: &Before) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // As a part of the agent the daemon is its subcommand.
    if std::env::args_os().nth(1).is_some_and(|word| word == "stepd") {
        command.arg("stepd");
    }
    command
        .arg("task")
        .arg(serde_json::to_string(before).unwrap_or_default())
        .args(&task.argv)
        .env_clear();
    command
}

/// The daemon's own environment, which is the job's, below that of the order. On the node itself
/// without what only the daemon is to know.
fn as_the_job(
    order: &StepOrder,
    place: &Place,
    own: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = own.collect();
    if place.is_node() {
        DAEMONS_OWN.iter().for_each(|name| drop(all.remove(OsStr::new(name))));
    } else {
        let step = || OsString::from(order.step.to_string());
        all.extend([("SLURM_STEP_ID".into(), step()), ("SLURM_STEPID".into(), step())]);
    }
    all.extend(order.environment.iter().map(|(name, value)| (name.into(), value.into())));
    all
}

/// What the caller cannot know of this node: its agent's socket, its scratch folder, and where its
/// commands are.
fn of_this_node(order: &StepOrder) -> Vec<(&'static str, OsString)> {
    let asked = |name: &str| {
        let found = order.environment.iter().find(|(its, _)| its == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let mut set = Vec::new();
    set.extend(std::env::var_os("PCLUSTER_SOCKET").map(|socket| ("PCLUSTER_SOCKET", socket)));
    // One of another node is not here; one that the user has made on a shared disk is.
    if !Path::new(asked("TMPDIR")).is_dir() {
        set.extend(std::env::var_os("TMPDIR").map(|folder| ("TMPDIR", folder)));
    }
    let own = std::env::var_os("PATH").unwrap_or_default();
    let given = std::env::split_paths(asked("PATH"));
    let mut folders: Vec<PathBuf> = given.filter(|folder| !folder.as_os_str().is_empty()).collect();
    for folder in std::env::split_paths(&own) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    set.extend(std::env::join_paths(folders).ok().map(|path| ("PATH", path)));
    set
}

fn attach_terminal(command: &mut Command, rows: u16, columns: u16) -> io::Result<Arc<Terminal>> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    let terminal = Terminal::new(master)?;
    terminal.resize(rows, columns);
    Ok(Arc::new(terminal))
}

fn give_input(command: &mut Command, input: &Input) -> Result<(), String> {
    match input {
        Input::Nothing => command.stdin(Stdio::null()),
        Input::Client => command.stdin(Stdio::piped()),
        // The task opens it.
        Input::File(path) if is_fifo(path) => command.stdin(Stdio::null()),
        Input::File(path) => {
            let file = open(File::options().read(true), path);
            command.stdin(file.map_err(|e| no_file("stdin", path, &e))?)
        }
    };
    Ok(())
}

/// Opens without waiting, whatever it is, and without taking a terminal.
fn open(options: &mut std::fs::OpenOptions, path: &str) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    rustix::io::ioctl_fionbio(&file, false)?;
    Ok(file)
}

fn give_output(command: &mut Command, order: &StepOrder, task: &TaskOrder) -> Result<(), String> {
    let first = |path: &str| {
        // Tasks that share a file must not empty what another has written.
        let shares = |other: &&TaskOrder| {
            [&other.output, &other.error]
                .iter()
                .any(|output| matches!(output, Output::File { path: its, .. } if its == path))
        };
        order.tasks.iter().find(shares).is_none_or(|owner| owner.number == task.number)
    };
    let mut opened: Option<(&str, File)> = None;
    match &task.output {
        Output::Nothing => command.stdout(Stdio::null()),
        Output::Client | Output::WithOutput => command.stdout(Stdio::piped()),
        Output::File { path, .. } if is_fifo(path) => command.stdout(Stdio::null()),
        Output::File { path, append } => {
            let file = open_output("stdout", path, *append || !first(path))?;
            opened = Some((path, copy(&file, path)?));
            command.stdout(file)
        }
    };
    match (&task.error, opened) {
        (Output::Nothing, _) => command.stderr(Stdio::null()),
        (Output::File { path, .. }, Some((same, file))) if path == same => command.stderr(file),
        (Output::File { path, .. }, _) if is_fifo(path) => command.stderr(Stdio::null()),
        (Output::File { path, append }, _) => {
            command.stderr(open_output("stderr", path, *append || !first(path))?)
        }
        (Output::WithOutput, Some((_, file))) => command.stderr(file),
        // No output, or one that the task opens.
        (Output::WithOutput, None)
            if matches!(task.output, Output::Nothing | Output::File { .. }) =>
        {
            command.stderr(Stdio::null())
        }
        // The client writes both to one place.
        (Output::Client | Output::WithOutput, _) => command.stderr(Stdio::piped()),
    };
    Ok(())
}

fn copy(file: &File, path: &str) -> Result<File, String> {
    file.try_clone().map_err(|error| no_file("stdout", path, &error))
}

fn open_output(which: &str, path: &str, append: bool) -> Result<File, String> {
    let mut options = File::options();
    // Appending always: tasks may share the file.
    options.create(true).append(true).mode(0o666);
    let file = open(&mut options, path).map_err(|error| no_file(which, path, &error))?;
    let regular = rustix::fs::fstat(&file)
        .is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::RegularFile);
    if !append && regular {
        file.set_len(0).map_err(|error| no_file(which, path, &error))?;
    }
    Ok(file)
}

fn no_file(which: &str, path: &str, error: &io::Error) -> String {
    format!("Could not open {which} file {path}: {}", words(error))
}

/// A pipe of which the daemon keeps the reading end; the launcher opens the other by its path.
fn report_pipe() -> io::Result<PipeReader> {
    let (ours, _theirs) = io::pipe()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok(ours)
}

/// Ours, closed on exec, and the task's, which is not.
fn library_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    rustix::io::fcntl_setfd(&pair.0, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&pair.0, true)?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_pipes_are_left_to_the_task() {
        let file = |path: &str| Output::File { path: path.into(), append: false };
        let is_fifo = |path: &str| path.starts_with("fifo");
        let of = |input, output, error| {
            fifos(&TaskOrder { input, output, error, ..TaskOrder::default() }, is_fifo)
        };
        let named = |number: u8, path: &str| (number, path.to_owned());
        assert_eq!(of(Input::Client, file("fifo"), Output::Client), [named(1, "fifo")]);
        assert_eq!(
            of(Input::File("fifo-in".into()), file("fifo"), Output::WithOutput),
            [named(0, "fifo-in"), named(1, "fifo"), named(2, "fifo")]
        );
        assert_eq!(of(Input::File("in".into()), file("out"), file("fifo")), [named(2, "fifo")]);
        assert!(of(Input::Nothing, Output::Nothing, Output::WithOutput).is_empty());
    }
}
