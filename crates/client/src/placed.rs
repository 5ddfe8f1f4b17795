//! Heads that this user has placed on a machine of a provider, and the keys to those machines.
//!
//! Invariant: what is made in an account carries the cluster's id from birth, so the id is on this disk before
//! the first call is made; the record outlives the machine as long as its volume does. The key's file is
//! readable by its user only and is for that one machine. Deliberately absent: where the machine is now
//! ([`crate::known`]), and the provider's credentials.
use crate::failure::Failure;
use crate::private::{self, hex, random, write_once};
use pcluster_api::places::Surroundings;
use pcluster_ssh::NewKey;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Letters of an account's name on the head's machine.
const ACCOUNT_LETTERS: usize = 32;

/// A head that lives on a machine made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The cluster's name.
    #[serde(skip)]
    pub name: String,
    /// The cluster's id: what everything of it is tagged with.
    pub cluster: String,
    /// Of the provider, where the machine is.
    pub region: String,
    /// Whose the machine is, on it.
    pub account: String,
    /// What the key's file holds, for the machine's `authorized_keys`.
    pub public_key: String,
}

fn folder(here: &Surroundings) -> Result<PathBuf, Failure> {
    let home = || Failure::refused("there is no HOME to remember the head in");
    Ok(here.config_dir().ok_or_else(home)?.join("placed"))
}

/// An account's name that every system takes: this user's, if it is one.
fn account_of(user: &str) -> String {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let user = user.to_ascii_lowercase();
    let name: String = user.chars().filter(|c| right(*c)).take(ACCOUNT_LETTERS).collect();
    // Accounts that every image has are nobody's own.
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && !["root", "admin", "ubuntu", "daemon"].contains(&name.as_str()) {
        name
    } else {
        "pcluster".into()
    }
}

impl Placed {
    /// The head of that name that this user has placed, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn find(here: &Surroundings, name: &str) -> Result<Option<Self>, Failure> {
        let Ok(folder) = folder(here) else { return Ok(None) };
        let file = folder.join(format!("{name}.toml"));
        let bad = |why: String| Failure::refused(format!("cannot read {}: {why}", file.display()));
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        let mut placed: Self = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        name.clone_into(&mut placed.name);
        Ok(Some(placed))
    }

    /// A new one, with an id and a key of its own, on disk; the other one where somebody was faster.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn begin(
        here: &Surroundings,
        name: &str,
        region: &str,
        user: &str,
    ) -> Result<Self, Failure> {
        let (id, seed) = (random::<8>()?, random::<32>()?);
        let key = NewKey::of(&seed, &format!("pcluster {name}"))
            .map_err(|why| Failure::refused(format!("no key can be made: {why}")))?;
        let placed = Self {
            name: name.to_owned(),
            cluster: hex(&id),
            region: region.to_owned(),
            account: account_of(user),
            public_key: key.public,
        };
        write_once(&placed.key_file(here)?, &key.private)?;
        let text = toml::to_string(&placed)
            .map_err(|error| Failure::refused(format!("cannot remember the head: {error}")))?;
        let head = "# Written by `pcluster up`: what the head's machine and volume are known by.\n";
        if write_once(&folder(here)?.join(format!("{name}.toml")), &(head.to_owned() + &text))? {
            return Ok(placed);
        }
        private::remove(&placed.key_file(here)?)?;
        Self::find(here, name)?.ok_or_else(|| Failure::refused("another `up` has begun, and ended"))
    }

    /// The private key to the machine.
    ///
    /// # Errors
    /// Without a home directory.
    pub fn key_file(&self, here: &Surroundings) -> Result<PathBuf, Failure> {
        Ok(folder(here)?.join(format!("{}-{}.key", self.name, self.cluster)))
    }

    /// Forgets it, and its key.
    ///
    /// # Errors
    /// A disk that refuses.
    pub fn forget(&self, here: &Surroundings) -> Result<(), Failure> {
        private::remove(&folder(here)?.join(format!("{}.toml", self.name)))?;
        private::remove(&self.key_file(here)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_begun_is_on_disk_with_a_key_that_nobody_else_reads() {
        let home = std::env::temp_dir().join(format!("pcluster-placed-{}", std::process::id()));
        let here = Surroundings { uid: 4242, home: Some(home.clone()), ..Default::default() };
        assert_eq!(Placed::find(&here, "lab").unwrap(), None);
        let placed = Placed::begin(&here, "lab", "us-east-1", "ana").unwrap();
        assert_eq!((placed.cluster.len(), placed.account.as_str()), (16, "ana"));
        assert_eq!(Placed::find(&here, "lab").unwrap(), Some(placed.clone()));
        let key = placed.key_file(&here).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY"));
        let again = Placed::begin(&here, "lab", "us-east-1", "ana").unwrap();
        assert_eq!(again, placed, "whoever is first");
        assert_eq!(fs::read_dir(home.join(".config/pcluster/placed")).unwrap().count(), 2);
        let other = Placed::begin(&here, "old", "us-east-1", "root").unwrap();
        assert!(other.cluster != placed.cluster && other.account == "pcluster");
        placed.forget(&here).unwrap();
        assert!(!key.exists() && Placed::find(&here, "lab").unwrap().is_none());
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn accounts_have_names_that_every_system_takes() {
        assert_eq!(account_of("Ana.Lima@lab"), "analimalab");
        assert_eq!(account_of("ana-2"), "ana-2");
        assert_eq!(account_of("2"), "pcluster");
        assert_eq!(account_of("root"), "pcluster");
    }
}
