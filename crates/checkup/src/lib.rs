//! What `doctor` looks at on the machine of a head, whatever its providers are: the machine itself, the
//! state, shared paths, and the port that nodes dial.
//!
//! Invariant: nothing is changed, and nothing that does not answer is waited for longer than
//! [`PATIENCE`]. Every finding that needs somebody says what to do. Deliberately absent: providers
//! (`pcluster_providers::checkup`), the head's own view of its nodes, and how findings are shown.
mod door;
mod machine;
mod paths;
mod state;

pub use door::{Dialled, doors};
pub use machine::{Machine, machine};
pub use paths::{servers, shared};
pub use state::state;

use std::sync::mpsc;
use std::time::Duration;

/// What has not answered after this does not answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The answer of something that may hang for ever, in a thread of its own; nothing, if it does.
fn within<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let asking = std::thread::Builder::new().name("checkup".into()).spawn(move || {
        // Nobody may be waiting any more.
        drop(tell.send(ask()));
    });
    asking.ok()?;
    told.recv_timeout(PATIENCE).ok()
}

/// `0 MB`, `512 MB`, `20 GB`.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GB", b >> 30),
        b if b >= 1 << 30 => format!("{}.{} GB", b >> 30, ((b & ((1 << 30) - 1)) * 10) >> 30),
        b => format!("{} MB", b >> 20),
    }
}

/// Free bytes for this user where a path is, or would be.
fn free_at(path: &std::path::Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let seen = rustix::fs::statvfs(there).ok()?;
    Some(seen.f_bavail.saturating_mul(seen.f_frsize))
}

/// An error without the number that the standard library adds.
fn plain(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let said = [0, 600 << 20, (3 << 30) + (700 << 20), 20 << 30].map(size);
        assert_eq!(said, ["0 MB", "600 MB", "3.6 GB", "20 GB"]);
    }

    #[test]
    fn what_answers_is_heard() {
        assert_eq!(within(|| 7), Some(7));
    }
}
