//! The directory of a node: which file is what.
//!
//! Invariant: it belongs to the agent's user with mode 0700. What a job's user must reach (its
//! private directory) lies in the scratch directory, which may be elsewhere for that reason.
use anyhow::{Context as _, Result, bail};
use pcluster_keeper::{Durability, RunDir, proc, write_atomic};
use pcluster_model::RunId;
use pcluster_wire::JoinOrder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The node's directory.
#[derive(Debug, Clone)]
pub struct NodeDir {
    path: PathBuf,
}

/// A process by its number, its start and its boot; the form of `machine.json` and `agent.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    pub pid: i32,
    pub start_ticks: u64,
    pub boot_id: String,
}

impl ProcessRecord {
    /// The living process `pid`.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = proc::stat(pid).filter(proc::Stat::is_live)?;
        Some(Self { pid, start_ticks: stat.start_ticks, boot_id: proc::boot_id().ok()? })
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// `ended.json`, as the provider reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndRecord {
    pub ended_at: pcluster_model::Timestamp,
}

impl NodeDir {
    pub fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)?;
        if !path.is_dir() {
            bail!("{} is not a directory", path.display());
        }
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join_order(&self) -> Result<JoinOrder> {
        let path = self.path.join("join.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no join order", path.display()))
    }

    /// A file of this directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file as a whole; an agent that dies has it, a machine that dies may not. One that
    /// says the same stays as it is: an agent must come up on a full disk.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        if fs::read(self.file(name)).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        write_atomic(&self.file(name), &bytes, Durability::Cached)
    }

    /// Writes a file that must not be there; false when it was.
    pub fn write_once<T: Serialize>(&self, name: &str, value: &T) -> io::Result<bool> {
        let temporary = self.file(&format!("{name}.{}.new", std::process::id()));
        write_atomic(&temporary, &serde_json::to_vec(value)?, Durability::Durable)?;
        let linked = fs::hard_link(&temporary, self.file(name));
        fs::remove_file(&temporary)?;
        match linked {
            Ok(()) => {
                fs::File::open(&self.path)?.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A directory of this one, made if it is not there.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    pub fn run(&self, run: RunId) -> RunDir {
        RunDir::new(self.path.join("runs").join(run.to_string()))
    }

    /// All runs that have a directory.
    pub fn runs(&self) -> Vec<RunId> {
        let entries = fs::read_dir(self.path.join("runs")).into_iter().flatten().flatten();
        let mut runs: Vec<RunId> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(RunId))
            .collect();
        runs.sort_unstable();
        runs
    }

    /// Where the private directories of runs are made. In the node's directory, or where every
    /// user can get to if other users' jobs run here and the node's own path is closed to them, or
    /// if that path is so long that sockets below a job's `TMPDIR` would not fit. `mark` begins the
    /// name of a directory elsewhere.
    pub fn scratch(&self, for_others: bool, mark: &str) -> io::Result<PathBuf> {
        if let Some(path) = self.read::<PathBuf>("scratch.json")? {
            // Whoever may write beside it may have put another in its place since.
            make_passable(&path)?;
            return Ok(path);
        }
        let inside = self.path.join("tmp");
        let reachable = !for_others || self.path.ancestors().all(is_open);
        if !reachable || inside.as_os_str().len() > SCRATCH_MOST {
            let parent = ["/var/tmp", "/tmp"].map(Path::new).into_iter().find(|path| path.is_dir());
            return self.elsewhere("scratch.json", parent.unwrap_or(Path::new("/tmp")), mark);
        }
        self.write("scratch.json", &inside)?;
        make_passable(&inside)?;
        Ok(inside)
    }

    /// A new directory where everybody may write, and so may make what lies in the way: its name
    /// cannot be known before, and one that is there already is not used.
    fn elsewhere(&self, file: &str, parent: &Path, mark: &str) -> io::Result<PathBuf> {
        let mut random = [0; 6];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = parent.join(format!("{mark}-{suffix}"));
        // Said before it is made: whoever sweeps knows of it.
        self.write(file, &path)?;
        if let Err(error) = DirBuilder::new().mode(0o700).create(&path) {
            // What lies there is another's: nobody sweeps it for us.
            fs::remove_file(self.file(file))?;
            return Err(error);
        }
        make_passable(&path)?;
        Ok(path)
    }

    /// The client socket of this node, in the scratch directory or, where its path would be longer
    /// than a socket's may be, in a directory of its own. It stays where it is: jobs know it.
    pub fn client_socket(&self, scratch: &Path, mark: &str) -> io::Result<PathBuf> {
        let folder = match self.read::<PathBuf>("client.json")? {
            Some(path) => {
                make_passable(&path)?;
                path
            }
            None if fits(&scratch.join(CLIENT_SOCKET)) => {
                self.write("client.json", &scratch)?;
                scratch.to_path_buf()
            }
            None => self.elsewhere("client.json", Path::new("/tmp"), mark)?,
        };
        Ok(folder.join(CLIENT_SOCKET))
    }
}

const CLIENT_SOCKET: &str = "agent.sock";

/// Bytes of a scratch directory's path. A run's `TMPDIR` is some 25 longer, and Python's
/// multiprocessing puts sockets another 32 below that.
const SCRATCH_MOST: usize = 48;

/// A socket's path has at most 107 bytes.
fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= 107
}

/// Makes a directory of ours through which every user can go, and which nobody else can change.
fn make_passable(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} belongs to somebody else", path.display())));
    }
    // The mask may have taken the way in from other users.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

/// True when every user can get to this path.
pub fn is_reachable(path: &Path) -> bool {
    path.ancestors().skip(1).all(is_open)
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o001 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pca-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_elsewhere_is_new_has_a_name_nobody_knows_and_is_kept() {
        let (own, open) = (Folder::new("own"), Folder::new("open"));
        let dir = NodeDir::open(&own.0).unwrap();
        let first = dir.elsewhere("scratch.json", &open.0, "pcluster-t").unwrap();
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o711);
        assert_eq!(dir.scratch(true, "pcluster-t").unwrap(), first, "it stays where it is");
        let second = dir.elsewhere("client.json", &open.0, "pcluster-t").unwrap();
        assert_ne!(first, second);
        assert_eq!(dir.read::<PathBuf>("client.json").unwrap(), Some(second));
    }

    #[test]
    fn what_cannot_be_made_is_not_swept() {
        let own = Folder::new("nowhere");
        let dir = NodeDir::open(&own.0).unwrap();
        assert!(dir.elsewhere("scratch.json", &own.0.join("none"), "pcluster-t").is_err());
        assert_eq!(dir.read::<PathBuf>("scratch.json").unwrap(), None);
    }

    #[test]
    fn a_directory_that_another_put_in_place_is_not_used() {
        let (own, open) = (Folder::new("swap"), Folder::new("swapped"));
        let dir = NodeDir::open(&own.0).unwrap();
        let made = dir.elsewhere("scratch.json", &open.0, "pcluster-t").unwrap();
        fs::remove_dir(&made).unwrap();
        std::os::unix::fs::symlink(&own.0, &made).unwrap();
        assert!(dir.scratch(true, "pcluster-t").is_err());
    }
}
