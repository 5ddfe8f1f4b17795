//! Offerings: places and ways to buy, in the order of price; what has no capacity rests alone.
use super::support::{Small, config, shape, spec, user};
use crate::effect::Effect;
use crate::event::{LaunchErrorClass, OfferingKey};
use crate::input::{Input, LaunchError, ProviderSaid, Request, SpotPrice};
use crate::plan::Wait;
use crate::reply::Reply;
use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Config, ProviderKind, SpotUse};
use pcluster_model::job::SpotAsk;
use pcluster_model::{DurationMs, JobId, JobSpec, Price, Shape};
use pcluster_wire::Exit;

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

/// Spot at 30, on demand at 100 micro-dollars an hour.
fn spot_pool(spot: SpotUse) -> Config {
    let mut config = config(4, vec![Shape { spot_price: Some(Price(30)), ..shape("s2", 2, 100) }]);
    config.pools[0].spot = spot;
    config
}

fn wait_of(small: &Small, job: JobId) -> Wait {
    small.cluster.volatile.report.waits[&job].clone()
}

#[test]
fn spot_is_preferred_and_its_price_is_kept() {
    let mut small = Small::new(spot_pool(SpotUse::Prefer));
    small.submit(spec("one", 2));
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"]);
    small.boot();
    let node = small.cluster.nodes.values().next().unwrap();
    assert_eq!((node.offering.spot, node.price), (true, Some(Price(30))));
    // Money is reserved as for the dearest that it can become.
    assert_eq!(node.most_price(), Some(Price(100)));
    small.check_replay();
}

#[test]
fn after_the_patience_it_is_a_machine_on_demand() {
    let mut small = Small::new(spot_pool(SpotUse::Prefer));
    let (job, from) = (small.submit(spec("one", 2)), small.now);
    assert_eq!(answer(&mut small, |_| false), ["s2 spot"]);
    small.give(Input::Tick);
    let at = from + DurationMs::from_mins(5);
    let Wait::Spot { on_demand_at, next_try, .. } = wait_of(&small, job) else {
        panic!("{:?}", wait_of(&small, job))
    };
    assert_eq!((on_demand_at, next_try), (Some(at), from + crate::limits::REST_FIRST));
    // Spot is tried again before, and a head that starts anew has not forgotten since when it waits.
    small.pass(DurationMs::from_mins(4));
    assert_eq!(answer(&mut small, |offer| !offer.contains("spot")), ["s2 spot"]);
    small.start(spot_pool(SpotUse::Prefer));
    small.list();
    small.pass(DurationMs::from_secs(58));
    assert_eq!(answer(&mut small, |_| true), Vec::<String>::new());
    assert_eq!(small.cluster.next_due(small.now), Some(at));
    small.pass(DurationMs::from_secs(2));
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
    small.check_replay();
}

#[test]
fn the_patience_counts_from_when_the_job_could_start() {
    let mut small = Small::new(spot_pool(SpotUse::Prefer));
    small.submit(spec("one", 2));
    answer(&mut small, |_| false);
    small.pass(DurationMs::from_mins(2));
    let late = small.submit(spec("late", 2));
    let Wait::Spot { on_demand_at, .. } = wait_of(&small, late) else { panic!("spot rests") };
    assert_eq!(on_demand_at, Some(small.now + DurationMs::from_mins(5)));
    small.check_replay();
}

#[test]
fn a_deadline_does_not_wait_for_the_patience() {
    let mut small = Small::new(spot_pool(SpotUse::Prefer));
    let limit = DurationMs::from_mins(10);
    let boot = small.cluster.config().unwrap().pools[0].boot_limit_ms;
    let tight = small.now + limit + boot + DurationMs::from_mins(1);
    let tight = JobSpec { deadline: Some(tight), time_limit_ms: Some(limit), ..spec("due", 2) };
    let job = small.submit(tight);
    assert_eq!(answer(&mut small, |offer| !offer.contains("spot")), ["s2 spot"]);
    let Wait::Spot { on_demand_at, .. } = wait_of(&small, job) else { panic!("spot rests") };
    assert_eq!(on_demand_at, Some(small.now + DurationMs::from_mins(1)));
    small.pass(DurationMs::from_mins(1));
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
}

