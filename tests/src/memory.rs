//! How much memory processes take, as the kernel counts it.
//!
//! Invariant: what is compared is the most that a process ever had (`VmHWM`), so a short peak between two
//! looks is seen. Deliberately absent: bounds; a test knows why so much is enough.
use crate::procs;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at which processes there are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The most that a living process has had in memory, in bytes.
#[must_use]
pub fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// What one process had at the first look and at the last.
#[derive(Debug, Clone)]
struct Seen {
    first: u64,
    last: u64,
}

/// By its number and its name: a process that becomes another program begins anew.
type AllSeen = BTreeMap<(i32, String), Seen>;

/// Looks at the processes of a folder while something goes on.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<AllSeen>>,
    names: Vec<String>,
}

impl Watch {
    /// Watches the processes of these names that belong to `folder`, those that are started later too.
    #[must_use]
    pub fn start(folder: &Path, names: &[&str]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (folder, wanted, stop) = (folder.to_path_buf(), names.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || look(&folder, &wanted, &stop));
        Self { over, thread: Some(thread), names }
    }

    /// Ends the watch and says how much more each kind of process took than at its first look.
    ///
    /// # Panics
    /// When one took more than so many megabytes more, or one of the names was never seen.
    #[track_caller]
    pub fn check(mut self, most_megabytes: u64) {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a watch ends once");
        let seen = thread.join().expect("the watch does not break off");
        for name in &self.names {
            let of_name = seen.iter().filter(|((_, seen), _)| seen == name);
            let more = of_name.map(|(_, seen)| (seen.last - seen.first) >> 20).max();
            println!("{name}: {more:?} MB more");
            let more = more.unwrap_or_else(|| panic!("there was no {name}: {seen:?}"));
            assert!(more <= most_megabytes, "{name} took {more} MB more: {seen:?}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn look(folder: &Path, names: &[String], over: &AtomicBool) -> AllSeen {
    let mut all = AllSeen::new();
    while !over.load(Ordering::Relaxed) {
        for process in procs::of_folder(folder) {
            let program = process.command.split(' ').next().unwrap_or_default();
            let name = program.rsplit('/').next().unwrap_or_default();
            let Some(bytes) = peak(process.pid).filter(|_| names.iter().any(|one| one == name))
            else {
                continue;
            };
            let new = Seen { first: bytes, last: bytes };
            let seen = all.entry((process.pid, name.to_owned())).or_insert(new);
            seen.last = seen.last.max(bytes);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    all
}
