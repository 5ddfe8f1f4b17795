//! How often each user may make what is kept for ever: steps are events, and their rows stay.
//!
//! Invariant: whoever did nothing for long may do many at once, and from then on one in each
//! interval; nobody's use is another's. Deliberately absent: waiting (clients ask again), and
//! anything of it on disk.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// One rate, for every user apart. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rates {
    every: Duration,
    at_once: u32,
    /// When each has nothing left to make up for; users without an entry have not.
    even_at: Arc<Mutex<BTreeMap<u32, Instant>>>,
}

impl Rates {
    /// One each `every`, and `at_once` of them after a pause.
    #[must_use]
    pub fn new(every: Duration, at_once: u32) -> Self {
        Self { every, at_once, even_at: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Instant>> {
        self.even_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of this user.
    ///
    /// # Errors
    /// How long it is until the next one may be.
    pub fn take(&self, uid: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let mut even_at = self.lock();
        even_at.retain(|_, at| *at > now);
        let after = even_at.get(&uid).copied().unwrap_or(now) + self.every;
        let early = after.saturating_duration_since(now + self.every * self.at_once);
        if !early.is_zero() {
            return Err(early);
        }
        even_at.insert(uid, after);
        Ok(())
    }

    /// What was taken came to nothing.
    pub fn give_back(&self, uid: u32) {
        if let Some(at) = self.lock().get_mut(&uid) {
            *at -= self.every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn taken(rates: &Rates, uid: u32) -> usize {
        (0..100_000).take_while(|_| rates.take(uid).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_then_one_at_a_time_and_each_user_apart() {
        let rates = Rates::new(Duration::from_millis(20), 100);
        assert_eq!(taken(&rates, 1000), 100);
        assert_eq!(rates.take(1000), Err(Duration::from_millis(20)));
        assert!(rates.take(1001).is_ok());
        tokio::time::advance(Duration::from_millis(40)).await;
        assert_eq!(taken(&rates, 1000), 2);
        rates.give_back(1000);
        assert_eq!(taken(&rates, 1000), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(rates.take(1002).is_ok());
        assert_eq!(rates.lock().len(), 1, "who made up for everything is forgotten");
        assert_eq!(taken(&rates, 1000), 100, "and no more is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_of_a_thousand_steps_a_minute_never_waits() {
        let rates = Rates::new(limits::STEP_EVERY, limits::STEPS_AT_ONCE);
        for _ in 0..60 {
            // All of a minute's steps in its first moment.
            assert!((0..1000).all(|_| rates.take(1000).is_ok()));
            tokio::time::advance(Duration::from_secs(60)).await;
        }
    }
}