#[test]
fn only_waits_and_says_so() {
    let mut small = Small::new(spot_pool(SpotUse::Only));
    let job = small.submit(JobSpec { requeue: false, ..spec("one", 2) });
    assert_eq!(answer(&mut small, |_| false), ["s2 spot"]);
    for _ in 0..30 {
        small.pass(DurationMs::from_mins(5));
        for asked in answer(&mut small, |_| false) {
            assert_eq!(asked, "s2 spot");
        }
    }
    let Wait::Spot { on_demand_at: None, class, .. } = wait_of(&small, job) else {
        panic!("{:?}", wait_of(&small, job))
    };
    assert_eq!(class, "no_capacity");
    small.check_replay();
}

#[test]
fn what_may_not_run_again_gets_no_spot_machine() {
    let mut small = Small::new(spot_pool(SpotUse::Prefer));
    small.submit(spec("free", 2));
    answer(&mut small, |_| true);
    small.boot();
    let free = small.run_all();
    for (node, run) in free {
        small.end(node, run, pcluster_wire::Exit::Code(0));
    }
    // The idle spot machine is not for it.
    small.submit(JobSpec { requeue: false, ..spec("once", 2) });
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
    // Where the pool puts back everything, it is.
    let mut always = spot_pool(SpotUse::Prefer);
    always.pools[0].requeue_always = true;
    let mut small = Small::new(always);
    small.submit(JobSpec { requeue: false, ..spec("once", 2) });
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"]);
}

#[test]
fn prices_that_a_provider_tells_choose_and_bound() {
    let mut two = spot_pool(SpotUse::Only);
    two.pools[0].subnets = vec!["a".to_owned(), "b".to_owned()];
    two.pools[0].max_price = Some(Price(50));
    let mut small = Small::new(two);
    let tell = |small: &mut Small, prices: [i64; 2]| {
        let prices = ["a", "b"].into_iter().zip(prices).map(|(subnet, price)| SpotPrice {
            shape: "s2".to_owned(),
            subnet: subnet.to_owned(),
            price: Price(price),
        });
        let (provider, prices) = (ProviderKind::Process, prices.collect());
        small.give(Input::ProviderSaid(ProviderSaid::SpotPrices { provider, prices }));
    };
    tell(&mut small, [45, 40]);
    small.submit(spec("one", 2));
    assert_eq!(answer(&mut small, |_| true), ["s2@b spot"]);
    assert_eq!(small.cluster.nodes.values().next().unwrap().price, Some(Price(40)));
    tell(&mut small, [70, 60]);
    let job = small.submit(spec("two", 2));
    assert_eq!(answer(&mut small, |_| true), Vec::<String>::new());
    let Wait::Dear { price, most, .. } = wait_of(&small, job) else {
        panic!("{:?}", wait_of(&small, job))
    };
    assert_eq!((price, most), (Price(60), Price(50)));
    tell(&mut small, [44, 60]);
    assert_eq!(answer(&mut small, |_| true), ["s2@a spot"]);
    small.check_replay();
}

#[test]
fn dearer_than_on_demand_is_no_spot_machine() {
    let mut dear = spot_pool(SpotUse::Prefer);
    dear.pools[0].shapes[0].spot_price = Some(Price(101));
    let mut small = Small::new(dear);
    small.submit(spec("one", 2));
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
}

#[test]
fn boots_fail_on_a_shape_however_it_is_bought() {
    let mut three = spot_pool(SpotUse::Only);
    three.pools[0].subnets = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut small = Small::new(three);
    small.submit(spec("one", 2));
    // The machines come and say nothing, in one place after the other.
    for has in ["s2@a spot", "s2@b spot", "s2@c spot"] {
        let bought = answer(&mut small, |offer| offer == has);
        assert_eq!(bought.last().map(String::as_str), Some(has));
        small.pass(DurationMs::from_mins(3));
    }
    let broken = small.cluster.meta.offerings.iter().filter(|(_, h)| !h.boots.is_empty());
    let broken: Vec<_> =
        broken.map(|(key, h)| (offer_words(key), h.boots["host"].failures)).collect();
    assert_eq!(broken, [("s2".to_owned(), 3)]);
    small.check_replay();
}

