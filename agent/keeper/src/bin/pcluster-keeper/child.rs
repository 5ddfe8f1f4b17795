//! From fork to the job: joins the cgroup, becomes the user, opens the user's files, and turns into the job.
//!
//! Invariant: no path of the user is opened, created or entered before the user ids are dropped and the drop is proven;
//! any step that fails ends this process without anything of the user's having run. It waits for the keeper's word
//! before it turns into the job, so no job runs without a keeper that has recorded it.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use pcluster_keeper::{Identity, OpenMode, RunDir, RunOrder, line, notice, tree};
use rustix::{
    fs::{Access, Mode, OFlags, access, fcntl_getfl, fcntl_setfl},
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg},
    process::{Gid, Resource, Rlimit, Signal, Uid, geteuid, getrlimit, setrlimit, setsid, umask},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin},
};
use serde::{Deserialize, Serialize};

use crate::{note, plain, sys};

/// What the child tells the keeper: nothing but this, and the reading side of the output, ever crosses.
#[derive(Debug, Serialize, Deserialize)]
pub enum ChildSays {
    /// All is prepared; waiting for the word. Descriptors come along in this order.
    Ready {
        /// The reading side of the output comes along.
        output: bool,
        /// The error file comes along, for the keeper's notices.
        errors: bool,
    },
    /// A step failed.
    Failed {
        /// See `Outcome::CannotRun`.
        step: String,
        /// One sentence for the user.
        message: String,
    },
}

