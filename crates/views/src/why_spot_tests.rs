//! What is said of spot machines: why a job waits for one, and what becomes of those taken back.
use super::samples::{config_of, spec, user};
use super::tests::Lab;
use super::why_launch_tests::page;
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::{Input, LaunchError, ProviderSaid, SpotPrice};
use pcluster_model::config::{Config, ProviderKind, SpotUse};
use pcluster_model::{DurationMs, Price};

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

/// One case below the other: `UPDATE=1` writes them anew.
#[test]
fn spot_machines_have_their_words() {
    let cases = [refused(SpotUse::Prefer), refused(SpotUse::Only), dear()];
    let text = cases.join("\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots/why_spot.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default());
}
