//! Offerings: places and ways to buy, in the order of price; what has no capacity rests alone.
use super::support::{Small, config, shape, spec};
use crate::effect::Effect;
use crate::event::{LaunchErrorClass, OfferingKey};
use crate::input::{Input, LaunchError, ProviderSaid};
use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::Config;

/// `s2`, `s2@a`, `s2@a spot`.
pub(super) fn offer_words(key: &OfferingKey) -> String {
    let place = if key.subnet.is_empty() { "" } else { "@" };
    let spot = if key.spot { " spot" } else { "" };
    alloc::format!("{}{place}{}{spot}", key.shape, key.subnet)
}

/// The provider answers what was asked for: capacity only where `has` says so. In the order of the calls.
pub(super) fn answer(small: &mut Small, has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut asked = Vec::new();
    loop {
        let at = small.waiting.iter().position(|effect| matches!(effect, Effect::Launch(_)));
        let Some(at) = at else { return asked };
        let Effect::Launch(plan) = small.waiting[at].clone() else { return asked };
        let words = offer_words(&plan.offering);
        asked.push(words.clone());
        if has(&words) {
            small.provide();
            continue;
        }
        small.waiting.remove(at);
        let class = LaunchErrorClass::NoCapacity;
        let error = LaunchError { class, message: "InsufficientInstanceCapacity".to_owned() };
        let said = ProviderSaid::Launched { launch: plan.launch, answer: Err(error) };
        small.give(Input::ProviderSaid(said));
    }
}

fn two_places() -> Config {
    let mut config = config(4, vec![shape("s2", 2, 100), shape("t2", 2, 120)]);
    config.pools[0].subnets = vec!["a".to_owned(), "b".to_owned()];
    config
}

#[test]
fn no_capacity_moves_on_at_once_and_rests_one_offering_only() {
    let mut small = Small::new(two_places());
    small.submit(spec("one", 2));
    let from = small.now;
    // The other place of the cheaper type comes before the dearer type.
    assert_eq!(answer(&mut small, |offer| offer == "t2@a"), ["s2@a", "s2@b", "t2@a"]);
    assert_eq!(small.now, from, "no time passes between them");
    let resting = small.cluster.meta.offerings.iter().filter(|(_, h)| h.rest_until.is_some());
    let resting: Vec<String> = resting.map(|(key, _)| offer_words(key)).collect();
    assert_eq!(resting, ["s2@a", "s2@b"]);
    small.boot();
    // What rests is passed over, and only that.
    small.submit(spec("two", 2));
    assert_eq!(answer(&mut small, |_| true), ["t2@a"]);
    small.check_replay();
}

#[test]
fn a_place_that_rested_is_tried_again_in_its_turn() {
    let mut small = Small::new(two_places());
    small.submit(spec("one", 2));
    assert_eq!(answer(&mut small, |offer| offer == "s2@b"), ["s2@a", "s2@b"]);
    small.boot();
    small.pass(crate::limits::REST_FIRST);
    small.submit(spec("two", 2));
    assert_eq!(answer(&mut small, |_| true), ["s2@a"]);
}