/// A step and the sentence for its failure.
struct Failure(&'static str, String);

/// Adds the step and the sentence to an error.
fn at(step: &'static str, what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let what = what.into();
    move |error| Failure(step, format!("{what}: {}", plain(&error)))
}

/// Runs the child; returns only when the job could not be started.
pub fn run(dir: &Path) -> ExitCode {
    // Standard input is the socket to the keeper; it moves out of the way of the job's own.
    let link = match rustix::io::fcntl_dupfd_cloexec(stdin(), 3) {
        Ok(link) => link,
        Err(error) => {
            note(&format!("no link to the keeper: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let Err(Failure(step, message)) = become_job(&RunDir::new(dir), Some(&link));
    let says = ChildSays::Failed { step: step.into(), message };
    let bytes = serde_json::to_vec(&says).unwrap_or_default();
    let _ = send(&link, &bytes, SendFlags::NOSIGNAL);
    ExitCode::FAILURE
}

/// Runs the child that becomes a step daemon beside the main process; returns only when that failed.
pub fn run_steps(dir: &Path) -> ExitCode {
    let Err(Failure(step, message)) = become_job(&RunDir::new(dir), None);
    note(&format!("no step daemon ({step}): {message}"));
    ExitCode::FAILURE
}

/// With a link this is the main process; without one, a step daemon beside it.
fn become_job(dir: &RunDir, link: Option<&OwnedFd>) -> Result<Infallible, Failure> {
    let order = dir.read_order().map_err(at("start", "cannot read the order"))?;
    let start = dir.read_start().map_err(at("start", "cannot read the start record"))?;
    let private = start.and_then(|start| start.private_dir);
    let steps = order.only_steps || link.is_none();
    let script = order.script_path.as_ref().filter(|_| !steps);
    let script = script.map(|path| open_script(path)).transpose()?;
    let daemon = steps.then(|| open_daemon(&order)).transpose()?;
    // A protected keeper must not make a protected job. Best effort: the value may be untouchable in a container.
    drop(fs::write("/proc/self/oom_score_adj", "0"));
    for cgroup in order.cgroup.iter().flat_map(|cgroup| &cgroup.dirs) {
        tree::write_control(&cgroup.join("cgroup.procs"), "0")
            .map_err(at("cgroup", format!("cannot join the cgroup {}", cgroup.display())))?;
    }
    setsid().map_err(io::Error::from).map_err(at("start", "cannot make a session"))?;
    sys::default_signals();
    if let Some(identity) = &order.identity {
        let name = format!("cannot become user {} ({})", identity.user, identity.uid);
        become_user(identity).map_err(at("identity", name))?;
    }
    // From here on this process is the user. If the keeper dies, so does the main process.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .map_err(at("start", "cannot follow the keeper"))?;
    let elsewhere = enter(&order)?;
    let copy = match link {
        Some(_) => private_files(private.as_deref(), script.as_deref())?,
        None => None,
    };
    let copy = copy.or_else(|| order.script_path.clone());
    let mut job = match &daemon {
        Some(program) => daemon_command(&order, program, private.as_deref()),
        None => command(&order, copy.as_deref(), script.as_deref(), private.as_deref())?,
    };
    // The keeper's own mask was good for the private files; the user's files get the user's.
    umask(Mode::from_raw_mode(order.umask & 0o777));
    let files = if steps { no_files()? } else { open_files(&order)? };
    drop(io::stderr().write_all(elsewhere.as_bytes()));
    limit(&order).map_err(at("limits", "cannot set the resource limits"))?;
    sys::close_on_exec_from_3();
    if let Some(link) = link {
        ask_keeper(link, &files).map_err(at("start", "the keeper is gone"))?;
    }
    let program = job.get_program().to_string_lossy().into_owned();
    Err(match job.exec() {
        error if error.kind() == io::ErrorKind::NotFound && !program.contains('/') => {
            Failure("exec", format!("cannot run {program:?}: no such command in the job's PATH"))
        }
        error => at("exec", format!("cannot run {program:?}"))(error),
    })
}

/// Takes on the user's ids and proves it: saved and file-system ids, groups and capabilities included.
fn become_user(identity: &Identity) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if identity.uid == u32::MAX || identity.gid == u32::MAX || identity.groups.contains(&u32::MAX) {
        return refuse("not a valid id");
    }
    if !geteuid().is_root() {
        // A keeper without root serves one user.
        let same = geteuid().as_raw() == identity.uid;
        return if same { Ok(()) } else { refuse("the agent does not run as root") };
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    if !uid.is_root() {
        rustix::thread::set_no_new_privs(true)?;
        // Not every kernel has ambient capabilities; what matters is checked below.
        let _ = rustix::thread::clear_ambient_capability_set();
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    if has_become(identity, &fs::read_to_string("/proc/self/status")?) {
        Ok(())
    } else {
        refuse("the system did not take on the user's ids")
    }
}

/// Reads the proof from `/proc/self/status`.
fn has_become(identity: &Identity, status: &str) -> bool {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let ids = |name: &str, id: u32| {
        field(name).is_some_and(|text| text.split_whitespace().eq([id.to_string().as_str(); 4]))
    };
    let groups: BTreeSet<u32> = field("Groups")
        .unwrap_or("?")
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(u32::MAX))
        .collect();
    let powerless = ["CapPrm", "CapEff", "CapAmb"]
        .iter()
        .all(|name| field(name).is_none_or(|text| text.trim_matches('0').is_empty()));
    ids("Uid", identity.uid)
        && ids("Gid", identity.gid)
        && groups == identity.groups.iter().copied().collect()
        && (identity.uid == 0 || (powerless && field("NoNewPrivs") == Some("1")))
}

/// Opens the script with the keeper's rights: it is the agent's own file, in a directory closed to users.
fn open_script(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(at("script", "cannot read the script"))?;
    Ok(bytes)
}

/// Opens the step daemon with the keeper's rights: its path may be closed to the user, and is the agent's word.
fn open_daemon(order: &RunOrder) -> Result<File, Failure> {
    let Some(program) = order.step_daemon.first() else {
        return Err(Failure("exec", "this node has no step daemon".into()));
    };
    File::open(program).map_err(at("exec", format!("cannot read the step daemon {program}")))
}

/// The command line of the step daemon, in the environment of the job.
fn daemon_command(order: &RunOrder, program: &File, private: Option<&Path>) -> Command {
    let mut job = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    job.arg0("pcluster-stepd").args(order.step_daemon.iter().skip(1));
    job.env_clear().envs(line::environment(order, private));
    job
}

/// Enters the working directory, or `/tmp` where the order allows it; then with a line for the user.
fn enter(order: &RunOrder) -> Result<String, Failure> {
    let dir = order.work_dir.display();
    match env::set_current_dir(&order.work_dir) {
        Err(error) if order.tmp_fallback => env::set_current_dir("/tmp")
            .map(|()| notice::elsewhere(&dir.to_string(), &plain(&error)))
            .map_err(at("work_dir", format!("cannot enter {dir}, nor /tmp"))),
        entered => entered
            .map(|()| String::new())
            .map_err(at("work_dir", format!("cannot enter the working directory {dir}"))),
    }
}

/// Fills the private directory as the user: `tmp` for `$TMPDIR`, and the copy of the script, whose path is returned.
fn private_files(
    private: Option<&Path>,
    script: Option<&[u8]>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(private) = private else {
        return Ok(None);
    };
    let failed =
        || at("private_dir", format!("cannot fill the private directory {}", private.display()));
    DirBuilder::new().mode(0o700).create(private.join("tmp")).map_err(failed())?;
    let Some(script) = script else {
        return Ok(None);
    };
    let path = private.join("script");
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path).map_err(failed())?;
    file.write_all(script).map_err(failed())?;
    Ok(Some(path))
}

/// The command line and the exact environment, after asking for the user's rights on what it needs.
fn command(
    order: &RunOrder,
    copy: Option<&Path>,
    script: Option<&[u8]>,
    private: Option<&Path>,
) -> Result<Command, Failure> {
    if let Some(profile) = &order.profile {
        File::open(profile)
            .map_err(at("profile", format!("cannot read the profile {}", profile.display())))?;
    }
    let interpreter = script.and_then(line::interpreter);
    if let Some(found) = &interpreter {
        let why = |error| {
            format!(
                "cannot run {}: {}{}",
                found.described(),
                plain(&io::Error::from(error)),
                found.hint()
            )
        };
        access(&found.program, Access::EXEC_OK).map_err(|error| Failure("exec", why(error)))?;
    }
    let words = line::words(order, copy, interpreter);
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure("exec", "cannot run an empty command".into()));
    };
    let mut job = Command::new(program);
    job.args(arguments).env_clear().envs(line::environment(order, private));
    // The program that this process becomes keeps its number.
    job.envs(order.pid_names.iter().map(|name| (name, std::process::id().to_string())));
    Ok(job)
}

/// What the keeper gets of the job's files.
#[derive(Default)]
struct Handed {
    /// The reading side of the output, if it is a regular file that the user may read.
    output: Option<File>,
    /// The error file, if it is a regular one: writing to anything else could take for ever.
    errors: Option<File>,
}

/// A step daemon has no files: its tasks have.
fn no_files() -> Result<Handed, Failure> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(at("stdin", "cannot open /dev/null"))?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .map_err(io::Error::from)
        .map_err(at("stdin", "cannot place /dev/null"))?;
    Ok(Handed::default())
}

/// Opens input, output and errors as the user and puts them in place.
fn open_files(order: &RunOrder) -> Result<Handed, Failure> {
    let input = order.stdin.clone().unwrap_or_else(|| "/dev/null".into());
    let file = open(OpenOptions::new().read(true), &order.work_dir.join(&input))
        .map_err(at("stdin", format!("cannot read the input file {}", input.display())))?;
    dup2_stdin(&file).map_err(io::Error::from).map_err(at("stdin", "cannot place the input"))?;
    let what = || format!("cannot write the output file {}", order.stdout.display());
    let mut output = open_output(order, &order.stdout).map_err(at("stdout", what()))?;
    let errors = match order.stderr.as_ref().filter(|path| **path != order.stdout) {
        Some(path) => open_output(order, path)
            .map_err(at("stderr", format!("cannot write the error file {}", path.display())))?,
        None => output.try_clone().map_err(at("stderr", "cannot place the error file"))?,
    };
    // After both are open: they may be one file by two names, which the second opening empties.
    if let Some(line) = &order.append_line {
        output.write_all(format!("{line}\n").as_bytes()).map_err(at("stdout", what()))?;
    }
    dup2_stdout(&output)
        .map_err(io::Error::from)
        .map_err(at("stdout", "cannot place the output"))?;
    // Through the descriptor and not by the path, which may lead elsewhere by now; with the user's rights, so a file
    // that the user may only write stays unread.
    let regular = output.metadata().is_ok_and(|meta| meta.is_file());
    let reader = if regular {
        open(OpenOptions::new().read(true), Path::new("/proc/self/fd/1")).ok()
    } else {
        None
    };
    dup2_stderr(&errors)
        .map_err(io::Error::from)
        .map_err(at("stderr", "cannot place the error file"))?;
    let errors = errors.metadata().is_ok_and(|meta| meta.is_file()).then_some(errors);
    Ok(Handed { output: reader, errors })
}

fn open_output(order: &RunOrder, path: &Path) -> io::Result<File> {
    // Not from where this process is, which may be `/tmp`: what was asked for is there or not.
    let path = &order.work_dir.join(path);
    if let Some(parent) = path.parent().filter(|_| order.make_dirs) {
        fs::create_dir_all(parent)?;
    }
    // Always appending: output and errors in one file under two names must not overwrite each other.
    let truncate =
        if order.open_mode == OpenMode::Truncate { OFlags::TRUNC } else { OFlags::empty() };
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o666);
    open_flagged(&mut options, path, truncate)
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_flagged(options, path, OFlags::empty())
}

