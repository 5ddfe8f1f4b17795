//! Which host key is the right one.
use crate::{SshError, Target};
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{HashAlg, PublicKey};
use std::path::PathBuf;

/// What is known of a machine before it is spoken to.
#[derive(Debug, Clone)]
pub enum Trust {
    /// This key and no other, in OpenSSH's form: `ssh-ed25519 AAAA…`.
    Pinned(String),
    /// One that this file of known hosts has for the machine, or, where it has none, one with
    /// this fingerprint (`SHA256:…`) if there is one.
    Known { file: Option<PathBuf>, accept: Option<String> },
}

/// A key as people compare it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A key as it is kept: without its comment.
pub(crate) fn line(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    key.to_openssh().unwrap_or_default().trim().to_owned()
}

impl Trust {
    /// # Errors
    /// [`SshError::UnknownHost`] and [`SshError::ChangedHost`].
    pub(crate) fn judge(&self, target: &Target, shown: &PublicKey) -> Result<(), SshError> {
        let changed = |known: String| {
            Err(SshError::ChangedHost {
                target: target.clone(),
                fingerprint: fingerprint(shown),
                known,
            })
        };
        match self {
            Self::Pinned(known) if *known == line(shown) => Ok(()),
            Self::Pinned(known) => {
                changed(known.parse().map_or_else(|_| known.clone(), |key| fingerprint(&key)))
            }
            Self::Known { file, accept } => {
                let file = file.clone().unwrap_or_else(|| "/dev/null".into());
                // An unreadable line is a line that says nothing of this machine.
                let known =
                    known_host_keys_path(&target.host, target.port, file).unwrap_or_default();
                if known.iter().any(|(_, key)| line(key) == line(shown)) {
                    return Ok(());
                }
                if let Some((_, other)) =
                    known.iter().find(|(_, key)| key.algorithm() == shown.algorithm())
                {
                    return changed(fingerprint(other));
                }
                let fingerprint = fingerprint(shown);
                if accept.as_ref().is_some_and(|accept| *accept == fingerprint) {
                    return Ok(());
                }
                Err(SshError::UnknownHost { target: target.clone(), fingerprint })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn judged(trust: &Trust, shown: &str) -> Result<(), SshError> {
        trust.judge(&"ana@head:2222".parse().unwrap(), &shown.parse().unwrap())
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let trust = Trust::Pinned(KEY.into());
        assert!(judged(&trust, &format!("{KEY} root@head")).is_ok());
        assert!(matches!(judged(&trust, OTHER), Err(SshError::ChangedHost { .. })));
    }

    #[test]
    fn a_known_host_is_one_whose_key_the_file_has_and_a_changed_one_is_never_accepted() {
        let folder = std::env::temp_dir().join(format!("pcluster-known-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("known_hosts");
        fs::write(&file, format!("head {OTHER}\n[head]:2222 {KEY}\n")).unwrap();
        let known = |accept: Option<&str>| Trust::Known {
            file: Some(file.clone()),
            accept: accept.map(str::to_owned),
        };
        assert!(judged(&known(None), KEY).is_ok());
        let of = fingerprint(&OTHER.parse().unwrap());
        assert!(matches!(judged(&known(Some(&of)), OTHER), Err(SshError::ChangedHost { .. })));
        fs::write(&file, "").unwrap();
        let unknown = judged(&known(None), OTHER);
        assert!(
            matches!(unknown, Err(SshError::UnknownHost { fingerprint, .. }) if fingerprint == of)
        );
        assert!(judged(&known(Some(&of)), OTHER).is_ok());
        assert!(judged(&known(Some(&of)), KEY).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
