//! Holding a run: start the child, obey commands and clocks until the main process has ended, end the rest.
//!
//! Invariant: nothing of the run lives when the exit record appears. Limits run on the monotonic clock, which no user can set.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use pcluster_keeper::{
    Command, ExitRecord, Outcome, RunDir, RunOrder, StartRecord, Target, Usage,
    clock::{Clock, Due},
    proc, tree,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Gid, Mode, OFlags, Uid, fchown, mknodat, open},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags,
        SocketFlags, SocketType, recvmsg, send, socketpair,
    },
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, geteuid, getpid, pidfd_open, wait,
    },
};

use crate::{child::ChildSays, claim, finish, note, plain, steps, sys};

/// Longest pause between two looks for ended grandchildren, while none have been seen.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// The same while they keep coming.
const REAP_BUSY: Duration = Duration::from_millis(100);
/// Pause between two kills of something that does not die.
const KILL_AGAIN: Duration = Duration::from_millis(500);
/// Longest command line understood; the rest of a longer one is dropped.
const LINE_BYTES: usize = 4_096;

/// Why and until when the run is being ended.
struct Ending {
    outcome: Outcome,
    kill_at: Instant,
}

/// What is known of the main process.
struct Main {
    pid: i32,
    pidfd: OwnedFd,
    /// The socket to the child until it has turned into the job.
    link: Option<OwnedFd>,
    ready: bool,
    failed: Option<Outcome>,
    status: Option<WaitStatus>,
}

struct Hold {
    dir: RunDir,
    order: RunOrder,
    start: StartRecord,
    control: OwnedFd,
    line: Vec<u8>,
    output: Option<File>,
    /// The job's error file, for the notices.
    errors: Option<File>,
    /// The step daemon beside the main process.
    daemon: Option<i32>,
    /// A step daemon was asked for at least once.
    has_steps: bool,
    /// What main process and waited-for children had used when it ended.
    batch: (u64, u64, u64),
    clock: Clock,
    ending: Option<Ending>,
    /// What it used of the node's disk when that was too much, in words.
    full: String,
    reap_after: Duration,
}

/// Holds the run of `dir` from claim to exit record.
pub fn run(dir: &Path) -> ExitCode {
    match claim::claim(dir) {
        Err(code) => ExitCode::from(code),
        Ok((dir, order, start)) => match hold(dir, order, start) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note(&format!("cannot hold the run: {}", plain(&error)));
                ExitCode::FAILURE
            }
        },
    }
}

fn hold(dir: RunDir, order: RunOrder, start: StartRecord) -> io::Result<()> {
    // Refused only to a process that leads a group already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o077));
    std::env::set_current_dir("/")?;
    rustix::process::set_child_subreaper(Some(getpid()))?;
    if geteuid().is_root() {
        // A memory hog must not take its keeper along. Best effort: containers may forbid it.
        drop(fs::write("/proc/self/oom_score_adj", "-900"));
    }
    drop(fs::remove_file(dir.control()));
    mknodat(rustix::fs::CWD, dir.control(), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    // Open for both, so that the FIFO never ends when a writer leaves.
    let control =
        open(dir.control(), OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    note(&format!("run {}: job {} {:?}", order.run, order.job, order.job_name));
    let clock = Clock::new(
        Instant::now(),
        order.time_limit_ms,
        order.warn_signal.map(|warn| warn.before_ms),
    );
    let mut hold = Hold {
        dir,
        order,
        start,
        control,
        line: Vec::new(),
        output: None,
        errors: None,
        daemon: None,
        has_steps: false,
        batch: (0, 0, 0),
        clock,
        ending: None,
        full: String::new(),
        reap_after: REAP_BUSY,
    };
    let main = match hold.make_private().and_then(|()| hold.spawn()) {
        Ok(mut main) => {
            hold.attend(&mut main)?;
            main.failed
                .or_else(|| main.status.map(|status| how(status, main.ready)))
                .map(|why| (why, main.status))
        }
        Err(outcome) => Some((outcome, None)),
    };
    let (ended, status) =
        main.unwrap_or_else(|| (cannot("start", "the main process was lost"), None));
    hold.finish(ended, status)
}

fn cannot(step: &str, why: &str) -> Outcome {
    Outcome::CannotRun { step: step.into(), why: why.into() }
}

/// The reason of an `end` as the notice has it; the agent's own word for "the head said so" tells nobody anything.
fn due_to(reason: &str) -> &str {
    match reason {
        "requeue" => "JOB REQUEUE",
        "preempted" => "PREEMPTION",
        "node failed" => "NODE FAILURE",
        _ => "",
    }
}

/// The outcome that an exit status alone tells.
fn how(status: WaitStatus, ready: bool) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        _ if !ready => {
            cannot("start", "the process ended before the job began; keeper.log may tell more")
        }
        (_, Some(signal)) => Outcome::Signaled { signal, core: status.as_raw() & 0x80 != 0 },
        (code, None) => Outcome::Exited { code: code.unwrap_or(0) },
    }
}

