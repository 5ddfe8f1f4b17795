//! Open files: each connection is one, and the system's usual limit is below the head's bounds.
//!
//! Invariant: the hard limit stays; jobs on the head's own machine start with what the head started
//! with. Deliberately absent: counting (the bounds of connections are in `limits`).
use crate::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to what the head may need, as far as it may; what it was.
#[must_use]
pub fn raise() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = raised(&before);
    let may = wanted.current.unwrap_or(u64::MAX);
    if may < limits::FILES {
        tracing::warn!(may, "fewer open files than the head can need: raise the hard limit");
    }
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
    before.current
}

fn raised(before: &Rlimit) -> Rlimit {
    let most = before.maximum.unwrap_or(u64::MAX);
    let current = before.current.map(|current| current.max(limits::FILES.min(most)));
    Rlimit { current, maximum: before.maximum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_it_may_and_never_lowered() {
        let raised = |current, maximum| {
            let after = raised(&Rlimit { current, maximum });
            assert_eq!(after.maximum, maximum);
            after.current
        };
        assert_eq!(raised(Some(1024), Some(1 << 20)), Some(limits::FILES));
        assert_eq!(raised(Some(1024), None), Some(limits::FILES));
        assert_eq!(raised(Some(1024), Some(4096)), Some(4096));
        assert_eq!(raised(Some(1 << 20), Some(1 << 20)), Some(1 << 20));
        assert_eq!(raised(None, None), None);
    }
}
