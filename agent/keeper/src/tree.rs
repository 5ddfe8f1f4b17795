//! All processes of a run: those of its cgroup and all descendants of the keeper, who is their subreaper. And, for the
//! agent, what a lost keeper left of them.
//!
//! Invariant: leaving the session, double forks and `nohup` do not leave this set. A process is signalled through a
//! descriptor that was checked against its start time, so that a reused number hits nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, WaitOptions, getpid, pidfd_send_signal, wait};

use crate::{END_ALL_WITHIN_MS, StartRecord, Target, adopt::open_process, proc};

/// Rounds of stopping before killing: a fork bomb is frozen first, else it refills the room that each kill makes.
const STOP_ROUNDS: usize = 20;

/// Writes a control file that must exist: a directory that is no cgroup must fail, not gain a file.
///
/// # Errors
/// Those of opening and writing.
pub fn write_control(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// The living processes of the run, by number.
fn members(cgroup: &[PathBuf]) -> BTreeMap<i32, proc::Stat> {
    let own = getpid().as_raw_nonzero().get();
    let in_cgroup = cgroup
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .filter_map(proc::stat);
    proc::descendants(own)
        .into_iter()
        .chain(in_cgroup)
        .filter(|process| process.is_live() && process.pid != own)
        .map(|process| (process.pid, process))
        .collect()
}

/// The processes of the calling keeper's run that are more than members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// The main process.
    pub main: i32,
    /// The step daemon, which may be the main process.
    pub daemon: Option<i32>,
}

/// The processes that are meant, by number.
fn meant(cgroup: &[PathBuf], roles: Roles, target: Target) -> BTreeMap<i32, proc::Stat> {
    let of_steps: BTreeSet<i32> = match (target, roles.daemon) {
        (Target::Steps, Some(daemon)) => proc::descendants(daemon).iter().map(|p| p.pid).collect(),
        _ => BTreeSet::new(),
    };
    let mut found = members(cgroup);
    found.retain(|pid, _| match target {
        Target::All => Some(*pid) != roles.daemon,
        Target::Batch => *pid == roles.main && Some(*pid) != roles.daemon,
        Target::Children => *pid != roles.main && Some(*pid) != roles.daemon,
        Target::Steps => of_steps.contains(pid),
    });
    found
}

/// Sends a signal to those processes of the calling keeper's run that are meant. One that stops is sent until nobody
/// new is there: a process that was just started is not forgotten.
pub fn signal(cgroup: &[PathBuf], roles: Roles, target: Target, signal: Signal) {
    let mut told = BTreeSet::new();
    let rounds = if signal == Signal::STOP { STOP_ROUNDS } else { 1 };
    for _ in 0..rounds {
        let mut processes = meant(cgroup, roles, target);
        processes.retain(|pid, _| told.insert(*pid));
        if processes.is_empty() {
            return;
        }
        processes.values().for_each(|process| send(process, signal));
    }
}

/// Stops all processes of these directories at once, or lets them go on; false where no directory can do that.
fn freeze(cgroup: &[PathBuf], frozen: bool) -> bool {
    let (v2, v1) = if frozen { ("1", "FROZEN") } else { ("0", "THAWED") };
    let freezes = |dir: &&PathBuf| {
        write_control(&dir.join("cgroup.freeze"), v2).is_ok()
            || write_control(&dir.join("freezer.state"), v1).is_ok()
    };
    cgroup.iter().filter(freezes).count() > 0
}

/// Stops the run: by its cgroup, from which no signal of its user wakes it, else by STOP. A step daemon in the same
/// cgroup must go on answering, so a run that has one is stopped process by process.
pub fn stand_still(cgroup: &[PathBuf], roles: Roles) {
    if roles.daemon.is_some() || !freeze(cgroup, true) {
        signal(cgroup, roles, Target::All, Signal::STOP);
    }
}

/// Lets the run go on, however it was stopped.
pub fn go_on(cgroup: &[PathBuf], roles: Roles) {
    let _ = freeze(cgroup, false);
    signal(cgroup, roles, Target::All, Signal::CONT);
}

/// Asks everybody to end. A step daemon beside the main process is told last, when there is nobody left to tell of.
pub fn terminate(cgroup: &[PathBuf], roles: Roles) {
    // What is frozen could not even die.
    let _ = freeze(cgroup, false);
    for process in members(cgroup).values() {
        if Some(process.pid) != roles.daemon || process.pid == roles.main {
            send(process, Signal::TERM);
            // What is stopped could not answer.
            send(process, Signal::CONT);
        }
    }
}

