//! A cluster of a test: its folder, its commands, what they say, and its end.
mod running;
mod setup;

pub use setup::Setup;

use crate::disk::Disk;
use crate::people::Person;
use crate::procs;
use crate::said::{Said, Started};
use crate::{PATIENCE, bins, until, vms};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cluster in a folder of its own; everything of it is gone when this value is.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    root: PathBuf,
    bin: PathBuf,
    setup: Setup,
    disks: Mutex<Vec<Arc<Disk>>>,
}

impl Cluster {
    /// A cluster with a head that answers.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self::with(label, Setup::default())
    }

    /// As [`Cluster::new`], set up otherwise.
    #[must_use]
    pub fn with(label: &str, setup: Setup) -> Self {
        let cluster = Self::cold(label, setup);
        cluster.up();
        cluster
    }

    /// A cluster that was never started.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn cold(label: &str, setup: Setup) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(format!("pct-{name}-{label}"));
        fs::create_dir_all(root.join("work")).expect("a folder can be made");
        fs::create_dir_all(root.join("home")).expect("a folder can be made");
        fs::create_dir_all(root.join("said")).expect("a folder can be made");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let bin = if let Some(programs) = &setup.programs {
            bins::put(programs, &root.join("bin"));
            root.join("bin")
        } else if setup.person.is_some() || setup.system_socket {
            // Other users may not be able to enter the target folder.
            bins::put(bins::folder(), &root.join("bin"));
            root.join("bin")
        } else if let Some(verb) = setup.gated {
            bins::gate_to(&root.join("bin"), &root.join("gate"), verb);
            root.join("bin")
        } else {
            bins::folder().to_path_buf()
        };
        fs::write(root.join("work/cluster.toml"), setup.file(&name)).expect("the folder is ours");
        if let Some(person) = &setup.person {
            for path in ["", "work", "home", "work/cluster.toml"] {
                person.own(&root.join(path));
            }
        }
        Self { name, root, bin, setup, disks: Mutex::default() }
    }

    /// A small disk at a path of this cluster's folder, for as long as the cluster is there.
    ///
    /// # Panics
    /// When it cannot be mounted: ask [`Disk::can_be_made`] first.
    pub fn disk(&self, path: &Path, megabytes: u32) -> Arc<Disk> {
        assert!(path.starts_with(&self.root), "not of this cluster: {}", path.display());
        let disk = Arc::new(Disk::at(path, megabytes).expect("a disk can be mounted"));
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&disk));
        disk
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder with `cluster.toml`, where commands run.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The folder of the programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The head's state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state").join(&self.name)
    }

    /// Loses everything of the state but the provider's own folder.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn lose_state(&self) {
        let entries = fs::read_dir(self.state()).expect("a state directory can be read");
        let paths = entries.map(|entry| entry.expect("a state directory can be read").path());
        for path in paths.filter(|path| !path.ends_with("nodes")) {
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .expect("the state is ours");
        }
    }

    /// What the head has logged.
    #[must_use]
    pub fn log(&self) -> String {
        read_lossy(&self.state().join("head.log"))
    }

    /// Sets what every command of this cluster sees, whatever the program is.
    pub fn dress(&self, command: &mut Command) {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.bin.display());
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root.join("home"))
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("PCLUSTER_STATE_DIR", self.root.join("state"))
            // Goes along with jobs: whatever they leave is found by it.
            .env("PCT_ROOM", &self.root)
            .envs(self.setup.environment.iter().map(|(key, value)| (*key, value.as_str())))
            .stdin(Stdio::null());
        if self.setup.provider == "vm" {
            // Made once for all tests, and kept.
            command.env("PCLUSTER_IMAGES_DIR", vms::images());
        }
        if !self.setup.system_socket {
            command.env("PCLUSTER_RUNTIME_DIR", self.root.join("run"));
        }
        if let Some(person) = &self.setup.person {
            person.run(command);
        }
    }

    /// `pcluster WORDS` in this cluster's folder.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("pcluster"));
        self.dress(&mut command);
        command.args(words);
        command
    }

    /// The same as another user, who has a home and a socket place of their own.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn command_as(&self, person: &Person, words: &[&str]) -> Command {
        let home = self.root.join(format!("home-{}", person.name));
        fs::create_dir_all(&home).expect("a folder can be made");
        person.own(&home);
        let mut command = self.command(words);
        command.env("HOME", &home).env_remove("PCLUSTER_STATE_DIR");
        person.run(&mut command);
        command
    }

    /// Runs a command to its end.
    pub fn say(&self, command: &mut Command) -> Said {
        Said::of(command, &self.root.join("said"), PATIENCE)
    }

    /// Starts a command.
    pub fn start(&self, command: &mut Command) -> Started {
        Started::new(command, &self.root.join("said"))
    }

    /// Runs `pcluster WORDS` to its end.
    pub fn run(&self, words: &[&str]) -> Said {
        self.say(&mut self.command(words))
    }

    /// Runs `pcluster WORDS`, which must end with 0.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> Said {
        self.run(words).expect_code(0)
    }

    /// What `pcluster WORDS --json` says.
    ///
    /// # Panics
    /// When it fails, or says no JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let said = self.ok(&[words, &["--json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
    }

    /// Writes a script of the shell into the work folder; the first line is added.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn script(&self, name: &str, text: &str) {
        fs::write(self.work().join(name), format!("#!/bin/sh\n{text}\n")).expect("it is ours");
    }

    /// Submits a shell script of this text with these options; its id.
    #[track_caller]
    pub fn submit(&self, options: &[&str], text: &str) -> String {
        let name = format!("job-{}.sh", NEXT.fetch_add(1, Ordering::Relaxed));
        self.script(&name, text);
        self.ok(&[&["submit", "-q"], options, &[name.as_str()]].concat()).id()
    }

    /// The rows of an array's tasks, or of a plain job, that the queue has, ended ones too.
    ///
    /// # Panics
    /// When it has no list.
    #[track_caller]
    pub fn tasks(&self, id: &str) -> Vec<Value> {
        let list = self.json(&["queue", "-t", "all", id]);
        list["jobs"].as_array().cloned().expect("the queue is a list")
    }

    /// Log, rows and ledger agree.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn verify(&self) {
        assert_eq!(self.json(&["admin", "verify"])["wrong"], serde_json::json!([]));
    }

    /// Waits for the end of a job; the code that `wait` gives.
    #[track_caller]
    pub fn wait(&self, id: &str) -> i32 {
        let said = self.run(&["wait", id, "--timeout", "50s"]);
        assert!(!said.err.starts_with("error:"), "{said:#?}");
        said.code
    }

    /// The rows that `show` has for this job.
    #[track_caller]
    pub fn rows(&self, id: &str) -> Vec<Value> {
        self.json(&["show", id])["rows"].as_array().cloned().unwrap_or_default()
    }

    /// The state of a plain job, as users see it.
    #[track_caller]
    pub fn state_of(&self, id: &str) -> String {
        text(&self.rows(id)[0]["state"])
    }

    /// The outcome's word of a plain job that has ended.
    #[track_caller]
    pub fn outcome_of(&self, id: &str) -> String {
        text(&self.rows(id)[0]["outcome"]["word"])
    }

    /// Waits until a plain job is in this state.
    #[track_caller]
    pub fn until_state(&self, id: &str, state: &str) {
        until(&format!("job {id} {state}"), || (self.state_of(id) == state).then_some(()));
    }

    /// What is in a file of the work folder; empty when it is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        read_lossy(&self.work().join(name))
    }

    /// Makes an empty file in the work folder: the sign for a job to go on.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn touch(&self, name: &str) {
        fs::write(self.work().join(name), "").expect("the folder is ours");
    }

    /// Waits until a file of the work folder has this many lines.
    pub fn until_lines(&self, name: &str, lines: usize) {
        until(&format!("{lines} lines in {name}"), || {
            (self.file(name).lines().count() >= lines).then_some(())
        });
    }

    /// Nodes that are there: neither gone nor failed.
    #[track_caller]
    pub fn live_nodes(&self) -> Vec<Value> {
        let list = self.json(&["nodes"]);
        let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
        nodes
            .into_iter()
            .filter(|node| node["state"] != "gone" && node["state"] != "failed")
            .collect()
    }

    /// Waits until no node is there.
    pub fn until_no_nodes(&self) {
        until("the end of all nodes", || self.live_nodes().is_empty().then_some(()));
    }

    /// Starts the head.
    #[track_caller]
    pub fn up(&self) {
        self.ok(&["up"]);
    }

    /// Lets the nodes of a gated cluster boot, or end.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn open_gate(&self) {
        fs::write(self.root.join("gate"), "").expect("the folder is ours");
    }

    /// The ids of this cluster, and of others that a test made in the same folder.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let states = [self.root.join("state"), self.root.join("home/.local/state/pcluster")];
        let states = states.iter().filter_map(|folder| fs::read_dir(folder).ok());
        let files = states.flatten().flatten().map(|entry| entry.path().join("cluster-id"));
        files.filter_map(|file| Some(fs::read_to_string(file).ok()?.trim().to_owned())).collect()
    }

    /// Takes the cluster down with `down WORDS` and proves that nothing is left: no process, no
    /// scratch directory, no control group, and nothing in the provider's own records.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn down(&self, words: &[&str]) -> Said {
        let said = self.ok(&[&["down"], words].concat());
        assert!(said.out.contains("0 left"), "{said:#?}");
        // The head says so while it leaves.
        let left = crate::within(PATIENCE, || self.processes().is_empty().then_some(()));
        assert!(left.is_some(), "left: {:#?}", self.processes());
        for id in self.ids() {
            let traces = procs::traces_of(&id);
            assert!(traces.is_empty(), "left: {traces:#?}");
        }
        for folder in self.instances() {
            assert!(folder.join("ended.json").exists(), "{} has not ended", folder.display());
        }
        said
    }

    /// Directories of the process provider's instances, ended ones too.
    #[must_use]
    pub fn instances(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state().join("nodes")).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path());
        folders.filter(|path| path.join("launch.json").exists()).collect()
    }

    fn show_trouble(&self) {
        let tail = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        eprintln!(
            "--- cluster {} failed; the end of its head's log:\n{}",
            self.name,
            tail(&self.log())
        );
        for folder in self.instances() {
            let console = read_lossy(&folder.join("console.log"));
            eprintln!("--- console of {}:\n{}", folder.display(), tail(&console));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.show_trouble();
        }
        let stuck = procs::end_all(&self.root, Duration::from_secs(20));
        for id in self.ids() {
            procs::traces_of(&id).iter().for_each(|trace| procs::remove_trace(trace));
        }
        // The innermost first.
        let disks = self.disks.get_mut().unwrap_or_else(PoisonError::into_inner);
        while disks.pop().is_some() {}
        if self.setup.system_socket {
            let _ = fs::remove_dir_all(Path::new("/run/pcluster").join(&self.name));
        }
        if !failed || std::env::var_os("PCT_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.root);
        }
        assert!(failed || stuck.is_empty(), "these would not end: {stuck:#?}");
    }
}

/// A text of an answer.
#[must_use]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
