//! Which file a program is started from, when an upgrade replaces files under those that run.
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// The running file, whatever has become of its path.
pub const OWN: &str = "/proc/self/exe";

/// What an upgrade has put in the place of this program; `None` while nothing has.
#[must_use]
pub fn replaced() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let path = PathBuf::from(own.to_str()?.strip_suffix(" (deleted)")?);
    path.is_file().then_some(path)
}

/// This program's file, or the one that an upgrade has put in its place.
///
/// # Errors
/// When `/proc` does not tell.
pub fn current() -> Result<PathBuf> {
    let own = || std::env::current_exe().context("cannot find the agent's own path");
    replaced().map_or_else(own, Ok)
}
