//! Virtual machines of tests: what this machine needs for them, and a few at a time.
//!
//! Deliberately absent: what happens in them (`tests/it/vm`).
use crate::{Setup, not_run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Where images of tests lie: outside of every checkout, as they take a while to make.
#[must_use]
pub fn images() -> PathBuf {
    let told = std::env::var_os("PCLUSTER_IMAGES_DIR").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
    told.unwrap_or_else(|| {
        cache.unwrap_or_else(|| home.join(".cache")).join("pcluster-tests/images")
    })
}

/// The turn of a test that boots machines: translated ones take a whole processor each. Nothing, said
/// so, where none can be booted.
#[must_use]
pub fn turn() -> Option<MutexGuard<'static, ()>> {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !there("qemu-system-x86_64") {
        not_run("virtual machines: there is no qemu-system-x86_64");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A cluster of small machines that share the folder `shared` with the head.
#[must_use]
pub fn setup(compute: &str, shared: &Path, more: &str) -> Setup {
    let shared = format!("[storage]\nshared = \"{}\"\nlocal = \"1 GB\"\n", shared.display());
    Setup {
        compute: compute.to_owned(),
        provider: "vm".to_owned(),
        more: format!("{shared}[limits]\nroot_jobs = true\n{more}"),
        ..Setup::default()
    }
}

/// The compute line of machines that boot quickly.
#[must_use]
pub fn small(max: u32) -> String {
    format!("cpus = 1, memory = \"512 MB\", max = {max}")
}
