//! What stands whether or not there is work: begins, ends, moves, and what the month has of it.
use super::support::{Small, config, shape, spec};
use crate::input::{Input, ProviderSaid};
use crate::ledger::{DAY_MS, month_span};
use crate::plan::Wait;
use crate::standing::{Standing, StandingKind};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::{DurationMs, JobSpec, MicroUsd, Price, Timestamp};
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;

fn standing(reference: &str, since: Timestamp) -> Standing {
    Standing {
        reference: reference.into(),
        kind: if reference.starts_with('v') { StandingKind::Storage } else { StandingKind::Head },
        label: "t3.large".into(),
        provider: ProviderKind::Process,
        price: Some(Price(83_200)),
        minimum_billing_ms: DurationMs::from_secs(60),
        since,
        until: None,
        estimated: false,
    }
}

fn tell(small: &mut Small, found: Vec<Standing>) {
    let (provider, asked_at) = (ProviderKind::Process, small.now);
    small.give(Input::ProviderSaid(ProviderSaid::Standing { provider, asked_at, found }));
    small.check_replay();
}

/// Begin, end and whether that is a guess, of all pieces of a thing.
fn pieces(small: &Small, reference: &str) -> Vec<(i64, Option<i64>, bool)> {
    let all = small.cluster.ledger.standing.values();
    let all = all.filter(|piece| piece.reference == reference);
    all.map(|piece| (piece.since.0, piece.until.map(|at| at.0), piece.estimated)).collect()
}

fn small() -> Small {
    Small::new(config(2, vec![shape("2c", 2, 10_000)]))
}

#[test]
fn the_head_that_was_ended_after_down_is_settled_by_the_next_one() {
    let mut small = small();
    let (begin, disk) = (Timestamp(small.now.0 - 7_000), Timestamp(small.now.0 - 40 * DAY_MS));
    let found = vec![standing("i-1", begin), standing("vol-1", disk)];
    tell(&mut small, found.clone());
    let events = small.log.len();
    small.pass(DurationMs::from_mins(30));
    tell(&mut small, found.clone());
    assert_eq!(small.log.len(), events, "what is known is no news");
    // The head is away for an hour; its machine ended five minutes after it, the disk stays.
    let end = small.now.0 + 300_000;
    small.now = small.now + DurationMs::from_hours(1);
    small.start(config(2, vec![shape("2c", 2, 10_000)]));
    let ended = Standing { until: Some(Timestamp(end)), ..standing("i-1", begin) };
    let moved = small.now;
    tell(&mut small, vec![ended.clone(), standing("i-2", moved), found[1].clone()]);
    assert_eq!(pieces(&small, "i-1"), [(begin.0, Some(end), false)]);
    assert_eq!(pieces(&small, "vol-1"), [(disk.0, None, false)]);
    assert_eq!(pieces(&small, "i-2"), [(moved.0, None, false)]);
    let sum = small.cluster.ledger.standing.values().next().unwrap().sum(small.now);
    assert_eq!(sum, Price(83_200).for_span(DurationMs((end - begin.0) as u64)));
    // Told for as long as the provider knows it, and then no more: nothing changes.
    let events = small.log.len();
    tell(&mut small, vec![ended, standing("i-2", moved), found[1].clone()]);
    small.pass(DurationMs::from_mins(5));
    tell(&mut small, vec![found[1].clone(), standing("i-2", moved)]);
    assert_eq!(small.log.len(), events, "{:?}", small.kinds());
}

#[test]
fn what_the_provider_forgot_ended_when_it_was_last_known_and_is_marked() {
    let mut small = small();
    let begin = small.now;
    tell(&mut small, vec![standing("i-1", begin)]);
    small.now = small.now + DurationMs::from_mins(10);
    small.give(Input::ClockStepped { offset_ms: 0 });
    let last = small.now;
    small.now = small.now + DurationMs::from_hours(500);
    small.start(config(2, vec![shape("2c", 2, 10_000)]));
    tell(&mut small, Vec::new());
    assert_eq!(pieces(&small, "i-1"), [(begin.0, None, false)], "the list may be wrong yet");
    small.now = small.now + DurationMs::from_secs(75);
    tell(&mut small, Vec::new());
    assert_eq!(pieces(&small, "i-1"), [(begin.0, Some(last.0), true)]);
    // It is told again after all, at first as standing, then with its end.
    small.now = small.now + DurationMs::from_secs(75);
    tell(&mut small, vec![standing("i-1", begin)]);
    let whole = [(begin.0, Some(last.0), true), (last.0, None, false)];
    assert_eq!(pieces(&small, "i-1"), whole, "no gap and no time twice");
    let end = small.now;
    tell(&mut small, vec![Standing { until: Some(end), ..standing("i-1", begin) }]);
    assert_eq!(pieces(&small, "i-1")[1], (last.0, Some(end.0), false));
}

