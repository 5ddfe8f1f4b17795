//! A head on a machine that has nothing yet: its volume, its programs, its file and its start, over SSH.
//!
//! Invariant: every step looks first and can be made again, so that whoever is interrupted anywhere begins anew
//! and ends in the same place; a program is there whole, with the hash of the one here, or not at all. What is
//! run there as root is in the scripts of this folder and nothing else. Deliberately absent: how the machine came
//! to be (the provider), and what becomes of the head (its clients).
mod programs;
mod remote;

use pcluster_ssh::{Keys, Link, SshError, Target, Trust};
pub use programs::{HeadPrograms, ProgramsError};
use remote::Remote;
use std::time::{Duration, Instant};

/// A machine that has just been started lets in only when its image has made the account.
const LETS_IN_WITHIN: Duration = Duration::from_secs(300);
const TRY_EVERY: Duration = Duration::from_secs(2);

const VOLUME: &str = include_str!("volume.sh");
const NFS: &str = include_str!("nfs.sh");
const START: &str = include_str!("start.sh");
const UNIT: &str = include_str!("../../../headnode/pcluster-headnode.service");

/// Where programs lie on the machine, as on every node.
const BIN: &str = "/opt/pcluster/bin";

/// What the machine is to become.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Of the cluster: `[a-z0-9-]`, at most 32.
    pub name: String,
    /// Its id.
    pub cluster: String,
    /// The account that it is for, which may use `sudo`.
    pub account: String,
    /// The text of the cluster's file.
    pub file: String,
    /// The volume that outlives the machine.
    pub volume: String,
    /// Folders that are to be on it: `/home`, `/shared`.
    pub folders: Vec<String>,
    /// Nodes mount some of them.
    pub exports: bool,
}

/// Why there is no head there.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// The machine is of another kind than the programs.
    #[error("the machine is {machine}, and pcluster's programs here are for {programs}")]
    OtherArch { machine: String, programs: String },
    /// A step failed there.
    #[error("{step}: {}", words(said))]
    Failed {
        /// `the volume`.
        step: &'static str,
        /// What was said on its standard error.
        said: String,
    },
}

/// The last line that says what is wrong.
fn words(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rev().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| lines().next_back()).unwrap_or("it failed without a word")
}

/// A session with a machine that may only just be starting; its key must be `host_key`.
///
/// # Errors
/// [`BootstrapError::Ssh`], at once where waiting changes nothing.
pub async fn log_in(target: &Target, host_key: &str, keys: &Keys) -> Result<Link, BootstrapError> {
    let began = Instant::now();
    loop {
        let (whom, trust) = (target.clone(), Trust::Pinned(host_key.to_owned()));
        let keys = keys.clone();
        let opened = tokio::task::spawn_blocking(move || Link::open(&whom, trust, keys)).await;
        let opened = opened.unwrap_or_else(|error| {
            Err(SshError::Broken { target: target.clone(), why: error.to_string() })
        });
        match opened {
            Ok(link) => return Ok(link),
            Err(
                error @ (SshError::NoAnswer { .. }
                | SshError::Denied { .. }
                | SshError::Broken { .. }
                | SshError::Refused { .. }),
            ) if began.elapsed() >= LETS_IN_WITHIN => return Err(error.into()),
            Err(error @ (SshError::UnknownHost { .. } | SshError::ChangedHost { .. })) => {
                return Err(error.into());
            }
            Err(_) => tokio::time::sleep(TRY_EVERY).await,
        }
    }
}

/// Makes the machine a head; `say` hears of each step that takes time. It answers when this ends.
///
/// # Errors
/// [`BootstrapError`]; what was done stays and is used the next time.
pub async fn bootstrap(
    link: &Link,
    wish: &Wish,
    programs: &HeadPrograms,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), BootstrapError> {
    let remote = Remote { link };
    let machine = remote.plain("the machine", "uname -m", Vec::new()).await?;
    if machine.trim() != programs.arch {
        let machine = machine.trim().to_owned();
        return Err(BootstrapError::OtherArch { machine, programs: programs.arch.clone() });
    }
    say(&format!("{}: mounting {}", wish.volume, wish.folders.join(" and ")));
    let mut words = vec![wish.volume.as_str(), wish.account.as_str()];
    words.extend(wish.folders.iter().map(String::as_str));
    remote.script("the volume", VOLUME, &words).await?;
    send(&remote, programs, say).await?;
    let folder = format!("/etc/pcluster/{}", wish.name);
    let placed = format!(
        "# Written by `pcluster up`: this machine was made for the head of the cluster.\n\
         cluster = \"{}\"\naccount = \"{}\"\nvolume = \"/var/lib/pcluster\"\n",
        wish.cluster, wish.account
    );
    for (to, text) in [
        (format!("{folder}/placed.toml"), placed.as_str()),
        (format!("{folder}/cluster.toml"), wish.file.as_str()),
        (format!("{BIN}/pcluster-headnode.service"), UNIT),
    ] {
        remote.put("the file", &to, text.as_bytes(), "644").await?;
    }
    if wish.exports {
        remote.script("the NFS server", NFS, &[]).await?;
    }
    say("starting the head");
    remote.script("the head", START, &[&wish.name]).await?;
    Ok(())
}

/// Programs that the machine does not have yet.
async fn send(
    remote: &Remote<'_>,
    programs: &HeadPrograms,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), BootstrapError> {
    let there = remote.hashes(BIN, programs.files.iter().map(|file| file.name.as_str())).await?;
    for file in &programs.files {
        if there.contains(&format!("{}  {}", file.sha256, file.name)) {
            continue;
        }
        let bytes = file.read()?;
        say(&format!("sending {} ({} MB)", file.name, bytes.len() >> 20));
        remote.put("a program", &format!("{BIN}/{}", file.name), &bytes, "755").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_matters_is_found() {
        assert_eq!(words("mounting\nerror: no disk\nnote: x\n"), "no disk");
        assert_eq!(words("sh: 1: gzip: not found\n\n"), "sh: 1: gzip: not found");
        assert_eq!(words(""), "it failed without a word");
    }
}
