//! What the tasks of a step use: looked at while they run, and settled when they have ended.
//!
//! Invariant: nothing is told that was not measured. A task starts as the daemon's own program, and
//! the kernel's account of a process ([`Spent`]) keeps the largest size of every program that it has
//! been: it is believed only above what the launcher took, which the launcher itself has written
//! down ([`Launcher`]). Below that, the looks count. Deliberately absent: reading anything
//! (`proc`), and when to look (`step`).
use super::memory::LIMITED_PAUSE;
use super::proc::Process;
use crate::message::{Most, PartUsage};
use pcluster_api::{StepPartEnd, TasksUsage};
use rustix::param::{clock_ticks_per_second, page_size};
use std::io::Read;
use std::time::Duration;

/// The kernel counts memory in bulk, and the launcher takes some more after its last look at itself.
const LAUNCHER_SLACK: u64 = 1 << 20;
/// First look after the start, and the pause between two looks, which doubles up to the longest.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pause after a pause; shorter where there is a limit to watch.
pub(super) fn next_pause(pause: Duration, limited: bool) -> Duration {
    (pause * 2).min(if limited { LIMITED_PAUSE } else { LONGEST_PAUSE })
}

/// What a task's process had taken before it became the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Launcher {
    pub peak_bytes: u64,
    pub cpu_ms: u64,
}

impl Launcher {
    /// As the launcher writes it.
    pub(super) fn line(self) -> String {
        format!("{} {}\n", self.peak_bytes, self.cpu_ms)
    }

    fn parse(text: &str) -> Option<Self> {
        let (peak, cpu) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { peak_bytes: peak.parse().ok()?, cpu_ms: cpu.parse().ok()? })
    }
}

/// The way on which the launcher tells: a pipe whose other end closes when the program begins.
#[derive(Debug)]
pub(super) struct Report<R> {
    from: Option<R>,
    text: Vec<u8>,
    launcher: Option<Launcher>,
}

impl<R: Read> Report<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from: Some(from), text: Vec::new(), launcher: None }
    }

    /// What the launcher took, once the task is its program; `None` before that, and for ever when
    /// it could not tell.
    pub(super) fn launcher(&mut self) -> Option<Launcher> {
        let mut bytes = [0; 64];
        while let Some(from) = &mut self.from {
            match from.read(&mut bytes) {
                // Nobody has written yet: the launcher has not opened its end.
                Ok(0) if self.text.is_empty() => break,
                Ok(0) => {
                    self.launcher = std::str::from_utf8(&self.text).ok().and_then(Launcher::parse);
                    self.from = None;
                }
                Ok(count) if self.text.len() < bytes.len() => {
                    self.text.extend_from_slice(&bytes[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => self.from = None,
            }
        }
        self.launcher
    }
}

/// What the kernel says of a process that has ended, with the children that it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spent {
    pub user_ms: u64,
    pub system_ms: u64,
    pub peak_bytes: u64,
}

/// What one task uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TaskUsage {
    pub user_ms: u64,
    pub system_ms: u64,
    /// Of all its processes, when last seen.
    pub rss_bytes: u64,
    pub vm_bytes: u64,
    /// At most: of all its processes at once, or of one of them ever.
    pub max_rss_bytes: u64,
    pub max_vm_bytes: u64,
    pub pids: Vec<u32>,
}

fn ticks_ms(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / clock_ticks_per_second().max(1)
}

fn pages_bytes(pages: u64) -> u64 {
    pages.saturating_mul(u64::try_from(page_size()).unwrap_or(4096))
}

/// What these processes have in memory, shared pages counted for each of them.
pub(super) fn resident<'a>(processes: impl Iterator<Item = &'a Process>) -> u64 {
    pages_bytes(processes.map(|process| process.rss_pages).sum())
}