#[test]
fn a_machine_that_was_stopped_and_started_does_not_bill_the_night() {
    let mut small = small();
    let begin = small.now;
    tell(&mut small, vec![standing("i-1", begin)]);
    let evening = small.cluster.last_at();
    small.now = small.now + DurationMs::from_hours(12);
    let morning = small.now;
    small.start(config(2, vec![shape("2c", 2, 10_000)]));
    tell(&mut small, vec![standing("i-1", morning)]);
    let both = [(begin.0, Some(evening.0), true), (morning.0, None, false)];
    assert_eq!(pieces(&small, "i-1"), both);
}

#[test]
fn a_price_that_becomes_known_counts_from_the_begin_and_one_that_changes_from_now() {
    let mut small = small();
    let begin = small.now;
    tell(&mut small, vec![Standing { price: None, ..standing("vol-1", begin) }]);
    small.pass(DurationMs::from_hours(1));
    tell(&mut small, vec![standing("vol-1", begin)]);
    let at = small.now;
    let month = |small: &Small| small.cluster.standing_this_month(small.now).0;
    assert_eq!(month(&small), MicroUsd(83_200));
    let larger = Standing {
        price: Some(Price(100_000)),
        label: "2 TB gp3".into(),
        ..standing("vol-1", begin)
    };
    tell(&mut small, vec![larger.clone()]);
    small.pass(DurationMs::from_hours(1));
    tell(&mut small, vec![larger]);
    assert_eq!(pieces(&small, "vol-1"), [(begin.0, Some(at.0), true), (at.0, None, false)]);
    assert_eq!(month(&small), MicroUsd(183_200));
}

#[test]
fn what_stands_is_spent_and_set_aside_until_the_end_of_the_month() {
    let mut config = config(2, vec![shape("2c", 2, 10_000)]);
    let mut small = Small::new(config.clone());
    let (_, next) = month_span(small.now, 0);
    let left = Price(83_200).for_span(next.since(small.now));
    config.budget.month = Some(left + MicroUsd(1_000));
    small.give(Input::ConfigChanged { config: alloc::boxed::Box::new(config.clone()) });
    let begin = small.now;
    tell(&mut small, vec![standing("i-1", begin)]);
    let hour = Some(DurationMs::from_hours(1));
    let job = small.submit(JobSpec { time_limit_ms: hour, ..spec("dear", 2) });
    let wait = small.cluster.volatile.report.waits.get(&job);
    assert!(matches!(wait, Some(Wait::Budget { .. })), "{wait:?}");
    assert!(small.events_of("launch_wanted").is_empty());
    let account = small.cluster.account(small.now).unwrap();
    assert_eq!(account.left(), MicroUsd(1_000));
    // Time passes from one column to the other.
    small.pass(DurationMs::from_hours(3));
    let later = small.cluster.account(small.now).unwrap();
    assert_eq!((later.spent, later.left()), (MicroUsd(3 * 83_200), MicroUsd(1_000)));
    config.budget.month = Some(left + MicroUsd(100_000));
    small.give(Input::ConfigChanged { config: alloc::boxed::Box::new(config) });
    assert_eq!(small.events_of("launch_wanted").len(), 1);
}

proptest! {
    #[test]
    fn days_add_up_to_the_whole(
        since in 0i64..100 * DAY_MS, span in 0i64..90 * DAY_MS, price in 0i64..9_000_000,
        zone in -12i64..12, open: bool,
    ) {
        let since = Timestamp(since);
        let until = Timestamp(since.0 + span);
        let piece = Standing {
            price: Some(Price(price)),
            until: (!open).then_some(until),
            ..standing("i-1", since)
        };
        let now = until.max(Timestamp(since.0 + 1));
        let midnight = |day: i64| Timestamp(day * DAY_MS - zone * HOUR);
        let days: i64 = (-1..200)
            .map(|day| piece.between(midnight(day).min(now), midnight(day + 1).min(now)).0)
            .inspect(|sum| assert!(*sum >= 0))
            .sum();
        prop_assert_eq!(days, piece.sum(now).0);
        let billed = DurationMs(span.unsigned_abs()).max(DurationMs::from_secs(60));
        prop_assert_eq!(piece.sum(now), Price(price).for_span(billed.max(now.since(since))));
    }
}
