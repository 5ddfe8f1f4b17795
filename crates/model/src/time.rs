//! Time as numbers: milliseconds since the Unix epoch, and spans of milliseconds.
//!
//! Deliberately absent: a clock. Whoever needs the time is given it.
use core::fmt;
use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970-01-01 UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A span of time in milliseconds, never negative.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

impl DurationMs {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self(minutes * 60_000)
    }

    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours * 3_600_000)
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl Timestamp {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<DurationMs> for Timestamp {
    type Output = Self;
    fn add(self, span: DurationMs) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl Sub<DurationMs> for Timestamp {
    type Output = Self;
    fn sub(self, span: DurationMs) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }
}

impl Add for DurationMs {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Compact and exact enough to read: `0:48`, `12:31`, `1:02:00`, `2-03:04:05`.
impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let (days, hours, minutes, rest) =
            (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        if days > 0 {
            write!(f, "{days}-{hours:02}:{minutes:02}:{rest:02}")
        } else if hours > 0 {
            write!(f, "{hours}:{minutes:02}:{rest:02}")
        } else {
            write!(f, "{minutes}:{rest:02}")
        }
    }
}
