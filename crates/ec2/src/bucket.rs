//! How often an action may be called: a bucket of our own, and a rest after EC2 has said "too often".
//!
//! Invariant: time is given, so the same calls at the same times are answered alike. Deliberately absent:
//! waiting.
use crate::action::{Action, Rate};
use std::collections::BTreeMap;

const FIRST_REST_MS: u64 = 1_000;
const LONGEST_REST_MS: u64 = 60_000;

/// The buckets of all actions; milliseconds on any steady clock.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<Action, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Thousandths of a call.
    level: u64,
    at: u64,
    rest_until: u64,
    rest: u64,
}

impl Buckets {
    /// Takes a call; else in how many milliseconds one may be there.
    pub fn take(&mut self, action: Action, now: u64) -> Result<(), u64> {
        let Rate { burst, per_second } = action.rate();
        let full = u64::from(burst) * 1000;
        let bucket = self.bucket(action, now);
        if now < bucket.rest_until {
            return Err(bucket.rest_until - now);
        }
        let passed = now.saturating_sub(bucket.at);
        bucket.level = (bucket.level + passed.saturating_mul(u64::from(per_second))).min(full);
        bucket.at = bucket.at.max(now);
        if bucket.level >= 1000 {
            bucket.level -= 1000;
            return Ok(());
        }
        Err((1000 - bucket.level).div_ceil(u64::from(per_second)))
    }

    /// EC2 said "too often": nothing for a while, twice as long each time in a row. How long.
    pub fn refused(&mut self, action: Action, now: u64) -> u64 {
        let bucket = self.bucket(action, now);
        bucket.rest = (bucket.rest * 2).clamp(FIRST_REST_MS, LONGEST_REST_MS);
        bucket.rest_until = now + bucket.rest;
        bucket.level = 0;
        bucket.rest
    }

    /// EC2 has answered.
    pub fn answered(&mut self, action: Action, now: u64) {
        self.bucket(action, now).rest = 0;
    }

    /// How long the rest still takes.
    pub fn rest(&mut self, action: Action, now: u64) -> u64 {
        self.bucket(action, now).rest_until.saturating_sub(now)
    }

    fn bucket(&mut self, action: Action, now: u64) -> &mut Bucket {
        let level = u64::from(action.rate().burst) * 1000;
        self.0.entry(action).or_insert(Bucket { level, at: now, rest_until: 0, rest: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let mut buckets = Buckets::default();
        let run = Action::RunInstances;
        for _ in 0..4 {
            assert_eq!(buckets.take(run, 0), Ok(()));
        }
        assert_eq!(buckets.take(run, 0), Err(500));
        assert_eq!(buckets.take(run, 499), Err(1));
        assert_eq!(buckets.take(run, 500), Ok(()));
        assert_eq!(buckets.take(run, 500), Err(500));
        // Others have their own; an hour fills it to the brim and not more.
        assert_eq!(buckets.take(Action::DescribeInstances, 500), Ok(()));
        let later = 3_600_000;
        let taken = (0..10).filter(|_| buckets.take(run, later).is_ok()).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn too_often_rests_longer_each_time() {
        let mut buckets = Buckets::default();
        let list = Action::DescribeInstances;
        assert_eq!(buckets.refused(list, 0), 1000);
        assert_eq!(buckets.take(list, 0), Err(1000));
        assert_eq!(buckets.refused(list, 1000), 2000);
        for _ in 0..10 {
            buckets.refused(list, 3000);
        }
        assert_eq!(buckets.take(list, 3000), Err(60_000));
        // It begins empty, and the next refusal is a first one again.
        assert!(buckets.take(list, 63_100).is_ok());
        buckets.answered(list, 63_100);
        assert_eq!(buckets.refused(list, 63_100), 1000);
    }
}
