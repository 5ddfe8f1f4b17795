//! What stands in the scripts of many tests' jobs: they wait until they may go on, say when two of
//! them live at once, and say that they begin and end.
//!
//! Invariant: whatever a job says is a line of a file in the work folder. Deliberately absent: what
//! only one scenario's jobs do.

/// Waits until there is a file of this name: [`crate::Cluster::touch`] makes it.
#[must_use]
pub fn gate(file: &str) -> String {
    format!("while [ ! -e {file} ]; do sleep 0.05; done")
}

/// Says in `twice` that somebody with the same lock is alive, and goes on: a lock dies with its last
/// holder, so that all that a job leaves behind counts.
#[must_use]
pub fn alone(lock: &str) -> String {
    format!("exec 9>>{lock}; flock -n 9 || echo twice >>twice")
}

/// As [`alone`], and ends with 99 then.
#[must_use]
pub fn alone_or_99(lock: &str) -> String {
    format!("exec 9>>{lock}; flock -n 9 || {{ echo twice >>twice; exit 99; }}")
}

/// Alone, and says in `starts` that it begins.
#[must_use]
pub fn start_alone() -> String {
    format!("{}; echo start >>starts", alone_or_99("lock"))
}

/// Says its name in `starts`, waits for `go-NAME`, says its name in `ends` and ends with this code.
#[must_use]
pub fn gated(name: &str, code: u8) -> String {
    let wait = gate(&format!("go-{name}"));
    format!("echo {name} >>starts; {wait}; echo {name} >>ends; exit {code}")
}
