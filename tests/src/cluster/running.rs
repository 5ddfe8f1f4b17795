//! What runs of a cluster: its head, the processes of its nodes, and who is connected.
//!
//! Invariant: a process is found by the record that names it, or by the cluster's folder.
use super::{Cluster, read_lossy};
use crate::procs::{self, Proc};
use crate::until;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

impl Cluster {
    /// The head's process, from its lock file.
    ///
    /// # Panics
    /// When no head was ever started.
    #[must_use]
    pub fn head_pid(&self) -> i32 {
        self.try_head_pid().expect("the lock file names a process")
    }

    /// The same, when a head was ever started.
    #[must_use]
    pub fn try_head_pid(&self) -> Option<i32> {
        read_lossy(&self.state().join("head.lock")).trim().parse().ok()
    }

    /// The socket where the head answers commands.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let run = if self.setup.system_socket {
            PathBuf::from("/run/pcluster")
        } else {
            self.root.join("run")
        };
        run.join(&self.name).join("head.sock")
    }

    /// Clients that hold a connection to the head's socket now, as the kernel lists them.
    #[must_use]
    pub fn connected_clients(&self) -> usize {
        let socket = format!("{}/head.sock", self.name());
        let root = self.root.to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        // Column 6 is the state: 03 is connected.
        table
            .lines()
            .filter(|line| line.contains(&root) && line.ends_with(&socket))
            .filter(|line| line.split_whitespace().nth(5) == Some("03"))
            .count()
    }

    /// `kill -9` of the head; comes back when it is gone.
    ///
    /// # Panics
    /// As [`Cluster::end_head`].
    #[track_caller]
    pub fn kill_head(&self) {
        self.end_head(Signal::KILL);
    }

    /// Ends the head with a signal; comes back when it is gone.
    ///
    /// # Panics
    /// When there is none, or it stays.
    #[track_caller]
    pub fn end_head(&self, signal: Signal) {
        let pid = self.head_pid();
        assert!(procs::end(pid, signal), "the head, process {pid}, is gone already");
    }

    /// A process that a file of a node's directory names: `machine.json` or `agent.json`, of the
    /// only node, or of the last.
    #[must_use]
    pub fn node_process(&self, file: &str) -> i32 {
        until(file, || self.node_processes(file).last().copied())
    }

    /// Living processes that this file of the nodes' directories names.
    #[must_use]
    pub fn node_processes(&self, file: &str) -> Vec<i32> {
        let nodes = fs::read_dir(self.state().join("nodes")).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = nodes.map(|entry| entry.path()).collect();
        folders.sort();
        let pid = |folder: &PathBuf| {
            let record: Value = serde_json::from_slice(&fs::read(folder.join(file)).ok()?).ok()?;
            procs::recorded(&record, "pid", "start_ticks")
        };
        folders.iter().filter_map(pid).collect()
    }

    /// Keepers that live, as the records of their runs name them.
    #[must_use]
    pub fn keepers(&self) -> Vec<i32> {
        let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        let nodes = below(self.state().join("nodes"));
        let runs = nodes.flat_map(|node| below(node.path().join("runs")));
        let pid = |run: fs::DirEntry| {
            let text = fs::read(run.path().join("start.json")).ok()?;
            let record: Value = serde_json::from_slice(&text).ok()?;
            procs::recorded(&record, "keeper_pid", "keeper_start_ticks")
        };
        runs.filter_map(pid).collect()
    }

    /// How many heads run.
    #[must_use]
    pub fn heads(&self) -> usize {
        let all = self.processes();
        all.iter().filter(|one| one.command.contains("pcluster-headnode")).count()
    }

    /// Step daemons that live.
    #[must_use]
    pub fn step_daemons(&self) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter(|one| one.command.starts_with("pcluster-stepd")).map(|one| one.pid).collect()
    }

    /// Processes that are left of this cluster.
    #[must_use]
    pub fn processes(&self) -> Vec<Proc> {
        procs::of_folder(&self.root)
    }
}
