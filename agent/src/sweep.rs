//! Ends everything of a node: agent, keepers, jobs, and what those left behind.
//!
//! Invariant: success means that no process of the node that can be told from others is alive, and
//! that its cgroups and its scratch are gone. It may be called at any time, by anybody, again.
use crate::cage;
use crate::node_dir::{NodeDir, ProcessRecord};
use crate::terminals;
use anyhow::{Result, bail};
use pcluster_keeper::{RunDir, StartRecord, kill_cgroup, kill_leftovers, proc, remove_tree};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A node that is not empty by then has processes stuck in the kernel.
const WITHIN: Duration = Duration::from_secs(10);
/// Rounds of stopping before killing: a fork bomb refills the room that each kill makes.
const STOP_ROUNDS: usize = 20;

/// `pcluster-agent sweep DIR`.
pub fn run(dir: &NodeDir) -> Result<ExitCode> {
    sweep(dir)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends and removes all; called by the machine itself, it spares its own process.
pub fn sweep(dir: &NodeDir) -> Result<()> {
    let until = Instant::now() + WITHIN;
    let mut pause = Duration::from_millis(1);
    let mut clean_rounds = 0;
    // Twice empty: a process between two parents was perhaps overlooked once.
    while clean_rounds < 2 {
        let found = kill_once(dir);
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        clean_rounds = if found == 0 { clean_rounds + 1 } else { 0 };
        if found > 0 {
            if Instant::now() >= until {
                bail!("{found} processes of {} do not end", dir.path().display());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
    for cgroup in cage::known_dirs(dir) {
        cage::remove_all(&cgroup);
    }
    let outside = ["scratch.json", "client.json"].map(|file| dir.read::<PathBuf>(file));
    let [scratch, client] = outside;
    for path in [scratch?, client?, Some(dir.file("tmp"))].into_iter().flatten() {
        remove_tree(&path)?;
    }
    // Token, key, and what users wrote: an ended node keeps its times and its console.
    for folder in ["runs", "blobs"] {
        remove_tree(&dir.file(folder))?;
    }
    for file in ["join.json", "key.der", "certificate.der", "memory.json"] {
        match std::fs::remove_file(dir.file(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// One round; how many living processes there were.
fn kill_once(dir: &NodeDir) -> usize {
    let starts: Vec<StartRecord> =
        runs(dir).filter_map(|run| run.read_start().ok().flatten()).collect();
    let cgroups: Vec<PathBuf> =
        cage::known_dirs(dir).iter().flat_map(|dir| cage::with_children(dir)).collect();
    let mut known = members(dir, &starts, &cgroups);
    for _ in 0..STOP_ROUNDS {
        known.values().for_each(|process| send(process, Signal::STOP));
        let now = members(dir, &starts, &cgroups);
        let settled = now.keys().all(|pid| known.contains_key(pid));
        known = now;
        if settled {
            break;
        }
    }
    known.values().for_each(|process| send(process, Signal::KILL));
    let elsewhere: usize = starts.iter().map(kill_leftovers).sum();
    known.len().max(elsewhere).max(kill_cgroup(&cgroups))
}

fn runs(dir: &NodeDir) -> impl Iterator<Item = RunDir> + '_ {
    dir.runs().into_iter().map(|run| dir.run(run))
}

/// Machine, agent, keepers and jobs, as far as they live, with all that came from them.
fn members(
    dir: &NodeDir,
    starts: &[StartRecord],
    cgroups: &[PathBuf],
) -> BTreeMap<i32, proc::Stat> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let recorded = ["machine.json", "agent.json", terminals::RECORD]
        .into_iter()
        .filter_map(|name| dir.read::<ProcessRecord>(name).ok().flatten());
    let keepers = starts.iter().map(|start| ProcessRecord {
        pid: start.keeper_pid,
        start_ticks: start.keeper_start_ticks,
        boot_id: start.boot_id.clone(),
    });
    let jobs = starts.iter().filter_map(|start| {
        let (pid, start_ticks) = (start.child_pid?, start.child_start_ticks?);
        Some(ProcessRecord { pid, start_ticks, boot_id: start.boot_id.clone() })
    });
    let roots = recorded.chain(keepers).chain(jobs).filter(ProcessRecord::is_alive);
    let caged = cgroups
        .iter()
        .filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>());
    let mut found = BTreeMap::new();
    for pid in roots.map(|root| root.pid).chain(caged).chain(just_started(dir)) {
        found.extend(proc::stat(pid).map(|stat| (pid, stat)));
        found.extend(proc::descendants(pid).into_iter().map(|stat| (stat.pid, stat)));
    }
    found.retain(|pid, stat| *pid != own && stat.is_live());
    found
}

/// Machine, agent and keepers by their command lines: between its start and its record a process is
/// known by nothing else. Only our own user's: others may call themselves what they like.
fn just_started(dir: &NodeDir) -> Vec<i32> {
    let own = rustix::process::geteuid().as_raw();
    let of_node = |pid: i32| {
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let mut words = line.split(|byte| *byte == 0).skip(1);
        let verb = words.next().is_some_and(|verb| [b"machine".as_slice(), b"run"].contains(&verb));
        let path = words.next().map(|path| Path::new(OsStr::from_bytes(path)));
        verb && path.is_some_and(|path| path.starts_with(dir.path()))
    };
    let ours =
        |pid: i32| std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == own);
    proc::all().iter().map(|stat| stat.pid).filter(|pid| of_node(*pid) && ours(*pid)).collect()
}

fn send(process: &proc::Stat, signal: Signal) {
    let handle =
        Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // Looked at after opening, so that a number given away meanwhile hits nobody.
    let same = proc::stat(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks);
    if let Some(handle) = handle.filter(|_| same) {
        let _ = pidfd_send_signal(&handle, signal);
    }
}
