//! What stands whether or not there is work: the head's own machine and its storage.
//!
//! Invariant: a piece bills from `since` to `until`, the provider's own times; pieces of one thing never overlap.
//! What a day or a month has of it is the difference of two sums, so all parts add up to the whole, to the
//! micro-dollar. Deliberately absent: who makes them and who ends them.
use crate::Cluster;
use crate::decide::Decision;
use crate::event::Event;
use crate::ledger::{Ledger, month_span};
use crate::rows::RowKey;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::{DurationMs, MicroUsd, Price, Timestamp};
use serde::{Deserialize, Serialize};

/// What a thing that stands is for: its line in the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingKind {
    Head,
    Storage,
}

/// A time in which one thing stood at one price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The provider's name of it.
    pub reference: String,
    pub kind: StandingKind,
    /// `t3.large`, `500 GB gp3`.
    pub label: String,
    pub provider: ProviderKind,
    /// Per hour; `None` when nobody knows it.
    pub price: Option<Price>,
    /// The provider bills at least this much of it.
    #[serde(default)]
    pub minimum_billing_ms: DurationMs,
    /// The provider's time, unless the piece before ended later.
    pub since: Timestamp,
    /// `None` while it stands.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// The provider no longer knew its end.
    #[serde(default)]
    pub estimated: bool,
}

impl Standing {
    /// What it has cost up to `at`, wall clock.
    #[must_use]
    pub fn sum(&self, at: Timestamp) -> MicroUsd {
        if at <= self.since {
            return MicroUsd::ZERO;
        }
        let end = self.until.map_or(at, |until| until.min(at));
        let billed = end.since(self.since).max(self.minimum_billing_ms);
        self.price.unwrap_or_default().for_span(billed)
    }

    /// What it costs from one moment to another.
    #[must_use]
    pub fn between(&self, from: Timestamp, to: Timestamp) -> MicroUsd {
        self.sum(to) - self.sum(from)
    }

    fn ended(&self, until: Timestamp, estimated: bool) -> Event {
        let until = Some(until.max(self.since));
        Event::StandingSeen { standing: Box::new(Self { until, estimated, ..self.clone() }) }
    }

    /// A further piece of the same thing: its minimum is paid.
    fn going_on(&self, since: Timestamp) -> Event {
        let standing = Self { since, minimum_billing_ms: DurationMs::ZERO, ..self.clone() };
        Event::StandingSeen { standing: Box::new(standing) }
    }

    fn seen(&self) -> Event {
        Event::StandingSeen { standing: Box::new(self.clone()) }
    }
}

impl Ledger {
    /// The last piece of a thing.
    fn last_piece(&self, reference: &str) -> Option<&Standing> {
        let first = (String::from(reference), Timestamp(i64::MIN));
        let last = (String::from(reference), Timestamp(i64::MAX));
        self.standing.range(first..=last).next_back().map(|(_, piece)| piece)
    }

    /// What everything that stands costs from one moment to another.
    #[must_use]
    pub fn standing_between(&self, from: Timestamp, to: Timestamp) -> MicroUsd {
        self.standing.values().map(|piece| piece.between(from, to)).sum()
    }
}

impl Cluster {
    /// What stands has cost this month up to `now`, and what it will cost until the month's end.
    #[must_use]
    pub fn standing_this_month(&self, now: Timestamp) -> (MicroUsd, MicroUsd) {
        let wall = self.wall(now);
        let (first, next) = month_span(wall, self.zone_offset_ms());
        let ledger = &self.ledger;
        (ledger.standing_between(first, wall), ledger.standing_between(wall, next))
    }

    /// What there is of a kind has cost this month, and costs in an hour.
    #[must_use]
    pub fn standing_of(&self, kind: StandingKind, now: Timestamp) -> (MicroUsd, Price) {
        let wall = self.wall(now);
        let (first, _) = month_span(wall, self.zone_offset_ms());
        let pieces = || self.ledger.standing.values().filter(|piece| piece.kind == kind);
        let open = pieces().filter(|piece| piece.until.is_none());
        let price = open.map(|piece| piece.price.unwrap_or_default().0).sum();
        (pieces().map(|piece| piece.between(first, wall)).sum(), Price(price))
    }

    /// The provider has told everything that stands. `asked_at`: steady time.
    pub(crate) fn decide_standing(
        &self,
        now: Timestamp,
        provider: &ProviderKind,
        asked_at: Timestamp,
        found: &[Standing],
    ) -> Decision {
        let mut events: Vec<Event> =
            found.iter().flat_map(|told| self.standing_events(now, told)).collect();
        let open = self.ledger.standing.values().filter(|piece| {
            let listed = found.iter().any(|told| told.reference == piece.reference);
            piece.until.is_none() && piece.provider == *provider && !listed
        });
        let window = self.consistency_window(provider);
        for piece in open {
            let heard = self.heard_of(piece).unwrap_or_default().max(self.volatile.started_at);
            if asked_at > heard + window {
                events.push(piece.ended(self.known_to_stand(piece), true));
            }
        }
        Decision::events(events)
    }

    /// The last moment at which it is known to have stood: it was in the provider's list, or the head before
    /// this one wrote something.
    fn known_to_stand(&self, piece: &Standing) -> Timestamp {
        self.wall(self.heard_of(piece).unwrap_or(self.volatile.last_before))
    }

    /// When this head last heard that it stands, and not of a later start of the same machine.
    fn heard_of(&self, piece: &Standing) -> Option<Timestamp> {
        let first = (piece.reference.clone(), Timestamp(i64::MIN));
        let last = (piece.reference.clone(), piece.since);
        self.volatile.standing_heard.range(first..=last).next_back().map(|(_, at)| *at)
    }

    fn standing_events(&self, now: Timestamp, told: &Standing) -> Vec<Event> {
        let Some(piece) = self.ledger.last_piece(&told.reference) else {
            return vec![told.seen()];
        };
        let Some(ended_at) = piece.until else { return self.open_events(now, piece, told) };
        if told.since > ended_at {
            // Stopped and started again.
            return vec![told.seen()];
        }
        match told.until {
            None if told.since > piece.since => vec![told.seen()],
            // It was taken for gone.
            None => vec![told.going_on(ended_at)],
            Some(until) if piece.estimated && !told.estimated => vec![piece.ended(until, false)],
            Some(_) => Vec::new(),
        }
    }

    /// Of a piece that was open as far as the log says.
    fn open_events(&self, now: Timestamp, piece: &Standing, told: &Standing) -> Vec<Event> {
        if told.since > piece.since {
            // Stopped and started again while nobody looked.
            let end = self.known_to_stand(piece).min(told.since);
            return vec![piece.ended(end, true), told.seen()];
        }
        let price = piece.price.or(told.price);
        let known = Standing { price, ..piece.clone() };
        if let Some(until) = told.until {
            return vec![known.ended(until, told.estimated)];
        }
        let same_price = told.price.is_none() || told.price == price;
        match (same_price && told.label == piece.label, price == piece.price) {
            (true, true) => Vec::new(),
            (true, false) => vec![known.seen()],
            (false, _) => {
                let at = self.wall(now).max(piece.since);
                vec![known.ended(at, true), told.going_on(at)]
            }
        }
    }

    pub(crate) fn apply_standing(&mut self, standing: &Standing) {
        let key = (standing.reference.clone(), standing.since);
        self.touched.insert(RowKey::Standing(key.0.clone(), key.1));
        self.ledger.standing.insert(key, standing.clone());
    }
}
