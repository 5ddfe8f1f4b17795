//! Open files: each task of a step and each connection of a job takes some, and the system's usual
//! limit is below that.
//!
//! Invariant: the hard limit stays, and whoever is started gets what there was before. Deliberately
//! absent: counting.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for all tasks of a large node and for all connections that an agent takes.
const FILES: u64 = 1 << 16;
/// The name of this limit in orders.
const NAME: &str = "nofile";

/// What the soft limit was; none: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before(pub Option<u64>);

/// Raises the soft limit as far as it may be.
#[must_use]
pub fn raise() -> Before {
    let now = getrlimit(Resource::Nofile);
    // Where it may not be raised, as many as there are must do.
    let _ = setrlimit(Resource::Nofile, raised(&now));
    Before(now.current)
}

fn raised(now: &Rlimit) -> Rlimit {
    let most = now.maximum.unwrap_or(u64::MAX);
    let current = now.current.map(|current| current.max(FILES.min(most)));
    Rlimit { current, maximum: now.maximum }
}

impl Before {
    /// Soft limits of something that is started: with this one, unless they have their own.
    #[must_use]
    pub fn among(self, limits: &[(String, Option<u64>)]) -> Vec<(String, Option<u64>)> {
        let mut all = limits.to_vec();
        if !all.iter().any(|(name, _)| name == NAME) {
            all.push((NAME.to_owned(), self.0));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_it_may_and_never_lowered() {
        let raised = |current, maximum| raised(&Rlimit { current, maximum }).current;
        assert_eq!(raised(Some(1024), Some(1 << 20)), Some(FILES));
        assert_eq!(raised(Some(1024), Some(4096)), Some(4096));
        assert_eq!(raised(Some(1 << 20), Some(1 << 20)), Some(1 << 20));
        assert_eq!(raised(None, None), None);
    }

    #[test]
    fn what_is_started_has_its_own_limit_or_the_one_before() {
        let own = [("nofile".to_owned(), Some(88))];
        assert_eq!(Before(Some(1024)).among(&own), own);
        let core = [("core".to_owned(), None)];
        let both = [core[0].clone(), ("nofile".to_owned(), Some(1024))];
        assert_eq!(Before(Some(1024)).among(&core), both);
    }
}
