//! Processes that belong to a folder: found by what `/proc` shows of them, ended by their id.
use crate::until;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    pub pid: i32,
    /// Its command line, for people.
    pub command: String,
}

/// Living processes whose command line or environment names `folder`, this one left out.
#[must_use]
pub fn of_folder(folder: &Path) -> Vec<Proc> {
    let mut needle = folder.as_os_str().as_encoded_bytes().to_vec();
    needle.dedup_by(|a, b| *a == b'/' && *b == b'/');
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| u32::try_from(*pid) != Ok(own))
        .filter_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let named = holds(&command, &needle) || holds(&environment, &needle);
            let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
            (named && is_alive(pid)).then_some(Proc { pid, command })
        })
        .collect()
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    // `/tmp/x-1` must not be found in `/tmp/x-10`.
    let ends = |rest: &[u8]| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric());
    text.windows(needle.len())
        .enumerate()
        .any(|(at, part)| part == needle && ends(&text[at + needle.len()..]))
}

/// Whether the process is there and not a zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X' | 'x'))
}

/// The living process of a record that names it by its number and its start, in clock ticks since
/// boot: a number alone may be another's by now.
#[must_use]
pub fn recorded(record: &serde_json::Value, pid: &str, start: &str) -> Option<i32> {
    let number = i32::try_from(record[pid].as_i64()?).ok()?;
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse::<u64>().ok()?;
    (record[start].as_u64() == Some(ticks) && is_alive(number)).then_some(number)
}

/// Sends a signal to one process.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id is not 0");
    kill_process(pid, signal).expect("the process is there");
}

/// Sends a signal to one process that may be gone; whether it was there.
#[must_use]
pub fn try_signal(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Sends a signal that ends the process, and waits until it is gone; whether it was there.
///
/// # Panics
/// When it stays.
pub fn end(pid: i32, signal: Signal) -> bool {
    let there = try_signal(pid, signal);
    if there {
        until(&format!("the end of process {pid}"), || (!is_alive(pid)).then_some(()));
    }
    there
}

/// Ends every process of the folder; gives what would not go.
#[must_use]
pub fn end_all(folder: &Path, patience: Duration) -> Vec<Proc> {
    let end = Instant::now() + patience;
    loop {
        let found = of_folder(folder);
        if found.is_empty() || Instant::now() > end {
            return found;
        }
        for process in &found {
            let Some(pid) = Pid::from_raw(process.pid) else { continue };
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // Looked at again behind the handle: the number cannot come to mean another process.
            if of_folder(folder).contains(process) {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a cluster keeps outside its folders: scratch directories and control groups with its id.
#[must_use]
pub fn traces_of(cluster_id: &str) -> Vec<PathBuf> {
    let mark = format!("pcluster-{cluster_id}-");
    let mut folders: Vec<PathBuf> =
        ["/var/tmp", "/tmp", "/sys/fs/cgroup"].map(PathBuf::from).into();
    folders.extend(folders_in(Path::new("/sys/fs/cgroup")));
    // An unprivileged head works in its own control group.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(list), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        for mount in [list.trim_start_matches("name="), "unified", ""] {
            folders.push(Path::new("/sys/fs/cgroup").join(mount).join(path));
        }
    }
    folders.sort();
    folders.dedup();
    let mut found: Vec<PathBuf> = folders.iter().flat_map(|folder| folders_in(folder)).collect();
    found.retain(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&mark))
    });
    found.sort();
    found.dedup();
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// Removes a trace: a control group with its children, or an ordinary folder.
pub fn remove_trace(path: &Path) {
    if path.starts_with("/sys/fs/cgroup") {
        for child in folders_in(path) {
            remove_trace(&child);
        }
        let _ = fs::remove_dir(path);
    } else {
        let _ = fs::remove_dir_all(path);
    }
}
