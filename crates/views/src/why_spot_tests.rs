//! What is said of spot machines: why a job waits for one, and what becomes of those taken back.
use super::node;
use super::samples::{config_of, spec, user};
use super::tests::Lab;
use super::why_launch_tests::page;
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::{AgentSaid, Input, LaunchError, ProviderSaid, SpotPrice};
use pcluster_model::config::{Config, ProviderKind, SpotUse};
use pcluster_model::{DurationMs, JobSpec, Price};
use pcluster_wire::{Exit, NoticeKind};

fn spot(spot: SpotUse) -> Config {
    let mut config = config_of("cpus = 4, memory = \"8 GB\", price = \"$0.20/h\", max = 2", "");
    let pool = &mut config.pools[0];
    pool.spot = spot;
    pool.shapes[0].spot_price = Some(Price(70_000));
    pool.subnets = vec!["net-a".into(), "net-b".into()];
    config
}

/// Spot has no capacity, for a pool that falls back and for one that does not.
fn refused(how: SpotUse) -> String {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(spot(how));
    let message = "There is no Spot capacity available that matches your request".into();
    lab.refusal = Some(LaunchError { class: LaunchErrorClass::NoCapacity, message });
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    lab.pass(DurationMs::from_secs(10));
    page(&lab.why(&ana, job))
}

fn dear() -> String {
    let ana = user("ana", 1000);
    let mut config = spot(SpotUse::Only);
    config.pools[0].max_price = Some(Price(60_000));
    let mut lab = Lab::new(config);
    let price = |subnet: &str, price| SpotPrice {
        shape: "4c".into(),
        subnet: subnet.into(),
        price: Price(price),
    };
    let prices = vec![price("net-a", 81_000), price("net-b", 79_500)];
    lab.give(Input::ProviderSaid(ProviderSaid::SpotPrices {
        provider: ProviderKind::Process,
        prices,
    }));
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    page(&lab.why(&ana, job))
}

/// A notice comes while a job runs, then the job is put back and its replacement boots; a second machine
/// goes without a word.
fn taken_back() -> Vec<String> {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(spot(SpotUse::Prefer));
    let job = lab.submit(&ana, JobSpec { cpus_per_task: 4, ..spec("align", 2, 600_000) });
    lab.boot();
    lab.start();
    let node_words = |lab: &Lab| {
        let cx = lab.cx(&ana);
        let nodes = lab.cluster.nodes.values().map(|node| node::view(&cx, node));
        nodes
            .map(|node| format!("  node {}: {} {:?}\n", node.name, node.state, node.why))
            .collect::<String>()
    };
    let first = *lab.cluster.nodes.keys().next().unwrap();
    let until = Some(lab.now + DurationMs::from_mins(2));
    let said = AgentSaid::Notice { kind: NoticeKind::Reclaim, until };
    lab.give(Input::AgentSaid { node: first, said });
    let noticed = page(&lab.why(&ana, job)) + &node_words(&lab);
    lab.pass(DurationMs::from_secs(100));
    let ends = page(&lab.why(&ana, job));
    lab.end(Exit::Signal(15));
    lab.boot();
    lab.start();
    lab.pass(DurationMs::from_secs(10));
    let second = *lab.cluster.nodes.keys().last().unwrap();
    let now = lab.now;
    let machine = lab.launched.get_mut(&second).unwrap();
    (machine.ended_at, machine.reclaimed) = (Some(now), true);
    lab.list();
    let past = lab.cluster.jobs[&job].past.iter();
    let past = past.map(|past| format!("  attempt {}: {:?}\n", past.attempt, past.requeued));
    let gone = page(&lab.why(&ana, job)) + &node_words(&lab) + &past.collect::<String>();
    vec![noticed, ends, gone]
}

/// One case below the other: `UPDATE=1` writes them anew.
#[test]
fn spot_machines_have_their_words() {
    let mut cases = vec![refused(SpotUse::Prefer), refused(SpotUse::Only), dear()];
    cases.extend(taken_back());
    let text = cases.join("\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots/why_spot.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default());
}
