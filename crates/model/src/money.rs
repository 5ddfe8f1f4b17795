//! Money as integers: micro-dollars. A cent is 10,000; an `i64` holds nine trillion dollars.
//!
//! Deliberately absent: floating point, currencies other than USD (the catalogues are in USD).
use crate::time::DurationMs;
use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Neg, Sub};
use serde::{Deserialize, Serialize};

/// An amount in millionths of a US dollar.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

/// A price per hour, in millionths of a US dollar per hour.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Price(pub i64);

/// List price of block storage (EBS gp3, us-east-1) for one GB and month.
pub const STORAGE_GB_MONTH: MicroUsd = MicroUsd(80_000);

impl MicroUsd {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        let left = self.0.saturating_sub(other.0);
        Self(if left < 0 { 0 } else { left })
    }
}

impl Price {
    pub const ZERO: Self = Self(0);

    /// What `span` costs at this price, rounded up to the next micro-dollar: a bound is never
    /// below the bill.
    #[must_use]
    pub fn for_span(self, span: DurationMs) -> MicroUsd {
        let product = i128::from(self.0) * i128::from(span.0);
        let micro = (product + 3_599_999) / 3_600_000;
        MicroUsd(i64::try_from(micro).unwrap_or(i64::MAX))
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sub for MicroUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
impl Neg for MicroUsd {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}
impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

fn write_dollars(f: &mut fmt::Formatter<'_>, micro: i64) -> fmt::Result {
    let sign = if micro < 0 { "-" } else { "" };
    let cents = (micro.unsigned_abs() + 5_000) / 10_000;
    if cents == 0 && micro != 0 {
        return write!(f, "<{sign}$0.01");
    }
    let dollars = cents / 100;
    write!(f, "{sign}$")?;
    if dollars >= 1000 {
        write!(f, "{},{:03}", dollars / 1000, dollars % 1000)?;
    } else {
        write!(f, "{dollars}")?;
    }
    write!(f, ".{:02}", cents % 100)
}

/// `$1.05`, `<$0.01` for what is not nothing, `$12,345.00`.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dollars(f, self.0)
    }
}

/// Up to six decimals, at least two: `$0.68/h`, `$0.0832/h`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, mut rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let mut digits = 6;
        while digits > 2 && rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        write!(f, "${dollars}.{rest:0digits$}/h")
    }
}
