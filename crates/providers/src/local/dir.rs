//! The directory of an instance, and the directory of all of them.
//!
//! Invariant: each record appears whole, under its final name, at most once. `launch.json` comes
//! before anything is started; `machine.json` names the one machine there ever is; `ended.json`
//! comes after the last process is dead.
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId, Timestamp};
use pcluster_wire::JoinOrder;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// `launch.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRecord {
    pub cluster: ClusterId,
    pub launch: LaunchId,
    pub index: u32,
    /// Name for people.
    pub name: String,
    pub launched_at: Timestamp,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub image: String,
}

/// `machine.json`: the process that is the machine. A number alone may be given away again, so its
/// start time and the boot belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot.
    pub start_ticks: u64,
    pub boot_id: String,
}

impl MachineRecord {
    /// What `/proc` says of a process now; `None` when it is gone or a zombie.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Self::read(pid).and_then(|(record, dead)| (!dead).then_some(record))
    }

    /// Of a child that nobody has waited for: also when it has ended meanwhile.
    #[must_use]
    pub fn of_child(pid: i32) -> Option<Self> {
        Self::read(pid).map(|(record, _)| record)
    }

    fn read(pid: i32) -> Option<(Self, bool)> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The program's name may hold anything: the fields start after the last bracket.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let dead = matches!(fields.next()?, "Z" | "X" | "x");
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some((Self { pid, start_ticks, boot_id: boot_id.trim().to_owned() }, dead))
    }

    /// A handle on this very process, if it lives.
    pub fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at after opening: the handle cannot come to mean another process.
        (Self::of(self.pid).as_ref() == Some(self)).then_some(handle)
    }
}

/// `ended.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    pub ended_at: Timestamp,
    /// True when the end was noticed later and nobody wrote it down at the time.
    #[serde(default)]
    pub estimated: bool,
}

/// How far an instance has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// On disk, and no machine has said its name.
    Unstarted,
    Alive,
    /// Told to end, and not yet written down as ended.
    Terminated,
    /// The machine is gone without a word.
    Dead,
    Ended(EndRecord),
}

/// `nodes/`.
#[derive(Debug, Clone)]
pub struct Nodes {
    root: PathBuf,
    prefix: &'static str,
}

impl Nodes {
    /// `prefix` tells the machines of one provider from those of another.
    pub fn new(root: PathBuf, prefix: &'static str) -> Self {
        Self { root, prefix }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.stones())
    }

    /// Held while instances are made and marked: an old head that is not quite dead may be at it too.
    pub fn lock(&self) -> io::Result<File> {
        let path = self.root.join(".lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// Launches that must not happen any more have an empty file here.
    fn stones(&self) -> PathBuf {
        self.root.join(".terminated")
    }

    pub fn is_buried(&self, launch: LaunchId) -> bool {
        self.stones().join(launch.to_string()).exists()
    }

    pub fn bury(&self, launch: LaunchId) -> io::Result<()> {
        let path = self.stones().join(launch.to_string());
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        File::open(self.stones())?.sync_all()
    }

    pub fn instance(&self, launch: LaunchId, index: u32) -> InstanceDir {
        let name = format!("{}{}", self.prefix, NodeId { launch, index });
        InstanceDir { path: self.root.join(&name), name }
    }

    /// The directory of a known instance. Any other text, paths included, is no instance.
    pub fn find(&self, instance: &InstanceRef) -> Option<InstanceDir> {
        let node: NodeId = instance.as_str().strip_prefix(self.prefix)?.parse().ok()?;
        let dir = self.instance(node.launch, node.index);
        (dir.name == instance.as_str() && dir.path.is_dir()).then_some(dir)
    }

    pub fn all(&self) -> io::Result<Vec<InstanceDir>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let node = name
                .to_str()
                .and_then(|name| name.strip_prefix(self.prefix)?.parse::<NodeId>().ok());
            found.extend(node);
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|node| self.instance(node.launch, node.index)).collect())
    }

    pub fn of_launch(&self, launch: LaunchId) -> io::Result<Vec<InstanceDir>> {
        let start = format!("{}{launch}.", self.prefix);
        Ok(self.all()?.into_iter().filter(|dir| dir.name.starts_with(&start)).collect())
    }
}

/// `nodes/p-LAUNCH.INDEX`.
#[derive(Debug, Clone)]
pub struct InstanceDir {
    path: PathBuf,
    name: String,
}

/// What stays of an ended instance: the meter and the last words.
const KEPT: [&str; 5] = ["launch.json", "machine.json", "ended.json", "terminated", "console.log"];

impl InstanceDir {
    /// The instance of this directory: for the machine itself.
    pub fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| io::Error::other("it has no name"))?;
        Ok(Self { path, name })
    }

    pub fn is_terminated(&self) -> bool {
        self.path.join("terminated").exists()
    }

    pub fn join_order(&self) -> io::Result<JoinOrder> {
        let order = read(&self.path.join("join.json"))?;
        order.ok_or_else(|| io::Error::other("there is no join order"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn instance(&self) -> InstanceRef {
        InstanceRef::from(self.name.as_str())
    }

    pub fn console(&self) -> PathBuf {
        self.path.join("console.log")
    }

    pub fn launch_record(&self) -> io::Result<Option<LaunchRecord>> {
        read(&self.path.join("launch.json"))
    }

    pub fn machine_record(&self) -> io::Result<Option<MachineRecord>> {
        read(&self.path.join("machine.json"))
    }

    pub fn end_record(&self) -> io::Result<Option<EndRecord>> {
        read(&self.path.join("ended.json"))
    }

    /// Writes the join order, readable by nobody else.
    pub fn prepare(&self, join: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        replace(&self.path.join("join.json"), join.as_bytes())
    }

    /// Writes the launch to disk: after this the instance exists.
    pub fn write_launch(&self, record: &LaunchRecord) -> io::Result<()> {
        replace(&self.path.join("launch.json"), &serde_json::to_vec(record)?)?;
        self.path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// No machine was ever started here, and one may be.
    pub fn is_unstarted(&self) -> io::Result<bool> {
        Ok(self.phase()? == State::Unstarted)
    }

    pub fn phase(&self) -> io::Result<State> {
        if let Some(end) = self.end_record()? {
            return Ok(State::Ended(end));
        }
        if self.is_terminated() {
            return Ok(State::Terminated);
        }
        let Some(machine) = self.machine_record()? else { return Ok(State::Unstarted) };
        if machine.open().is_some() {
            return Ok(State::Alive);
        }
        // It may have written its end and left between the two looks.
        Ok(self.end_record()?.map_or(State::Dead, State::Ended))
    }

    pub fn mark_terminated(&self) -> io::Result<()> {
        let mark = self.path.join("terminated");
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(mark)?;
        File::open(&self.path)?.sync_all()
    }

    /// The first record of the machine stays.
    pub fn write_machine(&self, record: &MachineRecord) -> io::Result<()> {
        exclusive(&self.path.join("machine.json"), &serde_json::to_vec(record)?)
    }

    /// The first end stays: the machine itself may have written it.
    pub fn write_end(&self, record: &EndRecord) -> io::Result<()> {
        exclusive(&self.path.join("ended.json"), &serde_json::to_vec(record)?)
    }

    /// Removes all but the meter and the console.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if KEPT.iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn temporary(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{:?}.tmp", std::process::id(), std::thread::current().id()));
    let path = PathBuf::from(name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// A file of mode 0600 that is there whole, and on disk, or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path, bytes)?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// The same, and a file that is there stays as it is.
fn exclusive(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync_parent(path),
    }
}
