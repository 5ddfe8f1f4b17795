//! Shared paths that are not there by themselves: the agent mounts them before it says hello.
//!
//! Invariant: a path that is mounted already stays as it is, so that a restarted agent finds the jobs
//! of the one before undisturbed. What cannot be mounted is said, tried again for as long as the agent lives (its
//! server may not know this machine yet), and until then no path at all for the proof of shared paths,
//! which decides. Deliberately absent: that proof (`shares`).
use crate::bootlog::BootLog;
use crate::cage::plain;
use pcluster_wire::{Mount, MountSource};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is not mounted by then is left to the proof of shared paths.
const WITHIN: Duration = Duration::from_secs(30);
/// From one try to the next.
const AGAIN: Duration = Duration::from_secs(2);
/// The port of NFS version 4.
const NFS_PORT: u16 = 2049;

/// Paths that are not mounted yet, and why.
static MISSING: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

fn missing() -> MutexGuard<'static, BTreeMap<String, String>> {
    MISSING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a path is not what it should be, to be said after it.
pub fn trouble(path: &str) -> Option<String> {
    missing().get(path).map(|why| format!("is not mounted: {why}"))
}

/// Mounts all, in order.
pub fn all(mounts: &[Mount], log: &mut BootLog) {
    for wanted in mounts {
        log.phase("mount of shared paths", &format!("mount {}", wanted.path));
        missing().insert(wanted.path.clone(), "its server does not answer".to_owned());
        let (tell, told) = mpsc::channel();
        let (path, until) = (&wanted.path, Instant::now() + WITHIN);
        let wanted = wanted.clone();
        // Mounting may wait for a server for hours; this thread does, too.
        std::thread::spawn(move || keep_trying(&wanted, &tell));
        let mut said = String::new();
        loop {
            let tried = told.recv_timeout(until.saturating_duration_since(Instant::now()));
            let Ok(tried) = tried else { break };
            let Err(error) = tried else { break };
            let words = trouble(path).unwrap_or_else(|| plain(&error));
            if words != said {
                log.line(&format!("{path} {words}"));
                said = words;
            }
            if Errno::from_io_error(&error) == Some(Errno::NODEV) {
                break;
            }
        }
    }
}

fn keep_trying(wanted: &Mount, tell: &mpsc::Sender<io::Result<()>>) {
    loop {
        let tried = one(wanted);
        let mounted = tried.is_ok();
        match &tried {
            Ok(()) => drop(missing().remove(&wanted.path)),
            Err(error) => drop(missing().insert(wanted.path.clone(), words(wanted, error))),
        }
        let unheard = tell.send(tried).is_err();
        if mounted {
            if unheard {
                crate::clock::say(&format!("mount {}: it is mounted now", wanted.path));
            }
            return;
        }
        std::thread::sleep(AGAIN);
    }
}

/// The kernel's words, and what they mean here.
fn words(wanted: &Mount, error: &io::Error) -> String {
    match (Errno::from_io_error(error), &wanted.from) {
        (Some(Errno::NODEV), MountSource::Nfs { .. }) => {
            "the image's kernel has no NFS client (module nfsv4)".to_owned()
        }
        (Some(Errno::ACCESS | Errno::PERM | Errno::NOENT), MountSource::Nfs { source }) => {
            format!("{source} is not exported to this machine ({})", plain(error))
        }
        _ => plain(error),
    }
}

fn one(wanted: &Mount) -> io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if is_mounted(&mounts, &wanted.path) {
        return Ok(());
    }
    let path = Path::new(&wanted.path);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    match &wanted.from {
        MountSource::Virtiofs { tag } => mount(tag, path, "virtiofs", flags, None)?,
        MountSource::Nfs { source } => {
            let options = nfs_options(source)?;
            mount(source, path, "nfs4", flags, Some(options.as_c_str()))?;
        }
        // What its servers are, only its own helper finds out.
        MountSource::Lustre { source } => by_helper("mount", "lustre", source, path)?,
    }
    Ok(())
}

/// Mounts by the system's `mount`; its first words are the error, those after them advice.
fn by_helper(program: &str, kind: &str, source: &str, path: &Path) -> io::Result<()> {
    let mut command = std::process::Command::new(program);
    command.args(["-t", kind, "-o", "noatime,flock,nosuid,nodev", source]).arg(path);
    let said = command.stdin(std::process::Stdio::null()).output()?;
    if said.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&said.stderr);
    let first = words.trim().lines().next().unwrap_or_default();
    Err(io::Error::other(format!("mount -t {kind} {source}: {first} ({})", said.status)))
}

/// `HOST:/PATH` needs the address of HOST for the kernel. A server that is away makes jobs wait and
/// does not fail them (`hard`), as shared home folders need it.
fn nfs_options(source: &str) -> io::Result<CString> {
    let (host, _) =
        source.rsplit_once(":/").ok_or_else(|| io::Error::other("it is not HOST:/PATH"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = (host, NFS_PORT).to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| io::Error::other("its host has no address"))?;
    CString::new(format!("vers=4.1,hard,addr={}", address.ip())).map_err(io::Error::other)
}

/// `36 35 98:0 /mnt1 /shared rw,… - virtiofs s0 rw`; blanks in paths are written as `\040`.
fn is_mounted(mountinfo: &str, path: &str) -> bool {
    let written = path.replace('\\', "\\134").replace(' ', "\\040");
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some(&written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_read_as_the_kernel_writes_it() {
        let info =
            "22 1 0:5 / /dev rw - devtmpfs dev rw\n36 22 0:40 / /my\\040data rw - virtiofs s0 rw\n";
        assert!(is_mounted(info, "/my data") && is_mounted(info, "/dev"));
        assert!(!is_mounted(info, "/my") && !is_mounted(info, "/"));
    }

    #[test]
    fn a_helper_that_fails_is_told_in_its_words() {
        // Neither the client nor the server is there.
        let path = std::env::temp_dir();
        let failed =
            by_helper("mount", "lustre", "fs-1.fsx.invalid@tcp:/fsx", &path.join("no such folder"));
        let words = failed.unwrap_err().to_string();
        assert!(words.starts_with("mount -t lustre fs-1.fsx.invalid@tcp:/fsx: "), "{words}");
        assert!(words.contains("no such folder") || words.contains("root"), "{words}");
    }

    #[test]
    fn what_cannot_be_mounted_is_no_path_and_says_why() {
        let from = MountSource::Nfs { source: "10.0.0.1:/s".into() };
        let wanted = Mount { path: "/no such mount".into(), from };
        let said = |errno: Errno| words(&wanted, &errno.into());
        assert!(said(Errno::NODEV).contains("no NFS client"));
        assert!(said(Errno::ACCESS).starts_with("10.0.0.1:/s is not exported to this machine ("));
        assert!(!said(Errno::TIMEDOUT).contains("exported"));
        missing().insert(wanted.path.clone(), said(Errno::NODEV));
        assert!(trouble(&wanted.path).unwrap().starts_with("is not mounted: the image's kernel"));
        assert_eq!(trouble("/another"), None);
    }

    #[test]
    fn a_source_of_nfs_has_a_host_and_a_path() {
        let options = nfs_options("127.0.0.1:/export").unwrap();
        assert_eq!(options.to_str().unwrap(), "vers=4.1,hard,addr=127.0.0.1");
        assert!(nfs_options("/export").is_err());
    }
}
