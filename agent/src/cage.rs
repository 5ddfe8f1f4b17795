//! Control groups of runs: version 1, version 2 or both, whatever this machine has and lets us use.
//!
//! Invariant: what is claimed was tried. A limit that cannot be set is no reason not to run a job;
//! it is said once, in the facts. Every directory made is below one that `cage.json` names, so that
//! a sweep finds it after any crash.
//!
//! Deliberately absent: killing (the keeper does it), and devices under version 2, which wants a program
//! in the kernel for them.
mod system;

pub use system::System;

use crate::gpus;
use crate::node_dir::NodeDir;
use pcluster_model::{Resources, RunId};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Length of a CPU quota period in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;
/// Processes and threads allowed to a run: so many, and more for each CPU.
const PIDS: u64 = 4096;
const PIDS_PER_CPU: u64 = 512;

/// The directory of this node in one hierarchy, and what can be limited there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    dir: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V1Memory,
    V1Cpu,
    V1Pids,
    /// Only for suspending: where version 2 is there it does that.
    V1Freezer,
    /// Only on nodes with GPUs: a run may not open those of others.
    V1Devices,
    /// One directory for all; which of the three it limits.
    V2 {
        memory: bool,
        cpu: bool,
        pids: bool,
    },
}

/// The directories that may be there, as `cage.json` names them before they are made.
struct Claims<'a> {
    dir: &'a NodeDir,
    named: Vec<PathBuf>,
}

impl Claims<'_> {
    /// A full disk takes no new name; those of the agent before are there.
    fn name(&mut self, path: &Path) -> io::Result<()> {
        if self.named.iter().any(|named| named == path) {
            return Ok(());
        }
        let named = [&self.named[..], &[path.to_path_buf()]].concat();
        self.dir.write("cage.json", &named).map(|()| self.named = named)
    }
}

/// The node's place in the hierarchies.
#[derive(Debug, Clone, Default)]
pub struct Cage {
    branches: Vec<Branch>,
    /// Why there is nothing, where there is nothing.
    trouble: String,
}

impl Cage {
    /// Finds out by trying. `name` is unique on this machine.
    pub fn find(dir: &NodeDir, system: &System, name: &str, devices: bool) -> io::Result<Self> {
        let mut cage = Self::default();
        let mut claims = Claims { dir, named: known_dirs(dir) };
        for (controller, kind) in
            [("memory", Kind::V1Memory), ("cpu", Kind::V1Cpu), ("pids", Kind::V1Pids)]
        {
            let Some(parents) = system.v1(controller) else { continue };
            let usable = |dir: &Path| usable_v1(dir, kind).then_some(kind);
            cage.try_branch(&mut claims, &parents, name, usable);
        }
        if let Some(parents) = system.v1("devices").filter(|_| devices) {
            let denies = |dir: &Path| usable_v1(dir, Kind::V1Devices).then_some(Kind::V1Devices);
            cage.try_branch(&mut claims, &parents, name, denies);
        }
        if let Some(parents) = system.v2() {
            // Limits are asked of version 2 only where version 1 has none of them; else, or where it
            // has none either, it follows processes and ends them.
            if cage.branches.is_empty() {
                cage.try_branch(&mut claims, &parents, name, usable_v2);
            }
            if cage.branches.iter().all(|branch| !matches!(branch.kind, Kind::V2 { .. })) {
                let tracks = Kind::V2 { memory: false, cpu: false, pids: false };
                let follows = |dir: &Path| dir.join("cgroup.procs").exists().then_some(tracks);
                cage.try_branch(&mut claims, &parents, name, follows);
            }
        }
        if cage.branches.iter().all(|branch| !matches!(branch.kind, Kind::V2 { .. }))
            && let Some(parents) = system.v1("freezer")
        {
            let freezes = |dir: &Path| usable_v1(dir, Kind::V1Freezer).then_some(Kind::V1Freezer);
            cage.try_branch(&mut claims, &parents, name, freezes);
        }
        let made: Vec<&PathBuf> = cage.branches.iter().map(|branch| &branch.dir).collect();
        // Where that cannot be written, more is named than was made: a sweep does not mind.
        drop(dir.write("cage.json", &made));
        if cage.branches.is_empty() && cage.trouble.is_empty() {
            cage.trouble = "no control groups are mounted".to_owned();
        }
        Ok(cage)
    }

