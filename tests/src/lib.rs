//! The harness of the scenarios: real binaries, a folder of its own for each cluster, and the proof
//! that nothing is left of it.
//!
//! Invariant: whatever way a test ends, every process of its clusters is ended by its id and every
//! file removed. Nothing is killed by name, and nothing outside the test's own folder is touched but
//! what the product itself puts elsewhere (scratch directories, control groups, root's socket), which
//! carries the cluster's id or name. Deliberately absent: the scenarios (`tests/it`).
pub mod bins;
pub mod clients;
pub mod cloud;
pub mod cluster;
pub mod crowd;
pub mod dice;
pub mod disk;
pub mod golden;
pub mod inner;
pub mod knife;
pub mod memory;
pub mod meter;
pub mod net;
pub mod orders;
pub mod people;
pub mod procs;
pub mod proxy;
pub mod pty;
pub mod said;
pub mod scripts;
pub mod sshd;
pub mod vms;

pub use cluster::{Cluster, Setup};
pub use said::Said;

use std::time::{Duration, Instant};

/// Longer than anything takes here on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
///
/// # Panics
/// When it has not after [`PATIENCE`].
pub fn until<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, done) {
        Some(found) => found,
        None => panic!("{what} has not come within {} s", PATIENCE.as_secs()),
    }
}

/// Waits until `done` gives something, for at most `patience`.
pub fn within<T>(patience: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = done() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(60));
    }
}

/// Something this machine lacks: says so, and fails where everything must be tested (`CI` is set).
///
/// # Panics
/// When `CI` is set.
pub fn not_run(what: &str) {
    println!("NOT RUN: {what}");
    let must = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!must, "CI is set, so this must run: {what}");
}

/// As [`not_run`], for what no preparation of the machine can give.
pub fn skip(what: &str) {
    println!("NOT RUN: {what}");
}

/// The repository's top folder.
#[must_use]
pub fn repository() -> std::path::PathBuf {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
