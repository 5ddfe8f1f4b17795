//! How often everybody may make what is kept for ever.
//!
//! Invariant: whoever did nothing for long may do many at once, and from then on one in each
//! interval; nobody's use is another's. Deliberately absent: a clock, and waiting (clients ask
//! again).
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One rate, for everybody apart: users by their number, or others by theirs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rates<K = u32> {
    every: Duration,
    at_once: u32,
    /// When each has nothing left to make up for; users without an entry have not.
    even_at: Arc<Mutex<BTreeMap<K, Instant>>>,
}

impl<K: Ord> Rates<K> {
    /// One each `every`, and `at_once` of them after a pause.
    #[must_use]
    pub fn new(every: Duration, at_once: u32) -> Self {
        Self { every, at_once, even_at: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Instant>> {
        self.even_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of this user.
    ///
    /// # Errors
    /// How long it is until the next one may be.
    pub fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut even_at = self.lock();
        even_at.retain(|_, at| *at > now);
        let after = even_at.get(&who).copied().unwrap_or(now) + self.every;
        let early = after.saturating_duration_since(now + self.every * self.at_once);
        if !early.is_zero() {
            return Err(early);
        }
        even_at.insert(who, after);
        Ok(())
    }

    /// What was taken came to nothing.
    pub fn give_back(&self, who: K) {
        if let Some(at) = self.lock().get_mut(&who) {
            *at -= self.every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rates: &Rates, who: u32, now: Instant) -> usize {
        (0..100_000).take_while(|_| rates.take(who, now).is_ok()).count()
    }

    #[test]
    fn many_at_once_then_one_at_a_time_and_each_user_apart() {
        let rates = Rates::new(Duration::from_millis(20), 100);
        let now = Instant::now();
        assert_eq!(taken(&rates, 1000, now), 100);
        assert_eq!(rates.take(1000, now), Err(Duration::from_millis(20)));
        assert!(rates.take(1001, now).is_ok());
        let now = now + Duration::from_millis(40);
        assert_eq!(taken(&rates, 1000, now), 2);
        rates.give_back(1000);
        assert_eq!(taken(&rates, 1000, now), 1);
        let now = now + Duration::from_secs(60);
        assert!(rates.take(1002, now).is_ok());
        assert_eq!(rates.lock().len(), 1, "who made up for everything is forgotten");
        assert_eq!(taken(&rates, 1000, now), 100, "and no more is saved up");
    }
}
