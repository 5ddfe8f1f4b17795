//! Chance from a seed, so that what a storm did can be done again.
//!
//! Invariant: the same seed gives the same draws. What the programs make of them depends on their
//! timing all the same. Deliberately absent: the simulator's own chance, which is another stream.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stream of draws (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// From the [`seed`] of this variable.
    ///
    /// # Panics
    /// When the variable is no number.
    #[must_use]
    pub fn from_env(variable: &str, what: &str) -> Self {
        Self::new(seed(variable, what))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Another stream of the same seed, for somebody who draws at their own pace.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self::new(self.next())
    }

    /// From 0 up to, not including, `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// One of several.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        &of[at]
    }

    /// A time below this one.
    pub fn time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A seed from the variable, else another one each time; said, so that it can be given again.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn seed(variable: &str, what: &str) -> u64 {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let seed = given.map_or_else(by_the_clock, |text| text.parse().expect("a seed is a number"));
    println!("{what}: {variable}={seed}");
    seed
}

fn by_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis() % 1_000_000).unwrap_or(0)
}
