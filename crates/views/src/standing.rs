//! What stands whether or not there is work, in the answers of `cost` and `status`.
//!
//! Invariant: everybody sees it; its sums are the ledger's, up to now. Deliberately absent: nodes.
use super::Cx;
use pcluster_api::StandingCost;
use pcluster_core::ledger::{day_of, midnight};
use pcluster_core::standing::{Standing, StandingKind};
use pcluster_model::{MicroUsd, Timestamp};

fn line(cx: &Cx<'_>, since: Timestamp, piece: &Standing) -> StandingCost {
    let kind = match piece.kind {
        StandingKind::Head => "head",
        StandingKind::Storage => "storage",
    };
    StandingCost {
        kind: kind.into(),
        label: piece.label.clone(),
        reference: piece.reference.clone(),
        since_ms: piece.since.0,
        until_ms: piece.until.map(|at| at.0),
        estimated: piece.estimated,
        price_per_hour_micro_usd: piece.price.map(|price| price.0),
        cost_micro_usd: piece.between(since, Timestamp(cx.wall_now())).0,
    }
}

/// Everything that stood after `since` (wall clock), with what it has cost from there on.
#[must_use]
pub fn lines(cx: &Cx<'_>, since: Timestamp) -> Vec<StandingCost> {
    let pieces = cx.cluster.ledger.standing.values();
    let pieces = pieces.filter(|piece| piece.until.is_none_or(|until| until > since));
    pieces.map(|piece| line(cx, since, piece)).collect()
}

/// What stands now.
fn now<'a>(cx: &Cx<'a>) -> impl Iterator<Item = &'a Standing> {
    cx.cluster.ledger.standing.values().filter(|piece| piece.until.is_none())
}

/// What it costs in an hour.
#[must_use]
pub fn price_per_hour(cx: &Cx<'_>) -> i64 {
    now(cx).filter_map(|piece| piece.price).map(|price| price.0).sum()
}

/// Its labels, the head first.
#[must_use]
pub fn labels(cx: &Cx<'_>) -> Vec<String> {
    let mut all: Vec<&Standing> = now(cx).collect();
    all.sort_by_key(|piece| piece.kind);
    all.iter().map(|piece| piece.label.clone()).collect()
}

/// What each day of the head's zone has of it, from `first` on; days without any are left out.
#[must_use]
pub fn by_day(cx: &Cx<'_>, first: i32) -> Vec<(i32, MicroUsd)> {
    let zone = cx.zone_offset_ms();
    let midnight = |day| midnight(day, zone);
    let wall = Timestamp(cx.wall_now());
    let ledger = &cx.cluster.ledger;
    let begin = ledger.standing.values().map(|piece| piece.since).min();
    let day_of = |at| day_of(at, zone);
    let Some(first) = begin.map(|begin| day_of(begin).max(first)) else { return Vec::new() };
    let days = (first..=day_of(wall))
        .map(|day| (day, ledger.standing_between(midnight(day), midnight(day + 1).min(wall))));
    days.filter(|(_, sum)| sum.0 > 0).collect()
}