impl TaskUsage {
    /// Takes in a look at the task's processes; `peak` is the largest that one of them has been.
    pub(super) fn look(&mut self, processes: &[Process], peak: u64, launcher: Launcher) {
        let sum = |of: fn(&Process) -> u64| processes.iter().map(of).sum::<u64>();
        self.rss_bytes = pages_bytes(sum(|process| process.rss_pages));
        self.vm_bytes = sum(|process| process.vm_bytes);
        self.max_rss_bytes = self.max_rss_bytes.max(self.rss_bytes).max(peak);
        self.max_vm_bytes = self.max_vm_bytes.max(self.vm_bytes);
        let user = ticks_ms(sum(|process| process.user_ticks));
        let system = ticks_ms(sum(|process| process.system_ticks));
        self.spend(without(user, system, launcher));
        self.pids = processes.iter().map(|process| process.pid).collect();
    }

    /// Takes in the kernel's account after the end.
    pub(super) fn settle(&mut self, spent: Spent, launcher: Option<Launcher>, daemon_peak: u64) {
        let known = launcher.unwrap_or_default();
        self.spend(without(spent.user_ms, spent.system_ms, known));
        // It is also a copy of the daemon for a moment.
        let before = known.peak_bytes.max(daemon_peak) + LAUNCHER_SLACK;
        if spent.peak_bytes > before {
            self.max_rss_bytes = self.max_rss_bytes.max(spent.peak_bytes);
        }
        (self.rss_bytes, self.vm_bytes) = (0, 0);
        self.pids.clear();
    }

    /// CPU time never becomes less: what was seen of a process that nobody has waited for stays.
    fn spend(&mut self, (user, system): (u64, u64)) {
        if user + system > self.user_ms + self.system_ms {
            (self.user_ms, self.system_ms) = (user, system);
        }
    }
}

/// CPU time without the launcher's, most of which is in user mode.
fn without(user: u64, system: u64, launcher: Launcher) -> (u64, u64) {
    let rest = launcher.cpu_ms.saturating_sub(user);
    (user.saturating_sub(launcher.cpu_ms), system.saturating_sub(rest))
}

/// All tasks of a part together, by their numbers; `now` while they run: sums of what they have
/// then, else of the most that each had.
pub(super) fn together<'a>(
    tasks: impl Iterator<Item = (u32, &'a TaskUsage)>,
    now: bool,
) -> PartUsage {
    let mut all = PartUsage::default();
    for (number, task) in tasks {
        let cpu_ms = task.user_ms + task.system_ms;
        if all.tasks == 0 || cpu_ms < all.min_cpu_ms.amount {
            all.min_cpu_ms = Most { amount: cpu_ms, task: number };
        }
        all.max_rss_bytes.raise(task.max_rss_bytes, number, all.tasks == 0);
        all.max_vm_bytes.raise(task.max_vm_bytes, number, all.tasks == 0);
        all.tasks += 1;
        all.user_cpu_ms += task.user_ms;
        all.system_cpu_ms += task.system_ms;
        all.rss_bytes += if now { task.rss_bytes } else { task.max_rss_bytes };
        all.vm_bytes += if now { task.vm_bytes } else { task.max_vm_bytes };
        all.pids.extend(&task.pids);
    }
    all
}

