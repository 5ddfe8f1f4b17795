//! Whether a step takes more memory than it may, and whether the kernel killed for want of it.
//!
//! Invariant: a step is over its limit only if it is so with shared pages counted once. The daemon
//! has no rights over control groups: what it reads there anybody may. Deliberately absent: the job's
//! own limit (the cage's).
use super::proc::Process;
use crate::message::TaskExit;
use rustix::param::page_size;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest pause between two looks at a step that has a limit of its own.
pub(super) const LIMITED_PAUSE: Duration = Duration::from_millis(200);

/// What these processes take together: each its part of the pages that it shares.
pub(super) fn together<'a>(processes: impl Iterator<Item = &'a Process>) -> u64 {
    let page = u64::try_from(page_size()).unwrap_or(4096);
    let of = |process: &Process| {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid));
        // One that lets nobody look is taken as the kernel counts it.
        let shared = text.ok().as_deref().and_then(proportional);
        shared.unwrap_or_else(|| process.rss_pages.saturating_mul(page))
    };
    processes.map(of).fold(0, u64::saturating_add)
}

fn proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The line that a step finds on its errors, as the keeper writes it for a script.
pub(super) fn notice(label: &str, kills: u64) -> String {
    let events = if kills == 1 { "event" } else { "events" };
    format!(
        "slurmstepd: error: Detected {kills} oom_kill {events} in StepId={label}. Some of the step \
         tasks have been OOM Killed."
    )
}

/// Whether a task ended because something of the job was killed for want of memory: it was itself, or
/// says as a shell does that what it ran was. Another step of the job may have been meant.
pub(super) fn is_cause(exit: &TaskExit, kills: u64) -> bool {
    exit.out_of_memory || (kills > 0 && exit.code == 128 + Signal::KILL.as_raw())
}

/// The kernel's count of processes of the job that it killed for want of memory.
#[derive(Debug)]
pub(super) struct Kills {
    file: Option<PathBuf>,
    before: u64,
}

impl Kills {
    /// Counts from now on.
    pub(super) fn watch() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let file = counter(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let mut kills = Self { file, before: 0 };
        kills.before = kills.count();
        kills
    }

    fn count(&self) -> u64 {
        let text = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        text.as_deref().map_or(0, killed)
    }

    /// How many since then.
    pub(super) fn since(&self) -> u64 {
        self.count().saturating_sub(self.before)
    }
}

fn killed(text: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The file with that count, of version 1 where it has the memory controller, else of version 2.
fn counter(mounts: &str, own: &str) -> Option<PathBuf> {
    let has = |list: &str, name: &str| list.split(',').any(|word| word == name);
    let find = |kind: &str, controller: &str, file: &str| {
        let (root, point) = mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, point) = (left.next()?, left.next()?);
            let right: Vec<&str> = right.split(' ').collect();
            let meant = right.first() == Some(&kind)
                && (controller.is_empty() || has(right.get(2)?, controller));
            meant.then_some((root, point))
        })?;
        let path = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (list, path) = rest.split_once(':')?;
            let meant = if controller.is_empty() { list.is_empty() } else { has(list, controller) };
            meant.then_some(path)
        })?;
        // A container may show only a part of the tree.
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below).join(file))
    };
    find("cgroup", "memory", "memory.oom_control").or_else(|| find("cgroup2", "", "memory.events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_count_is_found_in_either_version() {
        let own = "4:memory:/pc/run-7\n0::/pc/run-7\n";
        let v1 = "/sys/fs/cgroup/memory/pc/run-7/memory.oom_control";
        assert_eq!(counter(MOUNTS, own).unwrap(), Path::new(v1));
        let v2 = "/sys/fs/cgroup/unified/pc/run-7/memory.events";
        assert_eq!(counter(MOUNTS, "0::/pc/run-7\n").unwrap(), Path::new(v2));
        let part = "9 8 0:1 /docker/x /cg rw - cgroup2 none rw\n";
        let inside = counter(part, "0::/docker/x/run-1\n").unwrap();
        assert_eq!(inside, Path::new("/cg/run-1/memory.events"));
        assert_eq!(counter("", own), None);
        assert_eq!(counter(part, "0::/elsewhere\n"), None);
    }

    #[test]
    fn counts_and_sizes_are_read() {
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(killed("low 0\noom 4\noom_kill 1\n"), 1);
        assert_eq!(killed(""), 0);
        let rollup =
            "55d0-7ff ---p 0 00:00 0 [rollup]\nRss:  99 kB\nPss:     12 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(proportional(rollup), Some(12 << 10));
        assert!(notice("7.0", 1).contains("Detected 1 oom_kill event in StepId=7.0."));
    }

    #[test]
    fn another_steps_want_of_memory_is_not_this_ones() {
        let exit = |code| TaskExit { code, ..TaskExit::default() };
        assert!(!is_cause(&exit(1), 1) && !is_cause(&exit(0), 1));
        assert!(is_cause(&exit(137), 1) && !is_cause(&exit(137), 0));
        let killed = TaskExit { signal: 9, out_of_memory: true, ..TaskExit::default() };
        assert!(is_cause(&killed, 0));
        assert!(!is_cause(&TaskExit { signal: 15, ..TaskExit::default() }, 1));
    }

    #[test]
    fn shared_pages_count_once() {
        let own = super::super::proc::scan();
        let own: Vec<Process> =
            own.into_iter().filter(|process| process.pid == std::process::id()).collect();
        let taken = together(own.iter());
        assert!(taken > 0 && taken <= own[0].rss_pages * 4096 * 16, "{taken}");
    }
}
