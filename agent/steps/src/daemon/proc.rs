//! Processes as `/proc` shows them, and which of them belong to which task.
//!
//! Invariant: pure but for [`scan`], [`peak_bytes`] and [`kill`]. A process that vanishes while it is read is not
//! there. Deliberately absent: what is made of the numbers (`usage`).
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::fs;

/// One line of `/proc/PID/stat`, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Process {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// Clock ticks since boot.
    pub started: u64,
    /// It has ended and nobody has waited for it.
    pub ended: bool,
    /// CPU time in clock ticks, that of its waited-for children included.
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub vm_bytes: u64,
    pub rss_pages: u64,
}

/// Reads a line. The second field is the program's name and may hold anything: the rest starts
/// after the last closing bracket.
pub(super) fn parse(pid: u32, text: &[u8]) -> Option<Process> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Ids of another process namespace are 0, and some kernels say -1 for none.
    let id = |at: usize| fields.get(at).map(|text| text.parse().unwrap_or(0));
    let count = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid,
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: id(1)?,
        group: id(2)?,
        session: id(3)?,
        user_ticks: count(11)?.saturating_add(count(13)?),
        system_ticks: count(12)?.saturating_add(count(14)?),
        started: count(19)?,
        vm_bytes: count(20)?,
        rss_pages: count(21).unwrap_or(0),
    })
}

/// Every process that can be seen.
pub(super) fn scan() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Kills a process if it is still the same one.
pub(super) fn kill(process: &Process) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some(fd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
    // The number is held by now: what it says is of the process that is signalled.
    let now = fs::read(format!("/proc/{}/stat", process.pid)).ok();
    let now = now.and_then(|text| parse(process.pid, &text));
    if now.is_some_and(|now| now.started == process.started) {
        let _ = pidfd_send_signal(&fd, Signal::KILL);
    }
}

/// The largest resident size that a process has had since it became its program.
pub(super) fn peak_bytes(pid: u32) -> Option<u64> {
    status_bytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The same of this process.
pub(super) fn own_peak_bytes() -> u64 {
    peak_bytes(std::process::id()).unwrap_or(0)
}

fn status_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// A process by number and start: a number alone may have been given to another one.
type Name = (u32, u64);

/// Who belongs to which of some roots, remembered for those who have left their parents.
#[derive(Debug, Default)]
pub(super) struct Families {
    known: BTreeMap<Name, u32>,
}

impl Families {
    /// The members of each root, ended ones left out. A process belongs to the root above it, or
    /// to the one whose group or session it is in, or where it belonged before.
    pub(super) fn of(&mut self, all: &[Process], roots: &[u32]) -> BTreeMap<u32, Vec<Process>> {
        let by_pid: BTreeMap<u32, &Process> = all.iter().map(|one| (one.pid, one)).collect();
        let mut now = BTreeMap::new();
        let mut found: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
        for process in all {
            let leads = [process.group, process.session].into_iter().find(|id| roots.contains(id));
            let root = above(process, &by_pid, roots)
                .or(leads)
                .or_else(|| self.known.get(&(process.pid, process.started)).copied())
                .filter(|root| roots.contains(root));
            let Some(root) = root else { continue };
            now.insert((process.pid, process.started), root);
            if !process.ended {
                found.entry(root).or_default().push(*process);
            }
        }
        self.known = now;
        found
    }
}

/// The root that a process is, or descends from.
fn above(process: &Process, all: &BTreeMap<u32, &Process>, roots: &[u32]) -> Option<u32> {
    let mut at = process.pid;
    // Numbers may be given anew while the list is read; a circle must not hang us.
    for _ in 0..all.len() {
        if roots.contains(&at) {
            return Some(at);
        }
        at = all.get(&at)?.parent;
    }
    None
}

/// Those below a process but for a branch: what a keeper holds beside its step daemon.
pub(super) fn beside(all: &[Process], above_all: u32, without: u32) -> Vec<Process> {
    let by_pid: BTreeMap<u32, &Process> = all.iter().map(|one| (one.pid, one)).collect();
    let is_meant = |process: &&Process| {
        above(process, &by_pid, &[above_all, without]) == Some(above_all)
            && process.pid != above_all
            && !process.ended
    };
    all.iter().filter(is_meant).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, group: u32) -> Process {
        Process { pid, parent, group, session: group, started: pid.into(), ..Process::default() }
    }

    fn pids(of: Option<&Vec<Process>>) -> Vec<u32> {
        of.into_iter().flatten().map(|process| process.pid).collect()
    }

    #[test]
    fn a_line_is_read_whatever_its_name_holds() {
        let line = b"7 (a) R (b) S 3 7 5 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 999 4096 25 1 2";
        let seen = parse(7, line).unwrap();
        assert_eq!((seen.parent, seen.group, seen.session), (3, 7, 5));
        assert_eq!((seen.user_ticks, seen.system_ticks), (40, 60));
        assert_eq!((seen.started, seen.vm_bytes, seen.rss_pages), (999, 4096, 25));
        assert!(!seen.ended && parse(7, b"7 (cut) S 3").is_none());
        assert_eq!(status_bytes("VmPeak:\t 9 kB\nVmHWM:\t    1760 kB\n"), Some(1760 << 10));
        assert_eq!(status_bytes("Name:\tzombie\n"), None);
    }

    #[test]
    fn this_process_is_seen_with_its_peak() {
        let own = std::process::id();
        let seen = scan().into_iter().find(|process| process.pid == own).unwrap();
        assert!(seen.rss_pages > 0 && own_peak_bytes() >= seen.rss_pages * 4096 / 2);
    }

    #[test]
    fn who_leaves_its_parents_still_belongs_to_them() {
        let mut families = Families::default();
        let mut all = vec![
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            process(12, 11, 12),
            process(20, 1, 20),
            process(30, 1, 30),
        ];
        let found = families.of(&all, &[10, 20]);
        assert_eq!(pids(found.get(&10)), [10, 11, 12]);
        assert_eq!(pids(found.get(&20)), [20]);
        // 11 has ended; its child in a group of its own is an orphan now.
        all.retain(|process| process.pid != 11);
        all[2].parent = 1;
        assert_eq!(pids(families.of(&all, &[10, 20]).get(&10)), [10, 12]);
        // Its number was given away.
        all[2].started += 1;
        assert_eq!(pids(families.of(&all, &[10, 20]).get(&10)), [10]);
        // An orphan of the task's group, never seen before.
        all[2].group = 10;
        assert_eq!(pids(families.of(&all, &[10, 20]).get(&10)), [10, 12]);
        assert!(pids(families.of(&all, &[40]).get(&10)).is_empty());
    }

    #[test]
    fn beside_the_daemon_is_the_script() {
        let all = [
            process(5, 1, 5),
            process(6, 5, 6),
            process(7, 6, 6),
            process(8, 5, 8),
            process(9, 8, 9),
        ];
        assert_eq!(pids(Some(&beside(&all, 5, 8))), [6, 7]);
        let only_steps: Vec<Process> = all.into_iter().filter(|one| one.pid != 6).collect();
        assert!(beside(&only_steps[..1], 5, 8).is_empty());
        assert_eq!(pids(Some(&beside(&only_steps, 5, 8))), Vec::<u32>::new());
    }

    #[test]
    fn circles_end() {
        let all = [process(3, 4, 3), process(4, 3, 4)];
        assert!(Families::default().of(&all, &[9]).is_empty());
    }
}