/// As the head is told of it when all have ended.
pub(super) fn put(end: &mut StepPartEnd, used: &PartUsage) {
    end.user_cpu_ms = used.user_cpu_ms;
    end.system_cpu_ms = used.system_cpu_ms;
    end.max_rss_bytes = used.max_rss_bytes.amount;
    end.tasks = Some(TasksUsage {
        max_rss_task: used.max_rss_bytes.task,
        rss_bytes: used.rss_bytes,
        vm_bytes: used.vm_bytes,
        max_vm_bytes: used.max_vm_bytes.amount,
        max_vm_task: used.max_vm_bytes.task,
        min_cpu_ms: used.min_cpu_ms.amount,
        min_cpu_task: used.min_cpu_ms.task,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const MIB: u64 = 1 << 20;

    /// A pipe that gives these one after the other, then would block.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let piece = self.0.remove(0);
            into[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn the_launcher_is_over_when_its_end_of_the_pipe_closes() {
        let mut report = Report::new(Pieces(vec![b""]));
        assert_eq!(report.launcher(), None, "nobody has opened the other end yet");
        report.from = Some(Pieces(vec![b"4096 ", b"7\n"]));
        assert_eq!(report.launcher(), None, "it has told, and is still the launcher");
        report.from = Some(Pieces(vec![b""]));
        let told = Some(Launcher { peak_bytes: 4096, cpu_ms: 7 });
        assert_eq!(report.launcher(), told);
        assert_eq!(report.launcher(), told, "for ever");
        let line = Launcher { peak_bytes: 1, cpu_ms: 2 }.line();
        assert_eq!(Launcher::parse(&line), Some(Launcher { peak_bytes: 1, cpu_ms: 2 }));
        assert_eq!(Report::new(Pieces(vec![b"rubbish", b""])).launcher(), None);
    }

    #[test]
    fn the_kernels_peak_counts_only_above_the_launchers() {
        let known = Launcher { peak_bytes: 9 * MIB, cpu_ms: 5 };
        let launcher = Some(known);
        let seen = [Process { rss_pages: 512, ..Process::default() }];
        let mut task = TaskUsage::default();
        task.look(&seen, MIB, known);
        let spent = |peak_bytes| Spent { user_ms: 30, system_ms: 10, peak_bytes };
        let mut small = task.clone();
        small.settle(spent(9 * MIB + MIB / 2), launcher, 3 * MIB);
        assert_eq!(small.max_rss_bytes, pages_bytes(512));
        assert_eq!((small.user_ms, small.system_ms), (25, 10));
        let mut large = task.clone();
        large.settle(spent(50 * MIB), launcher, 3 * MIB);
        assert_eq!(large.max_rss_bytes, 50 * MIB);
        let mut beside = task.clone();
        beside.settle(spent(50 * MIB), launcher, 60 * MIB);
        assert_eq!(
            beside.max_rss_bytes,
            pages_bytes(512),
            "the daemon's own size is not the task's"
        );
    }

    #[test]
    fn a_look_counts_all_processes_of_a_task_at_once_and_peaks_stay() {
        let one = Process { rss_pages: 100, vm_bytes: 10, user_ticks: 3, ..Process::default() };
        let mut task = TaskUsage::default();
        task.look(&[one, Process { pid: 2, ..one }], 0, Launcher::default());
        assert_eq!((task.rss_bytes, task.vm_bytes), (pages_bytes(200), 20));
        assert_eq!(task.pids, [0, 2]);
        let cpu = task.user_ms;
        task.look(&[one], 7, Launcher::default());
        assert_eq!((task.rss_bytes, task.max_rss_bytes), (pages_bytes(100), pages_bytes(200)));
        assert_eq!(task.user_ms, cpu, "time that was spent stays spent");
        task.look(&[one], pages_bytes(500), Launcher::default());
        assert_eq!(task.max_rss_bytes, pages_bytes(500));
    }

    #[test]
    fn the_tasks_of_a_part_are_put_together() {
        let task = |rss: u64, cpu: u64| TaskUsage {
            user_ms: cpu,
            rss_bytes: rss,
            max_rss_bytes: 2 * rss,
            ..TaskUsage::default()
        };
        let (a, b) = (task(5, 40), task(9, 10));
        let all = together([(4, &a), (7, &b)].into_iter(), true);
        assert_eq!((all.tasks, all.user_cpu_ms, all.rss_bytes), (2, 50, 14));
        assert_eq!(all.max_rss_bytes, Most { amount: 18, task: 7 });
        assert_eq!(all.min_cpu_ms, Most { amount: 10, task: 7 });
        assert_eq!(together([(4, &a)].into_iter(), false).rss_bytes, 10);
        assert_eq!(together([(3, &TaskUsage::default())].into_iter(), true).max_rss_bytes.task, 3);
    }

    #[test]
    fn looks_become_rare() {
        let mut pauses = vec![FIRST_LOOK];
        while pauses.last() != Some(&LONGEST_PAUSE) {
            pauses.push(next_pause(pauses[pauses.len() - 1], false));
        }
        assert!(pauses.len() < 10 && next_pause(LONGEST_PAUSE, false) == LONGEST_PAUSE);
        assert_eq!(next_pause(LONGEST_PAUSE, true), LIMITED_PAUSE);
    }
}