    /// Makes the node's directory under the first parent that allows it.
    fn try_branch(
        &mut self,
        claims: &mut Claims<'_>,
        parents: &[PathBuf],
        name: &str,
        usable: impl Fn(&Path) -> Option<Kind>,
    ) {
        for parent in parents {
            let dir = parent.join(name);
            if let Err(error) = claims.name(&dir).and_then(|()| make(&dir)) {
                self.trouble = format!("cannot make {}: {}", dir.display(), plain(&error));
                continue;
            }
            if let Some(kind) = usable(&dir) {
                self.branches.push(Branch { dir, kind });
                return;
            }
            drop(fs::remove_dir(&dir));
        }
    }

    /// For the facts: `cgroup v1: memory, cpu, pids`, `cgroup v2: …`, `none: why`.
    pub fn words(&self) -> String {
        let (mut v1, mut v2, mut tracks) = (Vec::new(), Vec::new(), false);
        for branch in &self.branches {
            match branch.kind {
                Kind::V1Memory => v1.push("memory"),
                Kind::V1Cpu => v1.push("cpu"),
                Kind::V1Pids => v1.push("pids"),
                Kind::V1Freezer => v1.push("freezer"),
                Kind::V1Devices => v1.push("devices"),
                Kind::V2 { memory, cpu, pids } => {
                    tracks = true;
                    let has = [(memory, "memory"), (cpu, "cpu"), (pids, "pids")];
                    v2.extend(has.into_iter().filter_map(|(has, name)| has.then_some(name)));
                }
            }
        }
        match (v1.is_empty(), v2.is_empty(), tracks) {
            (_, false, _) => format!("cgroup v2: {}", v2.join(", ")),
            (false, true, false) => format!("cgroup v1: {}", v1.join(", ")),
            (false, true, true) => format!("cgroup v1: {}; v2 for ending", v1.join(", ")),
            (true, true, true) => "cgroup v2 for ending; no limits".to_owned(),
            (true, true, false) => format!("none: {}", self.trouble),
        }
    }

    /// A run cannot open the devices that it was not given.
    pub fn hides_devices(&self) -> bool {
        self.branches.iter().any(|branch| branch.kind == Kind::V1Devices)
    }

    /// Makes and limits the directories of a run, for the keeper's child to enter; these device files are
    /// not for it.
    pub fn make(
        &self,
        run: RunId,
        resources: &Resources,
        denied: &[PathBuf],
    ) -> io::Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        for branch in &self.branches {
            let dir = branch.dir.join(format!("run-{run}"));
            make(&dir)?;
            limit(&dir, branch.kind, resources);
            if branch.kind == Kind::V1Devices {
                deny(&dir, denied)?;
            }
            dirs.push(dir);
        }
        Ok(dirs)
    }

    /// The directories of a run, made or not.
    pub fn of_run(&self, run: RunId) -> Vec<PathBuf> {
        self.branches.iter().map(|branch| branch.dir.join(format!("run-{run}"))).collect()
    }

    /// Removes the directories of an ended run.
    pub fn remove(&self, run: RunId) {
        for dir in self.of_run(run) {
            remove_all(&dir);
        }
    }
}

/// The node's directories in the hierarchies, as last written down.
pub fn known_dirs(dir: &NodeDir) -> Vec<PathBuf> {
    dir.read("cage.json").ok().flatten().unwrap_or_default()
}

/// A cgroup directory and all below it, the deepest first.
pub fn with_children(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(with_children(&entry.path()));
        }
    }
    if dir.is_dir() {
        found.push(dir.to_path_buf());
    }
    found
}