impl Hold {
    fn cgroup(&self) -> &[PathBuf] {
        self.order.cgroup.as_ref().map_or(&[], |cgroup| &cgroup.dirs)
    }

    /// Makes the private directory and gives it to the user, by descriptor and where no user can put anything else in
    /// its place.
    fn make_private(&self) -> Result<(), Outcome> {
        let (Some(parent), Some(private)) = (&self.order.tmp_parent, &self.start.private_dir)
        else {
            return Ok(());
        };
        let make = || -> io::Result<()> {
            let meta = fs::metadata(parent)?;
            let safe = meta.mode() & 0o022 == 0 || meta.mode() & 0o1000 != 0;
            if !safe || ![0, geteuid().as_raw()].contains(&meta.uid()) {
                return Err(io::Error::other(
                    "others may rearrange it (sticky bit and owner are checked)",
                ));
            }
            DirBuilder::new().mode(0o700).create(private)?;
            if let Some(identity) = self.order.identity.as_ref().filter(|_| geteuid().is_root()) {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let owner = (Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)));
                fchown(open(private, flags, Mode::empty())?, owner.0, owner.1)?;
            }
            Ok(())
        };
        let what = |error: io::Error| {
            format!("cannot make a private directory in {}: {}", parent.display(), plain(&error))
        };
        make().map_err(|error| cannot("private_dir", &what(error)))
    }

    fn spawn(&self) -> Result<Main, Outcome> {
        let spawn = || -> io::Result<Main> {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            // The running file itself, also when an upgrade has replaced or removed it.
            let child = process::Command::new("/proc/self/exe")
                .arg0("pcluster-keeper")
                .arg("child")
                .arg(self.dir.path())
                .env_clear()
                .stdin(theirs)
                .stdout(Stdio::null())
                .spawn()?;
            let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
            let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            Ok(Main { pid, pidfd, link: Some(ours), ready: false, failed: None, status: None })
        };
        spawn()
            .map_err(|error| cannot("spawn", &format!("cannot start a process: {}", plain(&error))))
    }

    /// Waits for the main process, obeying commands and clocks.
    fn attend(&mut self, main: &mut Main) -> io::Result<()> {
        while main.status.is_none() {
            let pause = self.next_wake().saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(pause).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            let link = main.link.as_ref().unwrap_or(&main.pidfd);
            let mut fds = [
                PollFd::new(&main.pidfd, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::new(link, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let (commanded, heard) = (!fds[1].revents().is_empty(), !fds[2].revents().is_empty());
            if heard {
                self.hear(main);
            }
            if commanded {
                self.read_commands(main);
            }
            self.reap(main);
            self.tick(main);
        }
        self.hear(main);
        Ok(())
    }

    /// What the child says: ready with the output's reading side, failed, or (by closing the socket) job.
    fn hear(&mut self, main: &mut Main) {
        let Some(link) = &main.link else { return };
        let mut bytes = [0_u8; 16_384];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let length =
            match recvmsg(link, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, flags) {
                Ok(message) => message.bytes,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Err(_) => 0,
            };
        match serde_json::from_slice(&bytes[..length]) {
            Ok(ChildSays::Ready { output, errors }) => {
                let mut handed = control
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                        _ => None,
                    })
                    .flatten()
                    .map(File::from);
                self.output = output.then(|| handed.next()).flatten();
                self.errors = errors.then(|| handed.next()).flatten();
                self.start.output_fd = self.output.as_ref().map(|file| file.as_raw_fd());
                self.start.child_pid = Some(main.pid);
                self.start.child_start_ticks = proc::stat(main.pid).map(|stat| stat.start_ticks);
                if let Err(error) = claim::write_start(&self.dir, &self.start) {
                    note(&format!("cannot complete the start record: {}", plain(&error)));
                }
                main.ready = true;
                let _ = send(link, b"g", SendFlags::NOSIGNAL);
                if self.has_steps {
                    self.start_steps(main);
                }
            }
            Ok(ChildSays::Failed { step, message }) => {
                main.failed = Some(Outcome::CannotRun { step, why: message })
            }
            Err(_) => main.link = None,
        }
    }

    fn read_commands(&mut self, main: &Main) {
        let mut bytes = [0_u8; LINE_BYTES];
        let Ok(length) = rustix::io::read(&self.control, &mut bytes) else {
            return;
        };
        for byte in &bytes[..length] {
            if *byte != b'\n' {
                if self.line.len() < LINE_BYTES {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            match line.parse() {
                Ok(command) => self.obey(command, main),
                Err(error) => note(&format!("ignored a command: {error}")),
            }
        }
    }

    fn obey(&mut self, command: Command, main: &Main) {
        note(&format!("told: {command}"));
        match command {
            Command::Signal { signal, target } => self.signal(main, target, signal),
            Command::End { grace_ms, reason } => {
                self.end(main, Outcome::Cancelled { reason }, grace_ms)
            }
            Command::Full { used_bytes, words } => {
                if self.ending.is_none() {
                    self.full = words;
                }
                self.end(main, Outcome::DiskFull { used_bytes }, self.order.term_grace_ms);
            }
            Command::Kill => self.end(main, Outcome::Cancelled { reason: "kill".into() }, 0),
            Command::Suspend => {
                self.clock.suspend(Instant::now());
                tree::stand_still(self.cgroup(), self.roles(main));
            }
            Command::Resume => {
                self.clock.resume(Instant::now());
                tree::go_on(self.cgroup(), self.roles(main));
            }
            Command::Extend { limit_ms } => self.clock.set_limit(Instant::now(), limit_ms),
            Command::Steps => {
                self.has_steps = true;
                self.start_steps(main);
            }
            Command::Done => {}
        }
    }

    /// Starts the step daemon if there is to be one, there is none, and it can: before the main process is ready the
    /// private directory is not.
    fn start_steps(&mut self, main: &Main) {
        if self.order.only_steps || self.daemon.is_some() || !main.ready || self.ending.is_some() {
            return;
        }
        match steps::spawn(self.dir.path()) {
            Ok(pid) => self.daemon = Some(pid),
            Err(error) => note(&format!("cannot start a step daemon: {}", plain(&error))),
        }
    }

    fn roles(&self, main: &Main) -> tree::Roles {
        let daemon = if self.order.only_steps { Some(main.pid) } else { self.daemon };
        tree::Roles { main: main.pid, daemon }
    }

    fn signal(&self, main: &Main, target: Target, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            tree::signal(self.cgroup(), self.roles(main), target, signal);
        }
    }

    /// Writes a line to the job's error file, aside: a file system that does not answer must not hold the keeper up.
    fn notice(&self, line: String) {
        let Some(file) = self.errors.as_ref().and_then(|file| file.try_clone().ok()) else {
            return;
        };
        let mut file = file;
        drop(thread::Builder::new().spawn(move || drop(file.write_all(line.as_bytes()))));
    }

    /// TERM now, KILL after the grace. A later call can only shorten the grace: the first cause is the outcome.
    fn end(&mut self, main: &Main, outcome: Outcome, grace_ms: u64) {
        // More than a year is for ever, and adds up without overflow.
        let kill_at = Instant::now() + Duration::from_millis(grace_ms.min(1_000 * 86_400 * 400));
        if let Some(ending) = &mut self.ending {
            ending.kill_at = ending.kill_at.min(kill_at);
            return;
        }
        if let Some(notices) = &self.order.notices {
            let why = match &outcome {
                Outcome::TimedOut => "TIME LIMIT",
                Outcome::Cancelled { reason } => due_to(reason),
                Outcome::DiskFull { .. } => &format!("A FULL SCRATCH DISK ({})", self.full),
                _ => "",
            };
            self.notice(notices.cancelled(finish::wall_ms(), why));
        }
        self.ending = Some(Ending { outcome, kill_at });
        tree::terminate(self.cgroup(), self.roles(main));
    }

    fn next_wake(&self) -> Instant {
        let due =
            self.ending.as_ref().map_or_else(|| self.clock.next(), |ending| Some(ending.kill_at));
        let reap = Instant::now() + self.reap_after;
        due.map_or(reap, |due| due.min(reap))
    }

    fn tick(&mut self, main: &Main) {
        let now = Instant::now();
        if main.status.is_some() {
            return;
        }
        if let Some(ending) = &mut self.ending {
            if ending.kill_at <= now {
                ending.kill_at = now + KILL_AGAIN;
                let _ = tree::kill(self.cgroup());
            }
            return;
        }
        match (self.clock.due(now), self.order.warn_signal) {
            (Due::Warning, Some(warn)) => {
                // A job without steps that asks for a warning means what its script runs.
                let alone = !self.has_steps && !self.order.only_steps;
                let target = match warn.target {
                    Target::Steps if alone => Target::Children,
                    target => target,
                };
                self.signal(main, target, warn.signal);
            }
            (Due::Warning | Due::Nothing, _) => {}
            (Due::Limit, _) => {
                note("the time limit is over");
                self.end(main, Outcome::TimedOut, self.order.term_grace_ms);
            }
        }
    }

    /// Collects every process that has ended, orphans of the job included.
    fn reap(&mut self, main: &mut Main) {
        self.reap_after = REAP_EVERY;
        let mut before = sys::children_usage();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.reap_after = REAP_BUSY;
            let pid = pid.as_raw_nonzero().get();
            let after = sys::children_usage();
            if pid == main.pid {
                main.status = Some(status);
                let less = |now: u64, then: u64| now.saturating_sub(then);
                self.batch = (less(after.0, before.0), less(after.1, before.1), after.2);
            }
            if self.daemon == Some(pid) {
                note("the step daemon has ended");
                self.daemon = None;
            }
            before = after;
        }
    }

    /// Ends what is left, clears up, and writes the exit record.
    fn finish(mut self, ended: Outcome, status: Option<WaitStatus>) -> io::Result<()> {
        let (elapsed, ended_at_ms) = (self.clock.elapsed(Instant::now()), finish::wall_ms());
        if let Some(daemon) = self.daemon {
            steps::let_end(daemon, || while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {});
        }
        let survivors = tree::end_all(self.cgroup());
        let (user_cpu_ms, system_cpu_ms, max_rss_bytes) = sys::children_usage();
        // A step daemon that is the main process is no batch.
        let batch = if self.order.only_steps { (0, 0, 0) } else { self.batch };
        let (memory_peak_bytes, oom_kills) = tree::memory_facts(self.cgroup());
        if let (Some(notices), Some(mut errors)) = (&self.order.notices, self.errors.take())
            && oom_kills > 0
        {
            drop(errors.write_all(notices.out_of_memory(oom_kills).as_bytes()));
        }
        let output_bytes =
            self.output.take().map_or(0, |output| finish::save_tail(&self.dir, &output));
        if let Some(private) = &self.start.private_dir {
            finish::remove_private(private);
        }
        let outcome = match (ended, self.ending) {
            (ended @ Outcome::CannotRun { .. }, None) => ended,
            (_, Some(ending)) => ending.outcome,
            (_, None) if oom_kills > 0 => Outcome::OutOfMemory,
            (ended, None) => ended,
        };
        let record = ExitRecord {
            run: self.order.run,
            outcome,
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
            started_at_ms: self.start.started_at_ms,
            ended_at_ms,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            usage: Usage {
                user_cpu_ms,
                system_cpu_ms,
                max_rss_bytes,
                batch_user_cpu_ms: batch.0,
                batch_system_cpu_ms: batch.1,
                batch_max_rss_bytes: batch.2,
                memory_peak_bytes,
                output_bytes,
                oom_kills,
            },
            survivors,
        };
        finish::write_record(&self.dir, &record)?;
        drop(fs::remove_file(self.dir.control()));
        Ok(())
    }
}
