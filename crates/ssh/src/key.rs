//! A key of its own for one head.
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

/// A private key and its public half, in OpenSSH's forms.
#[derive(Clone)]
pub struct NewKey {
    /// The text of a file like `~/.ssh/id_ed25519`: a secret.
    pub private: String,
    /// `ssh-ed25519 AAAA… COMMENT`, fit for `authorized_keys`.
    pub public: String,
}

impl NewKey {
    /// The Ed25519 key of 32 random bytes.
    ///
    /// # Errors
    /// None is known.
    pub fn of(seed: &[u8; 32], comment: &str) -> Result<Self, String> {
        let pair = KeypairData::from(Ed25519Keypair::from_seed(seed));
        let key = PrivateKey::new(pair, comment).map_err(|error| error.to_string())?;
        let private = key.to_openssh(LineEnding::LF).map_err(|error| error.to_string())?;
        let public = key.public_key().to_openssh().map_err(|error| error.to_string())?;
        Ok(Self { private: private.to_string(), public })
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_again_and_its_secret_is_not_shown() {
        let key = NewKey::of(&[7; 32], "pcluster lab").unwrap();
        assert!(
            key.public.starts_with("ssh-ed25519 AAAA") && key.public.ends_with(" pcluster lab")
        );
        let read = PrivateKey::from_openssh(&key.private).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), key.public);
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
