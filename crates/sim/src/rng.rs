//! The one source of chance of a world: a seeded ChaCha8 stream.
//!
//! Invariant: the same seed gives the same draws on every machine. Deliberately absent: any other
//! source of randomness, floating point.
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Chances are parts of this many.
pub const OF: u32 = 10_000;

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of a seed; `stream` keeps independent choices apart.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Another stream of the same seed, from its beginning: draws that disturb no others.
    #[must_use]
    pub fn aside(&self, stream: u64) -> Self {
        let mut rng = self.0.clone();
        rng.set_stream(stream);
        rng.set_word_pos(0);
        Self(rng)
    }

    /// A number from 0 up to, not including, `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // The bias of a plain remainder is below 2^-40 for the small ranges used here.
        self.0.next_u64() % n
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// As `between`, for small numbers.
    pub fn small(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.between(u64::from(low), u64::from(high))).unwrap_or(high)
    }

    /// True in `parts` of `OF` cases; never draws when `parts` is 0.
    pub fn chance(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(u64::from(OF)) < u64::from(parts)
    }

    /// One of several, `None` of nothing.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(at)
    }
}