/// Sends a signal to a process if it is still the same. It may have ended by itself meanwhile: that is what was wanted,
/// or too late to matter.
pub fn send(process: &proc::Stat, signal: Signal) {
    if let Some(pidfd) = open_process(process.pid, process.start_ticks) {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// Kills every process of the calling keeper's run once. Returns how many there were.
#[must_use]
pub fn kill(cgroup: &[PathBuf]) -> usize {
    let whole = |dir: &&PathBuf| write_control(&dir.join("cgroup.kill"), "1").is_ok();
    let by_kernel = !cgroup.is_empty() && cgroup.iter().filter(whole).count() > 0;
    let mut known = members(cgroup);
    let rounds = if by_kernel { 0 } else { STOP_ROUNDS };
    for _ in 0..rounds {
        known.values().for_each(|process| send(process, Signal::STOP));
        let now = members(cgroup);
        let settled = now.keys().all(|pid| known.contains_key(pid));
        known = now;
        if settled {
            break;
        }
    }
    known.values().for_each(|process| send(process, Signal::KILL));
    known.len()
}

/// Kills until nobody is left or the time is over; reaps on the way. Returns how many are still there.
#[must_use]
pub fn end_all(cgroup: &[PathBuf]) -> u32 {
    let _ = freeze(cgroup, false);
    let deadline = Instant::now() + Duration::from_millis(END_ALL_WITHIN_MS);
    let mut pause = Duration::from_millis(1);
    loop {
        let left = kill(cgroup);
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if left == 0 || Instant::now() >= deadline {
            return u32::try_from(left).unwrap_or(u32::MAX);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// What the cgroup knows at the end: memory peak in bytes, and how many processes the kernel killed for memory.
#[must_use]
pub fn memory_facts(cgroup: &[PathBuf]) -> (Option<u64>, u64) {
    let number = |dir: &Path, file: &str| {
        fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok()
    };
    let peak = cgroup
        .iter()
        .filter_map(|dir| {
            number(dir, "memory.peak").or_else(|| number(dir, "memory.max_usage_in_bytes"))
        })
        .max();
    let kills = cgroup
        .iter()
        .flat_map(|dir| [dir.join("memory.events"), dir.join("memory.oom_control")])
        .filter_map(|file| fs::read_to_string(file).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        })
        .max();
    (peak, kills.unwrap_or(0))
}

/// Kills every process of the given cgroup directories: at once where `cgroup.kill` exists, else one by one. Returns
/// the number of processes found; call it until it returns 0.
#[must_use]
pub fn kill_cgroup(dirs: &[PathBuf]) -> usize {
    let _ = freeze(dirs, false);
    let mut found = 0;
    for dir in dirs {
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found += members.lines().count();
        if write_control(&dir.join("cgroup.kill"), "1").is_ok() {
            continue;
        }
        for process in members.lines().filter_map(|line| proc::stat(line.parse().ok()?)) {
            send(&process, Signal::KILL);
        }
    }
    found
}

/// Kills what a lost keeper left and no cgroup holds: the session of the job's main process, and processes whose
/// environment names the run's private directory. A process that left both cannot be told from others. Returns the
/// number of processes found; call it until it returns 0. After another boot there is nothing to do.
#[must_use]
pub fn kill_leftovers(start: &StartRecord) -> usize {
    if !proc::boot_id().is_ok_and(|boot| boot == start.boot_id) {
        return 0;
    }
    let marker =
        start.private_dir.as_ref().map(|dir| format!("TMPDIR={}/", dir.display()).into_bytes());
    let leader = start.child_pid.and_then(proc::stat).map(|stat| stat.start_ticks);
    // A living leader with another start time means that the number was given away: the session is somebody else's.
    let session = start.child_pid.filter(|_| leader.is_none() || leader == start.child_start_ticks);
    let mut found = 0;
    for process in proc::all().into_iter().filter(proc::Stat::is_live) {
        let ours = fs::metadata(format!("/proc/{}", process.pid))
            .is_ok_and(|meta| meta.uid() == start.uid);
        let in_session = session == Some(process.session)
            && Some(process.start_ticks) >= start.child_start_ticks;
        let environment = || fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        let marked = |marker: &Vec<u8>| {
            environment().split(|byte| *byte == 0).any(|entry| entry.starts_with(marker))
        };
        if ours && (in_session || marker.as_ref().is_some_and(marked)) {
            send(&process, Signal::KILL);
            found += 1;
        }
    }
    found
}