/// Removes a cgroup directory and all below it. A dead process leaves its cgroup a moment after its
/// end, so it is tried for a second.
pub fn remove_all(dir: &Path) {
    for dir in with_children(dir) {
        for _ in 0..100 {
            match fs::remove_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                Ok(()) | Err(_) => break,
            }
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes a control file, which must be there: a plain directory must not gain files.
fn set(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(dir.join(file))?.write_all(value.as_bytes())
}

/// A processless trial: every limit that will be set is set to "none" once.
fn usable_v1(dir: &Path, kind: Kind) -> bool {
    let file = match kind {
        Kind::V1Memory => set(dir, "memory.limit_in_bytes", "-1"),
        Kind::V1Cpu => {
            set(dir, "cpu.cfs_quota_us", "-1").or_else(|_| set(dir, "cpu.shares", "1024"))
        }
        Kind::V1Pids => set(dir, "pids.max", "max"),
        Kind::V1Freezer => set(dir, "freezer.state", "THAWED"),
        // `/dev/null`, which nobody is denied.
        Kind::V1Devices => set(dir, "devices.allow", "c 1:3 rwm"),
        Kind::V2 { .. } => return false,
    };
    file.is_ok() && dir.join("cgroup.procs").exists()
}

/// What can be limited below this directory, if anything can.
fn usable_v2(dir: &Path) -> Option<Kind> {
    let has = |name: &str| {
        let parent = dir.parent().is_some_and(|parent| enable(parent, name));
        parent && enable(dir, name)
    };
    let (memory, cpu, pids) = (has("memory"), has("cpu"), has("pids"));
    (memory || cpu || pids).then_some(Kind::V2 { memory, cpu, pids })
}

/// Gives a controller to the children of a directory. Processes in it forbid that (but for the
/// root): where they are all the agent's own, as in a unit with `Delegate=yes`, they move aside.
fn enable(dir: &Path, controller: &str) -> bool {
    let words = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    if words("cgroup.subtree_control").split_whitespace().any(|word| word == controller) {
        return true;
    }
    if !words("cgroup.controllers").split_whitespace().any(|word| word == controller) {
        return false;
    }
    let give = || set(dir, "cgroup.subtree_control", &format!("+{controller}"));
    match give() {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let own = std::process::id().to_string();
            let leaf = dir.join("pcluster-agent");
            words("cgroup.procs").split_whitespace().all(|pid| pid == own)
                && make(&leaf).is_ok()
                && set(&leaf, "cgroup.procs", &own).is_ok()
                && give().is_ok()
        }
        Err(_) => false,
    }
}

/// A device that cannot be denied must not be given out as if it were.
fn deny(dir: &Path, files: &[PathBuf]) -> io::Result<()> {
    for (major, minor) in files.iter().filter_map(|file| gpus::numbers(file)) {
        set(dir, "devices.deny", &format!("c {major}:{minor} rwm"))?;
    }
    Ok(())
}

/// Best effort: each file may be missing (no swap accounting) or out of bounds (a tighter parent).
fn limit(dir: &Path, kind: Kind, resources: &Resources) {
    let cpus = u64::from(resources.cpus.max(1));
    let memory = resources.memory_bytes;
    let pids = (PIDS + PIDS_PER_CPU * cpus).to_string();
    match kind {
        Kind::V1Memory if memory > 0 => {
            drop(set(dir, "memory.limit_in_bytes", &memory.to_string()));
            // Memory and swap together: the same number means no swap.
            drop(set(dir, "memory.memsw.limit_in_bytes", &memory.to_string()));
        }
        Kind::V1Memory | Kind::V1Freezer | Kind::V1Devices => {}
        Kind::V1Cpu => {
            drop(set(dir, "cpu.shares", &(1024 * cpus).min(262_144).to_string()));
            drop(set(dir, "cpu.cfs_period_us", &PERIOD_US.to_string()));
            drop(set(dir, "cpu.cfs_quota_us", &(PERIOD_US * cpus).to_string()));
        }
        Kind::V1Pids => drop(set(dir, "pids.max", &pids)),
        Kind::V2 { memory: has_memory, cpu, pids: has_pids } => {
            if has_memory && memory > 0 {
                drop(set(dir, "memory.max", &memory.to_string()));
                drop(set(dir, "memory.swap.max", "0"));
            }
            if cpu {
                drop(set(dir, "cpu.max", &format!("{} {PERIOD_US}", PERIOD_US * cpus)));
            }
            if has_pids {
                drop(set(dir, "pids.max", &pids));
            }
        }
    }
}

/// An error as people read it: without the number the standard library adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
