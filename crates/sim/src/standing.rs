//! What stands whether or not there is work, from the fourth edition of scenarios on: the head's machine and a
//! disk, as the provider has and bills them.
//!
//! Invariant: worlds without them are the worlds of before; the bill is computed here, from the provider's own
//! times. Deliberately absent: what the head makes of it (the core).
use crate::faults::Kind;
use crate::hands::Call;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::world::{What, World};
use pcluster_core::input::ProviderSaid;
use pcluster_core::standing::{Standing, StandingKind};
use pcluster_model::{DurationMs, Price, Timestamp};

/// A head asks at its start, again after this, and then every five minutes.
const SECOND_MS: u64 = 75_000;
const EVERY_MS: u64 = 300_000;
const MINIMUM_MS: i64 = 60_000;

/// One thing that stands or stood. Times are the provider's.
#[derive(Debug, Clone)]
pub struct Thing {
    pub name: String,
    pub kind: StandingKind,
    /// Micro-dollars per hour.
    pub price: i64,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

impl Thing {
    /// What it has cost, by the provider's clock.
    #[must_use]
    pub fn bill(&self, clock: Timestamp) -> i64 {
        let until = self.until.unwrap_or(clock);
        let span = (until.0 - self.since.0).max(MINIMUM_MS);
        let whole = i128::from(self.price) * i128::from(span);
        i64::try_from((whole + 3_599_999) / 3_600_000).unwrap_or(i64::MAX)
    }
}

/// All of them, and for how long a machine that has ended is told of.
#[derive(Debug, Default)]
pub struct Things {
    pub all: Vec<Thing>,
    told_for_ms: i64,
}

impl Things {
    /// Those of a world; scenarios before the fourth edition have none.
    #[must_use]
    pub fn of(edition: u32, rng: &mut Rng, clock: Timestamp) -> Self {
        if edition < 4 { Self::default() } else { Self::draw(rng, clock) }
    }

    /// Those of a world: none, or a head's machine and a disk that were there before the head.
    fn draw(rng: &mut Rng, clock: Timestamp) -> Self {
        if !rng.chance(6_000) {
            return Self::default();
        }
        let before = |rng: &mut Rng, most| i64::try_from(rng.between(1_000, most)).unwrap_or(0);
        let disk = Thing {
            name: "disk-0".into(),
            kind: StandingKind::Storage,
            price: i64::from(rng.small(1, 900)),
            // Days and months of before are none of the ledger's gaps.
            since: Timestamp(clock.0 - before(rng, 40 * 86_400_000)),
            until: None,
        };
        let head = Thing {
            name: "head-0".into(),
            kind: StandingKind::Head,
            price: i64::from(rng.small(1, 900)),
            since: Timestamp(clock.0 - before(rng, 600_000)),
            until: None,
        };
        let told_for_ms = if rng.chance(3_000) { 0 } else { 3_600_000 };
        Self { all: vec![disk, head], told_for_ms }
    }

    /// One takes the place of the one of its kind that stands.
    fn replace(&mut self, kind: StandingKind, until: Timestamp, since: Timestamp) {
        let count = self.all.len();
        let Some(old) = self.all.iter_mut().find(|it| it.kind == kind && it.until.is_none()) else {
            return;
        };
        old.until = Some(until.max(old.since));
        let stem = old.name.split('-').next().unwrap_or_default();
        let new = Thing { name: format!("{stem}-{count}"), since, until: None, ..old.clone() };
        self.all.push(new);
    }

    /// What the provider tells: a disk that is gone is told no more, a machine for a while.
    fn told(&self, clock: Timestamp) -> Vec<Standing> {
        let is_told = |thing: &&Thing| match (thing.kind, thing.until) {
            (_, None) => true,
            (StandingKind::Storage, Some(_)) => false,
            (StandingKind::Head, Some(until)) => until.0 + self.told_for_ms > clock.0,
        };
        let all = self.all.iter().filter(is_told);
        all.map(|thing| Standing {
            reference: thing.name.clone(),
            kind: thing.kind,
            label: format!("of {}", thing.name),
            provider: crate::scenario::provider(),
            price: Some(Price(thing.price)),
            minimum_billing_ms: DurationMs::from_secs(60),
            since: thing.since,
            until: thing.until,
            estimated: false,
        })
        .collect()
    }
}

impl World {
    /// A head that has just started begins to ask.
    pub fn head_will_ask_what_stands(&mut self, life: u32) {
        if !self.things.all.is_empty() {
            self.after(0, What::StandingDue { life, nth: 0 });
        }
    }

    /// It is time to ask what stands.
    pub fn head_asks_what_stands(&mut self, life: u32, nth: u32) {
        let now = self.now;
        let Some(head) = self.head.as_ref().filter(|head| head.life == life) else { return };
        let (asleep, asked_at) = (head.asleep, head.steady(now));
        let pause = if nth == 0 { SECOND_MS } else { EVERY_MS };
        self.after(pause, What::StandingDue { life, nth: nth + 1 });
        if !asleep {
            let delay = self.rng.between(20, 300);
            self.after(delay, What::Call(Call::Standing { life, asked_at }));
        }
    }

    /// The call reaches the provider; one that fails is as none.
    pub fn standing_call(&mut self, life: u32, asked_at: Timestamp) {
        if self.now < self.cloud.throttled_until || self.strikes(Kind::ListFail) {
            return;
        }
        let clock = self.cloud.clock(self.now);
        let mut found = self.things.told(clock);
        if self.plant == Plant::YoungHead {
            let heads = found.iter_mut().filter(|it| it.kind == StandingKind::Head);
            heads.for_each(|it| it.since = Timestamp(clock.0 - 1));
        }
        let provider = crate::scenario::provider();
        let said = Box::new(ProviderSaid::Standing { provider, asked_at, found });
        let delay = self.rng.between(20, 1_500);
        self.after(delay, What::Answer { life, said });
    }

    /// The head comes up on another machine after `down_ms`, sometimes with another disk.
    pub fn head_moves(&mut self, down_ms: u64) {
        if self.things.all.is_empty() || !self.strikes(Kind::HeadMoves) {
            return;
        }
        let gone = self.rng.between(0, down_ms);
        let end = self.cloud.clock(self.now + DurationMs(gone));
        let begin = self.cloud.clock(self.now + DurationMs(down_ms));
        self.things.replace(StandingKind::Head, end, begin);
        if self.rng.chance(3_000) {
            self.things.replace(StandingKind::Storage, end, begin);
        }
    }
}
