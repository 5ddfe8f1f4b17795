//! Money: every node-millisecond lands in exactly one bucket, and buckets add up to the bill.
//!
//! A meter sums milliseconds × share (parts per million of the machine) by day and bucket while
//! the node lives; it is priced once, when the provider says gone, by largest remainder, so that
//! the sum of buckets equals the span to the micro-dollar. Deliberately absent: floating point.
use crate::standing::Standing;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{DurationMs, JobId, MicroUsd, NodeId, PoolName, Price, Timestamp};
use serde::{Deserialize, Serialize};

/// Parts of a whole machine in a share.
pub const WHOLE: u64 = 1_000_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// Where a node-millisecond went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// Accepted by the provider and not yet ready.
    Boot,
    /// Free room on a node with a job.
    IdleBusy,
    /// An empty node.
    IdleEmpty,
    /// Draining, stopping, lost or failed.
    Drain,
    Job(JobId),
}

/// What a node is doing, as the meter sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Not billed yet.
    #[default]
    Off,
    Boot,
    Idle,
    Drain,
    /// Jobs by share of the machine in parts per million; with the state they run in.
    Jobs {
        shares: Vec<(JobId, u64)>,
        draining: bool,
    },
}

/// One line of a meter: day (since the epoch, in the head's zone), bucket, milliseconds × share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading(pub i32, pub Bucket, pub u64);

/// Milliseconds × share of one node, up to `at`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meter {
    /// Everything before is in `readings`.
    pub at: Timestamp,
    /// What goes on since.
    pub now: Use,
    /// Sorted by day and bucket.
    pub readings: Vec<Reading>,
}

impl Meter {
    /// Counts what went on up to `at`, split at midnights of the zone.
    pub fn advance(&mut self, at: Timestamp, zone_offset_ms: i64) {
        while self.at < at {
            let day = day_of(self.at, zone_offset_ms);
            let until = midnight(i64::from(day) + 1, zone_offset_ms).min(at);
            self.count(day, until.since(self.at));
            self.at = until;
        }
    }

    /// From `at` on this goes on.
    pub fn change(&mut self, at: Timestamp, zone_offset_ms: i64, to: Use) {
        self.advance(at, zone_offset_ms);
        self.at = self.at.max(at);
        self.now = to;
    }

    fn count(&mut self, day: i32, span: DurationMs) {
        match self.now.clone() {
            Use::Off => {}
            Use::Boot => self.add(day, Bucket::Boot, span.0 * WHOLE),
            Use::Idle => self.add(day, Bucket::IdleEmpty, span.0 * WHOLE),
            Use::Drain => self.add(day, Bucket::Drain, span.0 * WHOLE),
            Use::Jobs { shares, draining } => {
                let mut left = WHOLE;
                for (job, share) in scaled(&shares) {
                    self.add(day, Bucket::Job(job), span.0 * share);
                    left -= share;
                }
                let rest = if draining { Bucket::Drain } else { Bucket::IdleBusy };
                self.add(day, rest, span.0 * left);
            }
        }
    }

    fn add(&mut self, day: i32, bucket: Bucket, amount: u64) {
        if amount == 0 {
            return;
        }
        let key = (day, bucket);
        match self.readings.binary_search_by(|reading| (reading.0, reading.1).cmp(&key)) {
            Ok(at) => self.readings[at].2 = self.readings[at].2.saturating_add(amount),
            Err(at) => self.readings.insert(at, Reading(day, bucket, amount)),
        }
    }

    /// What the readings come to at `price` for a bill of `total`, summing to it exactly: parts are
    /// rounded down, then the largest remainders get one micro-dollar each.
    #[must_use]
    pub fn priced(&self, total: MicroUsd) -> Vec<Charge> {
        let sum: u128 = self.readings.iter().map(|reading| u128::from(reading.2)).sum();
        if sum == 0 || total.0 <= 0 {
            return self.readings.iter().map(|r| Charge(r.0, r.1, MicroUsd::ZERO)).collect();
        }
        let whole = u128::from(total.0.unsigned_abs());
        let mut charges = Vec::with_capacity(self.readings.len());
        let mut remainders = Vec::with_capacity(self.readings.len());
        let mut given = 0u128;
        for (at, reading) in self.readings.iter().enumerate() {
            let exact = whole * u128::from(reading.2);
            let floor = exact / sum;
            given += floor;
            remainders.push((exact % sum, at));
            let micro = i64::try_from(floor).unwrap_or(i64::MAX);
            charges.push(Charge(reading.0, reading.1, MicroUsd(micro)));
        }
        remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let missing = usize::try_from(whole - given).unwrap_or(0);
        for (_, at) in remainders.into_iter().take(missing) {
            charges[at].2 += MicroUsd(1);
        }
        charges
    }
}