/// The same pool of a provider that has spot machines, whatever the pool buys by itself.
fn of_ec2(spot: SpotUse) -> Config {
    let mut config = spot_pool(spot);
    config.pools[0].provider = ProviderKind::Ec2;
    config
}

fn asking(name: &str, spot: SpotAsk) -> JobSpec {
    JobSpec { spot, ..spec(name, 2) }
}

fn rejected(small: &mut Small, spec: JobSpec) -> alloc::string::String {
    let request = Request::Submit { spec: alloc::boxed::Box::new(spec), key: None };
    match small.ask(&user("ana", 1000), request) {
        Reply::Rejected(rejection) => rejection.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_job_says_of_spot_goes_before_its_pool() {
    for (of_pool, asked, bought) in [
        (SpotUse::Prefer, SpotAsk::No, "s2"),
        (SpotUse::Prefer, SpotAsk::Only, "s2 spot"),
        (SpotUse::Never, SpotAsk::AsPool, "s2"),
        (SpotUse::Never, SpotAsk::Yes, "s2 spot"),
        (SpotUse::Never, SpotAsk::Only, "s2 spot"),
        (SpotUse::Only, SpotAsk::Yes, "s2 spot"),
    ] {
        let mut small = Small::new(of_ec2(of_pool));
        small.submit(asking("one", asked));
        assert_eq!(answer(&mut small, |_| true), [bought], "{of_pool:?} {asked:?}");
        small.check_replay();
    }
    // One that is not to run again has said so itself.
    let mut small = Small::new(of_ec2(SpotUse::Prefer));
    small.submit(JobSpec { requeue: false, ..asking("bold", SpotAsk::Yes) });
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"]);
}

#[test]
fn no_job_runs_on_a_machine_that_it_did_not_ask_for() {
    // A spot machine that was bought for one job in a pool on demand.
    let mut small = Small::new(of_ec2(SpotUse::Never));
    let only = small.submit(asking("only", SpotAsk::Only));
    small.boot();
    let (node, run) = small.started()[0];
    assert!(small.cluster.nodes[&node].offering.spot);
    assert_eq!(small.cluster.runs[&run].job, only);
    small.end(node, run, Exit::Code(0));
    small.submit(asking("plain", SpotAsk::AsPool));
    assert!(small.started().is_empty(), "it waits for a machine on demand");
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
    small.submit(asking("second", SpotAsk::Yes));
    assert_eq!(small.started().len(), 1, "it takes the spot machine that is free");
    // The other way round: a machine on demand is none for a job of spot only.
    let mut small = Small::new(of_ec2(SpotUse::Prefer));
    small.submit(asking("safe", SpotAsk::No));
    small.boot();
    let (node, run) = small.started()[0];
    small.end(node, run, Exit::Code(0));
    small.submit(asking("only", SpotAsk::Only));
    assert!(small.started().is_empty());
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"]);
}

#[test]
fn what_no_pool_can_give_is_refused() {
    let mut small = Small::new(spot_pool(SpotUse::Only));
    let words = rejected(&mut small, asking("safe", SpotAsk::No));
    assert!(words.contains("spot machines only"), "{words}");
    let mut small = Small::new(spot_pool(SpotUse::Never));
    let words = rejected(&mut small, asking("only", SpotAsk::Only));
    assert!(words.contains("has no spot machines"), "{words}");
    // What is only allowed asks for nothing that is not there.
    small.submit(asking("any", SpotAsk::Yes));
    assert_eq!(answer(&mut small, |_| true), ["s2"]);
}

#[test]
fn a_job_of_spot_only_waits_for_ever_and_one_that_prefers_it_for_the_patience() {
    for (asked, ends) in [(SpotAsk::Only, false), (SpotAsk::Yes, true)] {
        let mut small = Small::new(of_ec2(SpotUse::Never));
        let job = small.submit(asking("one", asked));
        assert_eq!(answer(&mut small, |offer| !offer.contains("spot")), ["s2 spot"]);
        let Wait::Spot { on_demand_at, .. } = wait_of(&small, job) else { panic!("spot rests") };
        assert_eq!(on_demand_at.is_some(), ends, "{asked:?}");
    }
}
