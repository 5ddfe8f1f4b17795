//! The NFS server of this machine: whether it can be used, and making the files of exports true.
//!
//! Deliberately absent: starting it, which is the system's; what to export.
use crate::file;
use pcluster_etc::put;
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// Where NFS version 4 listens.
const PORT: u16 = 2049;
/// A server of this machine that has not answered by then does not.
const ANSWER: Duration = Duration::from_secs(2);
/// Names of other exports may be looked up for it.
const EXPORTFS: Duration = Duration::from_secs(60);
/// A file that says so much is on its way out.
const NOTHING: &str = "# Nothing is exported any more.\n";
/// A path of the administrator is not always that of a service.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why nothing can be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `this machine has no NFS server`.
    pub what: String,
    /// What helps.
    pub help: String,
}

impl Trouble {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// What this machine lacks before it can export anything, if it does.
#[must_use]
pub fn lacks() -> Option<Trouble> {
    if program().is_none() {
        return Some(Trouble::new(
            "this machine has no NFS server",
            "apt install nfs-kernel-server",
        ));
    }
    let words = "the head does not run as root";
    (!geteuid().is_root()).then(|| Trouble::new(words, "sudo pcluster up"))
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let mut all = folders.chain(FOLDERS.map(PathBuf::from)).map(|folder| folder.join("exportfs"));
    all.find(|file| file.is_file())
}

/// Where exports are written and by what they are made.
#[derive(Debug, Clone)]
pub struct System {
    /// `/etc/exports.d`.
    pub folder: PathBuf,
    pub cluster: String,
    /// How nodes call this machine, beside its loopback.
    pub host: String,
}

impl System {
    /// That of this machine.
    #[must_use]
    pub fn of(cluster: &str, host: &str) -> Self {
        Self { folder: "/etc/exports.d".into(), cluster: cluster.into(), host: host.into() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(file::name(&self.cluster))
    }

    pub(crate) fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// Whether somebody listens who would serve nodes.
    ///
    /// # Errors
    /// Why not.
    pub async fn answers(&self) -> Result<(), Trouble> {
        let loopback = TcpStream::connect(("127.0.0.1", PORT));
        if matches!(timeout(ANSWER, loopback).await, Ok(Ok(_))) {
            return Ok(());
        }
        let host = self.host.trim_matches(['[', ']']);
        if matches!(timeout(ANSWER, TcpStream::connect((host, PORT))).await, Ok(Ok(_))) {
            return Ok(());
        }
        let words = format!("no NFS server answers at port {PORT} of this machine");
        Err(Trouble::new(words, "systemctl start nfs-server"))
    }

    /// Makes `text` what is exported for this cluster; `again`: though the file says so already.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn make(&self, text: &str, again: bool) -> Result<(), Trouble> {
        let path = self.path();
        if text.is_empty() && !path.exists() {
            return Ok(());
        }
        let changed = self.write(text).map_err(|what| Trouble::new(what, "df /etc"))?;
        if changed || again {
            self.read_by_the_system(text).await?;
        }
        if !text.is_empty() {
            return Ok(());
        }
        // Last, so that whoever is ended before finds it and goes on.
        let removed = fs::remove_file(&path);
        removed.map_err(|error| Trouble::new(format!("{}: {error}", path.display()), "df /etc"))
    }

    async fn read_by_the_system(&self, text: &str) -> Result<(), Trouble> {
        let Err(what) = run(&["-r"]).await else { return Ok(()) };
        // A line of somebody else may be what is wrong.
        let listed = run(&["-s"]).await.unwrap_or_default();
        match is_exported(text, &listed) {
            true => Ok(()),
            false => Err(Trouble::new(what, "exportfs -r    says the same")),
        }
    }

    /// True when the file was another one.
    fn write(&self, text: &str) -> Result<bool, String> {
        let text = if text.is_empty() { NOTHING } else { text };
        if self.read() == text {
            return Ok(false);
        }
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        put(&self.path(), text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(true)
    }
}

/// Folders where something is mounted on this machine now.
pub(crate) fn mounted() -> BTreeSet<String> {
    mounted_in(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// `36 35 98:0 /mnt1 /shared rw,… - ext4 /dev/x rw`; blanks in paths are written as `\040`.
fn mounted_in(mountinfo: &str) -> BTreeSet<String> {
    let paths = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    paths.map(|path| path.replace("\\040", " ").replace("\\134", "\\")).collect()
}

/// What `exportfs` says; an error in its first words.
async fn run(args: &[&str]) -> Result<String, String> {
    let program = program().unwrap_or_else(|| "exportfs".into());
    let words = format!("exportfs {}", args.join(" "));
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let said = match timeout(EXPORTFS, command.output()).await {
        Ok(said) => said.map_err(|error| format!("{words}: {error}"))?,
        Err(_) => return Err(format!("{words} has not ended after {} s", EXPORTFS.as_secs())),
    };
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&said.stderr);
    let first = told.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let first = first.strip_prefix("exportfs: ").unwrap_or(first);
    Err(format!("{words}: {first} ({})", said.status))
}

/// Every line of ours is in what `exportfs -s` shows.
fn is_exported(text: &str, listed: &str) -> bool {
    let pair = |line: &str| {
        let (path, client) = line.split_once(char::is_whitespace)?;
        let (address, _) = client.trim_start().split_once('(')?;
        let address: IpAddr = address.parse().ok()?;
        path.starts_with('/').then(|| (path.to_owned(), address))
    };
    let there: Vec<_> = listed.lines().filter_map(pair).collect();
    text.lines().filter_map(pair).all(|one| there.contains(&one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_wrong_is_not_our_trouble() {
        let text = "# i-1 10.0.0.1\n/s 10.0.0.1(rw)\n/home 10.0.0.1(rw)\n";
        let listed = "/srv  *(ro)\n/s  10.0.0.1(sync,wdelay)\n/home\t10.0.0.1(sync)\n";
        assert!(is_exported(text, listed) && is_exported("", ""));
        assert!(!is_exported(text, "/s  10.0.0.1(sync)\n"));
    }

    #[test]
    fn folders_that_are_mounts_are_known() {
        let info = "22 1 0:5 / / rw - ext4 a rw\n36 22 8:1 /volume /my\\040data rw - ext4 b rw\n";
        let found = mounted_in(info);
        assert!(found.contains("/my data") && found.contains("/") && found.len() == 2, "{found:?}");
    }

    #[tokio::test]
    async fn where_nothing_is_exported_nothing_is_touched() {
        let folder = std::env::temp_dir().join(format!("pcx-make-{}", std::process::id()));
        let system = System { folder: folder.clone(), ..System::of("00ff", "10.0.0.1") };
        system.make("", true).await.unwrap();
        assert!(!folder.exists());
        // Of a head that was ended before the system had read it.
        assert_eq!(system.write("/s 10.0.0.1(rw)\n"), Ok(true));
        assert_eq!(system.write(""), Ok(true));
        assert_eq!((system.read().as_str(), system.write("")), (NOTHING, Ok(false)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_system_reads_the_file_by_its_name() {
        let path = System::of("00ff", "10.0.0.1").path();
        assert_eq!(path.to_str(), Some("/etc/exports.d/pcluster-00ff.exports"));
    }
}
