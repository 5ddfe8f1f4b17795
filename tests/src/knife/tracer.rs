//! The thread that traces: `ptrace` answers only the thread that began.
//!
//! Invariant: everybody who stops is sent on at once, unless it is the victim at its call. When the
//! thread ends, the kernel lets all go.
use super::{Aimed, Call, Program, lock};
use nix::libc::{self, c_long};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::Sender;

/// `PTRACE_EVENT_EXEC` of the kernel.
const EVENT_EXEC: i32 = 4;
/// `PTRACE_SYSCALL_INFO_ENTRY`: the call is about to be made.
const ENTRY: u8 = 1;

/// A process that waits for a line before it becomes the words after it: so it is traced from its
/// first call on.
const GATE: &str = "read go; exec \"$@\" </dev/null";

type Begun = Result<(i32, Child), String>;

/// Starts the command and follows it until the bell rings or nobody is left.
pub(super) fn run(
    command: Command,
    files: (File, File),
    shared: &Mutex<Aimed>,
    told: &Sender<Begun>,
) {
    match begin(command, files) {
        Ok((first, bell)) => {
            let (pid, bell_pid) = (first.as_raw(), pid_of(&bell));
            if told.send(Ok((pid, bell))).is_ok() {
                Tracer { shared, first, bell: bell_pid, groups: HashMap::new(), victim: None }
                    .live();
            }
        }
        Err(why) => drop(told.send(Err(why))),
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
}

/// Both are children of this thread, so that only it hears of their ends.
fn begin(command: Command, files: (File, File)) -> Result<(Pid, Child), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut bell = Command::new("cat");
    bell.stdin(Stdio::piped()).stdout(Stdio::null());
    let bell = bell.spawn().map_err(|error| words(&error))?;
    let mut gate = Command::new("/bin/sh");
    gate.args(["-c", GATE, "sh"]).arg(command.get_program()).args(command.get_args());
    gate.env_clear().stdin(Stdio::piped()).stdout(files.0).stderr(files.1);
    gate.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        gate.current_dir(folder);
    }
    let mut child = gate.spawn().map_err(|error| words(&error))?;
    let first = pid_of(&child);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK;
    let seized = ptrace::seize(first, options).map_err(|error| words(&error));
    let opened = child.stdin.take().map(|mut input| input.write_all(b"go\n"));
    match (seized, opened) {
        (Ok(()), Some(Ok(()))) => Ok((first, bell)),
        (seized, _) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(seized.err().unwrap_or_else(|| "the command did not wait".to_owned()))
        }
    }
}

struct Tracer<'a> {
    shared: &'a Mutex<Aimed>,
    first: Pid,
    bell: Pid,
    /// The process of each thread.
    groups: HashMap<Pid, Pid>,
    victim: Option<Pid>,
}

impl Tracer<'_> {
    fn live(mut self) {
        loop {
            // Of this thread only: other threads of the test wait for children of their own.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))
                    if pid == self.bell => {}
                Ok(status) => self.turn(status),
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
            if lock(self.shared).over {
                return;
            }
        }
    }

    fn turn(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => self.gone(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.gone(pid, 128 + signal as i32),
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, _, EVENT_EXEC) => {
                if self.became(pid) {
                    self.go_on(pid, None);
                } else {
                    self.groups.remove(&pid);
                    let _ = ptrace::detach(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, ..) => self.go_on(pid, None),
            WaitStatus::PtraceSyscall(pid) if self.is_cut(pid) => {}
            WaitStatus::PtraceSyscall(pid) => self.go_on(pid, None),
            _ => {}
        }
    }

    fn gone(&mut self, pid: Pid, code: i32) {
        self.groups.remove(&pid);
        if pid == self.first {
            lock(self.shared).ended = Some(code);
        }
    }

    /// The process of a thread.
    fn group(&mut self, pid: Pid) -> Pid {
        *self.groups.entry(pid).or_insert_with(|| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
            line.and_then(|id| id.trim().parse().ok()).map_or(pid, Pid::from_raw)
        })
    }

    /// One that died meanwhile tells so next.
    fn go_on(&mut self, pid: Pid, signal: Option<Signal>) {
        let group = self.group(pid);
        let counted = self.victim == Some(group);
        let _ = if counted { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
    }

    /// A process has become another program. False when nothing of the cluster can come of it: the
    /// programs of jobs go free.
    fn became(&mut self, pid: Pid) -> bool {
        self.groups.insert(pid, pid);
        if self.victim == Some(pid) {
            self.victim = None;
        }
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let mut aimed = lock(self.shared);
        let wanted = aimed.aim.is_some_and(|aim| Program::of(&words) == Some(aim.program));
        if wanted && aimed.cut.victim.is_none() {
            aimed.cut.victim = Some(pid.as_raw());
            self.victim = Some(pid);
        }
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Seized in the middle of becoming the gate, it says so late.
        name.starts_with("pcluster") || words.iter().any(|word| word == GATE)
    }

    /// Counts a call of the victim, and kills it before the one that is meant.
    fn is_cut(&mut self, pid: Pid) -> bool {
        let group = self.group(pid);
        if self.victim != Some(group) {
            return false;
        }
        let Some(call) = call_at(pid) else { return false };
        let mut aimed = lock(self.shared);
        // The knife may be aimed at another by now.
        if aimed.cut.victim != Some(group.as_raw()) {
            self.victim = None;
            return false;
        }
        let Aimed { aim, cut, .. } = &mut *aimed;
        let made = cut.made.entry(call).or_default();
        let meant = aim.is_some_and(|aim| aim.call == call && aim.nth == *made + 1);
        if meant && kill(group, Signal::SIGKILL).is_ok() {
            cut.killed = true;
            return true;
        }
        *made += 1;
        false
    }
}

/// The kind of the call that a stopped thread is about to make.
fn call_at(pid: Pid) -> Option<Call> {
    if ptrace::syscall_info(pid).ok()?.op != ENTRY {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let number: c_long = text.split(' ').next()?.trim().parse().ok()?;
    kind(number)
}

fn kind(number: c_long) -> Option<Call> {
    match number {
        libc::SYS_fsync | libc::SYS_fdatasync => Some(Call::Fsync),
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => Some(Call::Rename),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename | libc::SYS_link => Some(Call::Rename),
        libc::SYS_pwrite64 => Some(Call::Pwrite),
        libc::SYS_write | libc::SYS_writev => Some(Call::Write),
        libc::SYS_connect => Some(Call::Connect),
        libc::SYS_sendto | libc::SYS_sendmsg => Some(Call::Send),
        libc::SYS_mkdirat | libc::SYS_mknodat => Some(Call::Make),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir | libc::SYS_mknod => Some(Call::Make),
        libc::SYS_unlinkat => Some(Call::Remove),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink | libc::SYS_rmdir => Some(Call::Remove),
        libc::SYS_clone | libc::SYS_clone3 => Some(Call::Fork),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork | libc::SYS_fork => Some(Call::Fork),
        libc::SYS_kill | libc::SYS_pidfd_send_signal => Some(Call::Kill),
        _ => None,
    }
}