/// Day number since the epoch in a zone.
#[must_use]
pub fn day_of(at: Timestamp, zone_offset_ms: i64) -> i32 {
    i32::try_from((at.0 + zone_offset_ms).div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

/// Where a day of a zone begins, as [`day_of`] numbers it.
#[must_use]
pub fn midnight(day: impl Into<i64>, zone_offset_ms: i64) -> Timestamp {
    Timestamp(day.into() * DAY_MS - zone_offset_ms)
}

/// Shares above a whole machine in sum are scaled down to it.
fn scaled(shares: &[(JobId, u64)]) -> Vec<(JobId, u64)> {
    let sum: u64 = shares.iter().map(|(_, share)| *share).sum();
    if sum <= WHOLE {
        return shares.to_vec();
    }
    shares.iter().map(|(job, share)| (*job, share * WHOLE / sum)).collect()
}

/// One line of a bill: day, bucket, amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge(pub i32, pub Bucket, pub MicroUsd);

/// The final bill of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub node: NodeId,
    pub name: String,
    pub pool: PoolName,
    pub shape: String,
    pub launched_at: Timestamp,
    pub ended_at: Timestamp,
    /// The provider no longer knew its end.
    #[serde(default)]
    pub estimated: bool,
    pub price: Option<Price>,
    /// What the provider bills: its time, at least its minimum, at `price`.
    pub total: MicroUsd,
    pub charges: Vec<Charge>,
    /// Boot time was paid for this launch.
    #[serde(default)]
    pub billed_ms: DurationMs,
}

/// The bill of a span: the provider's time or its minimum, whichever is longer.
#[must_use]
pub fn bill(
    launched_at: Timestamp,
    ended_at: Timestamp,
    minimum: DurationMs,
    price: Option<Price>,
) -> (DurationMs, MicroUsd) {
    let billed = ended_at.since(launched_at).max(minimum);
    (billed, price.unwrap_or_default().for_span(billed))
}

/// All closed spans, and what stands or stood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    pub spans: BTreeMap<NodeId, Span>,
    /// By the provider's name, then by the begin of each piece.
    pub standing: BTreeMap<(String, Timestamp), Standing>,
}

/// Sums of money by bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub job: MicroUsd,
    pub boot: MicroUsd,
    pub idle_busy: MicroUsd,
    pub idle_empty: MicroUsd,
    pub drain: MicroUsd,
}

impl Sums {
    pub fn add(&mut self, bucket: Bucket, amount: MicroUsd) {
        match bucket {
            Bucket::Job(_) => self.job += amount,
            Bucket::Boot => self.boot += amount,
            Bucket::IdleBusy => self.idle_busy += amount,
            Bucket::IdleEmpty => self.idle_empty += amount,
            Bucket::Drain => self.drain += amount,
        }
    }

    #[must_use]
    pub fn total(&self) -> MicroUsd {
        self.job + self.boot + self.idle_busy + self.idle_empty + self.drain
    }
}

/// First day of the calendar month that `day` is in, and of the next one (proleptic Gregorian;
/// algorithm: Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
#[must_use]
pub fn month_of(day: i32) -> (i32, i32) {
    let (year, month) = year_month(day);
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    (days_from_civil(year, month), days_from_civil(next.0, next.1))
}

/// Begin and end of the calendar month that `wall` is in, in a zone.
#[must_use]
pub fn month_span(wall: Timestamp, zone_offset_ms: i64) -> (Timestamp, Timestamp) {
    let (first, next) = month_of(day_of(wall, zone_offset_ms));
    (midnight(first, zone_offset_ms), midnight(next, zone_offset_ms))
}

fn year_month(day: i32) -> (i32, i32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i32::from(month <= 2), month)
}

fn days_from_civil(year: i32, month: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        // 1970-01-01, 2024-02-29 (19,782) and 2026-11-23 (20,780).
        assert_eq!(month_of(0), (0, 31));
        assert_eq!(month_of(19_782), (19_754, 19_783));
        assert_eq!(month_of(20_780), (20_758, 20_788));
    }

    proptest! {
        #[test]
        fn charges_sum_to_the_bill(
            steps in proptest::collection::vec((0u64..100_000_000, 0u8..5, 0u64..1_500_000), 1..40),
            price in 0i64..50_000_000,
        ) {
            let mut meter = Meter::default();
            let mut at = Timestamp(0);
            meter.change(at, 0, Use::Boot);
            for (span, what, share) in steps {
                at = at + DurationMs(span);
                let to = match what {
                    0 => Use::Idle,
                    1 => Use::Drain,
                    2 => Use::Boot,
                    _ => Use::Jobs {
                        shares: alloc::vec![(JobId(1), share), (JobId(2), share / 3)],
                        draining: what == 3,
                    },
                };
                meter.change(at, 3_600_000, to);
            }
            let counted: u128 = meter.readings.iter().map(|r| u128::from(r.2)).sum();
            prop_assert_eq!(counted, u128::from(at.0.unsigned_abs()) * u128::from(WHOLE));
            let (_, total) = bill(Timestamp(0), at, DurationMs::ZERO, Some(Price(price)));
            let sum: MicroUsd = meter.priced(total).iter().map(|c| c.2).sum();
            prop_assert_eq!(sum, if counted == 0 { MicroUsd::ZERO } else { total });
        }
    }
}
