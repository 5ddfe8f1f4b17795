//! Commands as root of the machine.
//!
//! Invariant: no word of a caller is ever read as a command: each is quoted for the shell.
use crate::BootstrapError;
use flate2::Compression;
use flate2::write::GzEncoder;
use pcluster_ssh::Link;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;

const PUT: &str = include_str!("put.sh");

pub(crate) struct Remote<'a> {
    pub link: &'a Link,
}

/// One word of a shell's command line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn line(first: &str, words: &[&str]) -> String {
    words.iter().fold(first.to_owned(), |line, word| line + " " + &quoted(word))
}

/// In lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn packed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes)?;
    out.finish()
}

impl Remote<'_> {
    /// What a command of the account says.
    pub async fn plain(
        &self,
        step: &'static str,
        command: &str,
        input: Vec<u8>,
    ) -> Result<String, BootstrapError> {
        let ran = self.link.run(command, input).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if ran.code == Some(0) {
            return Ok(text(&ran.out));
        }
        let mut said = text(&ran.err);
        if said.trim().is_empty() {
            said = text(&ran.out);
        }
        if ran.code.is_none() && said.trim().is_empty() {
            said = "error: the connection ended in the middle of it".into();
        }
        Err(BootstrapError::Failed { step, said })
    }

    /// A script as root, with words of its own.
    pub async fn script(
        &self,
        step: &'static str,
        script: &str,
        words: &[&str],
    ) -> Result<String, BootstrapError> {
        let command = line("sudo -n sh -s --", words);
        self.plain(step, &command, script.as_bytes().to_vec()).await
    }

    /// A file of root's, whole or not at all.
    pub async fn put(
        &self,
        step: &'static str,
        to: &str,
        bytes: &[u8],
        mode: &str,
    ) -> Result<(), BootstrapError> {
        let packed = packed(bytes).map_err(|error| BootstrapError::Failed {
            step,
            said: format!("error: {to} cannot be packed: {error}"),
        })?;
        let command = line("sudo -n sh -c", &[PUT, "put", to, &sha256(bytes), mode]);
        self.plain(step, &command, packed).await.map(drop)
    }

    /// `HASH  NAME` of the files that are there.
    pub async fn hashes<'n>(
        &self,
        folder: &'n str,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<String>, BootstrapError> {
        let look =
            "cd \"$1\" 2>/dev/null || exit 0; shift; sha256sum -- \"$@\" 2>/dev/null || true";
        let mut words = vec![look, "look", folder];
        words.extend(names);
        let said = self.plain("the programs", &line("sudo -n sh -c", &words), Vec::new()).await?;
        Ok(said.lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(line("sh -s --", &["a b", "it's", "$(x)"]), r"sh -s -- 'a b' 'it'\''s' '$(x)'");
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
