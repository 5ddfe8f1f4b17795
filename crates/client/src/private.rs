//! Small files of this user's own, and random numbers for what is in them.
//!
//! Invariant: a file is there whole or not at all, and readable by its user only.
use crate::failure::Failure;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Writes a file in one step, in the place of what was there.
///
/// # Errors
/// A disk that refuses.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let write = || fs::rename(draft(file, text)?, file);
    write().map_err(|error| refused("write", file, &error))
}

/// The same where there is no such file; false where there is one.
///
/// # Errors
/// A disk that refuses.
pub fn write_once(file: &Path, text: &str) -> Result<bool, Failure> {
    let write = || {
        let draft = draft(file, text)?;
        let linked = fs::hard_link(&draft, file);
        fs::remove_file(&draft)?;
        linked
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(refused("write", file, &error)),
    }
}

/// Removes a file; false where there is none.
///
/// # Errors
/// A disk that refuses.
pub fn remove(file: &Path) -> Result<bool, Failure> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(refused("remove", file, &error)),
    }
}

fn draft(file: &Path, text: &str) -> io::Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let draft = file.with_extension(format!("new-{}", std::process::id()));
    let mut open = fs::OpenOptions::new();
    let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    Ok(draft)
}

fn refused(what: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("cannot {what} {}: {error}", file.display()))
}

/// Numbers that nobody guesses; at most 256 bytes, which the system gives at once.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0u8; N];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Failure::refused(format!("no random number: {error}")))?;
    Ok(bytes)
}

/// Two digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
