//! What is counted for everybody while it lasts: connections, streams, bytes of requests.
//!
//! Invariant: all together never hold more than there is, one never more than one may, and whoever
//! is refused holds nothing. A seat comes back by being dropped. Deliberately absent: waiting for
//! one (who is refused is told so and asks again).
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many there are, and of those how many each has. Cheap to clone.
#[derive(Debug)]
pub struct Seats<K> {
    of_all: usize,
    of_one: usize,
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
}

impl<K> Clone for Seats<K> {
    fn clone(&self) -> Self {
        Self { of_all: self.of_all, of_one: self.of_one, taken: Arc::clone(&self.taken) }
    }
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Whoever asks has as many as one may have.
    OfOne,
    /// Others have them.
    OfAll,
}

/// One or several seats, given back when it is dropped.
#[derive(Debug)]
pub struct Seat<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    who: K,
    number: usize,
}

impl<K: Ord + Clone> Seats<K> {
    /// `of_all` seats, of which nobody gets more than `of_one`.
    #[must_use]
    pub fn new(of_all: usize, of_one: usize) -> Self {
        Self { of_all, of_one, taken: Arc::default() }
    }

    /// A seat for `who`.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, who: K) -> Result<Seat<K>, Full> {
        self.take_many(who, 1)
    }

    /// As `take`, and leaves so many free that each of `sharers` can come to `kept` of them.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take_leaving(
        &self,
        who: K,
        sharers: impl IntoIterator<Item = K>,
        kept: usize,
    ) -> Result<Seat<K>, Full> {
        let mut taken = self.lock();
        let own = taken.get(&who).copied().unwrap_or(0);
        let missing = |sharer: K| kept.saturating_sub(taken.get(&sharer).copied().unwrap_or(0));
        let others = sharers.into_iter().filter(|sharer| own >= kept && *sharer != who);
        let owed = others.map(missing).sum();
        self.seat(&mut taken, who, 1, owed)
    }

    /// `number` of them at once, or none.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take_many(&self, who: K, number: usize) -> Result<Seat<K>, Full> {
        self.seat(&mut self.lock(), who, number, 0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(
        &self,
        taken: &mut BTreeMap<K, usize>,
        who: K,
        number: usize,
        left_free: usize,
    ) -> Result<Seat<K>, Full> {
        let own = taken.get(&who).copied().unwrap_or(0);
        if own.saturating_add(number) > self.of_one {
            return Err(Full::OfOne);
        }
        let all = taken.values().sum::<usize>();
        if all.saturating_add(number).saturating_add(left_free) > self.of_all {
            return Err(Full::OfAll);
        }
        taken.insert(who.clone(), own + number);
        Ok(Seat { taken: Arc::clone(&self.taken), who, number })
    }
}

impl<K: Ord> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = taken.get_mut(&self.who) else { return };
        *own -= self.number;
        if *own == 0 {
            // Who comes and goes leaves nothing.
            taken.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_and_all_come_back() {
        let seats = Seats::new(5, 3);
        let take = |who: u32| std::iter::from_fn(move || Some(who));
        let own: Vec<_> = take(1000).map_while(|who| seats.take(who).ok()).collect();
        assert_eq!((own.len(), seats.take(1000).unwrap_err()), (3, Full::OfOne));
        let others: Vec<_> = take(1001).map_while(|who| seats.take(who).ok()).collect();
        assert_eq!((others.len(), seats.take(1002).unwrap_err()), (2, Full::OfAll));
        drop((own, others));
        assert!(seats.taken.lock().unwrap().is_empty());
        assert!(seats.take(1002).is_ok());
    }

    #[test]
    fn who_asks_for_too_many_gets_none() {
        let seats = Seats::new(10, 8);
        let some = seats.take_many(1, 6).unwrap();
        assert_eq!(seats.take_many(1, 3).unwrap_err(), Full::OfOne);
        assert_eq!(seats.take_many(2, 5).unwrap_err(), Full::OfAll);
        let rest = seats.take_many(1, 2).unwrap();
        drop(some);
        assert_eq!(seats.taken.lock().unwrap().get(&1), Some(&2));
        drop(rest);
        assert!(seats.take_many(1, usize::MAX).is_err());
    }

    #[test]
    fn who_shares_leaves_the_others_theirs() {
        let seats = Seats::new(10, 9);
        let take = |who: u32| seats.take_leaving(who, 1..=3, 2);
        let first: Vec<_> = std::iter::from_fn(|| take(1).ok()).collect();
        assert_eq!((first.len(), take(1).unwrap_err()), (6, Full::OfAll));
        let second: Vec<_> = std::iter::from_fn(|| take(2).ok()).collect();
        let third: Vec<_> = std::iter::from_fn(|| take(3).ok()).collect();
        assert_eq!((second.len(), third.len()), (2, 2));
    }
}