/// Opens without waiting (a FIFO without its other side must not hold the run up) and without taking a terminal.
fn open_flagged(options: &mut OpenOptions, path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | more;
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? & !OFlags::NONBLOCK)?;
    Ok(file)
}

fn limit(order: &RunOrder) -> io::Result<()> {
    for (name, soft) in &order.soft_limits {
        let resource = match name.as_str() {
            "as" => Resource::As,
            "core" => Resource::Core,
            "cpu" => Resource::Cpu,
            "data" => Resource::Data,
            "fsize" => Resource::Fsize,
            "locks" => Resource::Locks,
            "memlock" => Resource::Memlock,
            "msgqueue" => Resource::Msgqueue,
            "nice" => Resource::Nice,
            "nofile" => Resource::Nofile,
            "nproc" => Resource::Nproc,
            "rss" => Resource::Rss,
            "rtprio" => Resource::Rtprio,
            "rttime" => Resource::Rttime,
            "sigpending" => Resource::Sigpending,
            "stack" => Resource::Stack,
            _ => continue,
        };
        let maximum = getrlimit(resource).maximum;
        // `None` is unlimited on both sides.
        let current = maximum.map_or(*soft, |hard| Some(soft.unwrap_or(hard).min(hard)));
        setrlimit(resource, Rlimit { current, maximum })?;
    }
    Ok(())
}

/// Says that all is ready, hands the files over, and waits for the word to go.
fn ask_keeper(link: &OwnedFd, files: &Handed) -> io::Result<()> {
    let (output, errors) = (files.output.is_some(), files.errors.is_some());
    let bytes = serde_json::to_vec(&ChildSays::Ready { output, errors })?;
    let fds: Vec<_> = files.output.iter().chain(&files.errors).map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(link, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    let mut word = [0_u8; 1];
    match recv(link, &mut word[..], RecvFlags::empty())? {
        (1, _) => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
