//! Shared paths that are not there by themselves: the agent mounts them before it says hello.
//!
//! Invariant: a path that is mounted already stays as it is, so that a restarted agent finds the jobs
//! of the one before undisturbed. What cannot be mounted is said, and found out by the proof of shared
//! paths, which decides. Deliberately absent: that proof (`facts`).
use crate::bootlog::BootLog;
use pcluster_wire::{Mount, MountSource};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::io;
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// A server that does not answer by then is left to the proof of shared paths.
const WITHIN: Duration = Duration::from_secs(30);
/// The port of NFS version 4.
const NFS_PORT: u16 = 2049;

/// Mounts all, in order.
pub fn all(mounts: &[Mount], log: &mut BootLog) {
    for wanted in mounts {
        log.phase("mount of shared paths", &format!("mount {}", wanted.path));
        match mounted_soon(wanted) {
            Ok(()) => {}
            Err(error) => log.line(&format!("mount {}: {error}", wanted.path)),
        }
    }
}

/// Mounting may wait for a server for hours; this waits for a while.
fn mounted_soon(wanted: &Mount) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let wanted = wanted.clone();
    std::thread::spawn(move || tell.send(one(&wanted)));
    told.recv_timeout(WITHIN)
        .unwrap_or_else(|_| Err(io::Error::other(format!("no answer for {} s", WITHIN.as_secs()))))
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
    fn a_source_of_nfs_has_a_host_and_a_path() {
        let options = nfs_options("127.0.0.1:/export").unwrap();
        assert_eq!(options.to_str().unwrap(), "vers=4.1,hard,addr=127.0.0.1");
        assert!(nfs_options("/export").is_err());
    }
}
