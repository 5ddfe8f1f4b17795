//! Heads on other machines that this user has connected to, and the way there.
//!
//! Invariant: one file for each head, readable by its user only, with the host key that was accepted; another
//! key is never accepted by itself. Deliberately absent: secrets. Keys stay with the user's agent and files.
use crate::cluster::surroundings;
use crate::failure::Failure;
use crate::private;
use pcluster_api::client::{Client, Dial, Dialled};
use pcluster_api::places::Surroundings;
use pcluster_ssh::{Keys, Link, SshError, Target, Trust};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files with private keys that are tried, as `ssh` does.
const KEY_FILES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// A head on another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownHead {
    /// The cluster's name.
    #[serde(skip)]
    pub name: String,
    /// `USER@HOST:PORT`.
    pub ssh: String,
    /// The machine's key, in OpenSSH's form.
    pub host_key: String,
    /// The head's socket there.
    pub socket: String,
    /// The account's home there, where jobs run unless `--chdir` says otherwise.
    pub home: String,
    /// A file with the key to be let in with, where it is not one of the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

fn folder(here: &Surroundings) -> Option<PathBuf> {
    Some(here.config_dir()?.join("heads"))
}

fn file(here: &Surroundings, name: &str) -> Option<PathBuf> {
    Some(folder(here)?.join(format!("{name}.toml")))
}

/// The head of that name, if this user has connected to it.
///
/// # Errors
/// A file that cannot be read.
pub fn find(here: &Surroundings, name: &str) -> Result<Option<KnownHead>, Failure> {
    let Some(file) = file(here, name) else { return Ok(None) };
    let bad = |why: String| {
        Failure::refused(format!("cannot read {}: {why}", file.display()))
            .hint("pcluster connect USER@HOST    writes it again")
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let mut head: KnownHead = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    head.name = name.to_owned();
    Ok(Some(head))
}

/// All of them, by name.
///
/// # Errors
/// As [`find`].
pub fn all(here: &Surroundings) -> Result<Vec<KnownHead>, Failure> {
    let files = folder(here).and_then(|folder| fs::read_dir(folder).ok());
    let names =
        files.into_iter().flatten().flatten().filter_map(|entry| {
            Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned())
        });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.iter().filter_map(|name| find(here, name).transpose()).collect()
}

impl KnownHead {
    /// Remembers it.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn save(&self, here: &Surroundings) -> Result<PathBuf, Failure> {
        let home = || Failure::refused("there is no HOME to remember the head in");
        let folder = folder(here).ok_or_else(home)?;
        let file = folder.join(format!("{}.toml", self.name));
        let bad = |error| Failure::refused(format!("cannot remember the head: {error}"));
        let text = toml::to_string(self).map_err(bad)?;
        private::write(&file, &format!("# Written by `pcluster connect`.\n{text}"))?;
        Ok(file)
    }

    /// Forgets it. False when it was not known.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn forget(here: &Surroundings, name: &str) -> Result<bool, Failure> {
        let Some(file) = file(here, name) else { return Ok(false) };
        private::remove(&file)
    }

    /// The account and machine.
    ///
    /// # Errors
    /// When the file was written by hand, and wrongly.
    pub fn target(&self) -> Result<Target, Failure> {
        self.ssh.parse().map_err(|why: String| Failure::refused(format!("{}: {why}", self.ssh)))
    }

    /// Opens the way there.
    ///
    /// # Errors
    /// As [`told`].
    pub fn client(&self) -> Result<Client, Failure> {
        let trust = Trust::Pinned(self.host_key.clone());
        let link = Link::open(&self.target()?, trust, keys(self.identity.as_deref()));
        let link = link.map_err(|error| told(error, &self.name))?;
        Ok(Client::dialling(Arc::new(Way { link, socket: self.socket.clone() })))
    }
}

/// What this user can prove to be with.
#[must_use]
pub fn keys(identity: Option<&Path>) -> Keys {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = surroundings().home;
    let usual = home.iter().flat_map(|home| KEY_FILES.map(|name| home.join(".ssh").join(name)));
    match identity {
        Some(file) => Keys { agent: None, files: vec![file.to_owned()] },
        None => Keys { agent: set("SSH_AUTH_SOCK"), files: usual.collect() },
    }
}

/// An SSH error in words that say what to do.
#[must_use]
pub fn told(error: SshError, name: &str) -> Failure {
    let message = error.to_string();
    match error {
        SshError::NoAnswer { .. } | SshError::Broken { .. } | SshError::Refused { .. } => {
            Failure::no_head(message)
        }
        SshError::UnknownHost { target, fingerprint } => Failure::refused(message)
            .fact("it shows", fingerprint.clone())
            .hint(format!(
                "pcluster connect {target} --host-key {fingerprint}    if that is its key: ask whoever runs it"
            )),
        SshError::ChangedHost { target, fingerprint, known } => Failure::refused(message)
            .fact("it shows", fingerprint)
            .fact("known is", known)
            .hint("nothing was sent: either the machine is a new one, or somebody is in between")
            .hint(format!("pcluster connect --forget {name}, then pcluster connect {target}    if it is a new one")),
        SshError::Denied { tried, .. } => {
            let failure = tried.iter().enumerate().fold(
                Failure::refused(message),
                |failure, (at, key)| failure.fact(if at == 0 { "tried" } else { "" }, key.clone()),
            );
            failure.hint("ssh-add your key, or name it:  pcluster connect USER@HOST --identity FILE")
        }
    }
}

/// Connections to the head's socket through one session.
#[derive(Debug)]
struct Way {
    link: Link,
    socket: String,
}

impl Dial for Way {
    fn dial(&self) -> Dialled<'_> {
        Box::pin(async {
            let stream = self.link.socket(&self.socket).await.map_err(io::Error::other)?;
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream)
        })
    }

    fn place(&self) -> String {
        format!("{}:{}", self.link.target(), self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again_and_forgotten_once() {
        let home = std::env::temp_dir().join(format!("pcluster-heads-{}", std::process::id()));
        let here = Surroundings { uid: 4242, home: Some(home.clone()), ..Default::default() };
        let head = KnownHead {
            name: "lab".into(),
            ssh: "ana@head.example:2222".into(),
            host_key: "ssh-ed25519 AAAA".into(),
            socket: "/run/pcluster/lab/head.sock".into(),
            home: "/home/ana".into(),
            identity: None,
        };
        assert_eq!(all(&here).unwrap(), []);
        let file = head.save(&here).unwrap();
        assert_eq!(find(&here, "lab").unwrap(), Some(head.clone()));
        assert_eq!(all(&here).unwrap(), [head]);
        fs::write(&file, "ssh = 1").unwrap();
        assert!(find(&here, "lab").is_err());
        assert!(KnownHead::forget(&here, "lab").unwrap());
        assert!(!KnownHead::forget(&here, "lab").unwrap());
        fs::remove_dir_all(home).unwrap();
    }
}
