//! Replies as EC2 writes them.
use super::*;
use pcluster_model::Price;

const HEADS: &str = r#"<DescribeInstancesResponse><reservationSet>
<item><instancesSet><item><instanceId>i-0a1b2c3d4e5f60718</instanceId><instanceType>t3.large</instanceType>
<instanceState><name>running</name></instanceState><launchTime>2026-11-29T22:00:00.000Z</launchTime></item></instancesSet></item>
<item><instancesSet><item><instanceId>i-0a1b2c3d4e5f60719</instanceId><instanceType>t3.small</instanceType>
<instanceState><name>terminated</name></instanceState><reason>User initiated (2026-11-29 22:30:05 GMT)</reason>
<launchTime>2026-11-29T22:00:00.000Z</launchTime></item></instancesSet></item>
<item><instancesSet><item><instanceId>i-0a1b2c3d4e5f6071a</instanceId><instanceType>t3.large</instanceType>
<instanceState><name>stopped</name></instanceState><reason/><instanceLifecycle>spot</instanceLifecycle>
<launchTime>2026-11-29T22:00:00.000Z</launchTime></item></instancesSet></item>
</reservationSet></DescribeInstancesResponse>"#;

const VOLUMES: &str = r#"<DescribeVolumesResponse><volumeSet>
<item><volumeId>vol-0a1b2c3d4e5f60718</volumeId><size>500</size><volumeType>gp3</volumeType><status>in-use</status>
<createTime>2026-11-29T22:00:00.000Z</createTime></item>
<item><volumeId>vol-0a1b2c3d4e5f60719</volumeId><size>8</size><volumeType>io2</volumeType><status>available</status>
<createTime>2026-11-29T22:00:00.000Z</createTime></item>
<item><volumeId>vol-0a1b2c3d4e5f6071a</volumeId><size>8</size><volumeType>gp3</volumeType><status>deleting</status>
<createTime>2026-11-29T22:00:00.000Z</createTime></item>
</volumeSet></DescribeVolumesResponse>"#;

const BEGIN: i64 = 1_795_989_600_000;

fn prices() -> StandingPrices {
    let types = [("t3.large", 83_200)].map(|(name, price)| (name.to_owned(), Price(price)));
    StandingPrices { types: types.into(), gp3: Some(|bytes| Price((bytes >> 30) as i64 * 110)) }
}

#[test]
fn a_head_costs_from_its_launch_to_its_end() {
    let reply = Element::parse(HEADS.as_bytes()).unwrap();
    let mut found = heads(&reply, &prices());
    let shown = |one: &Standing| (one.label.clone(), one.price, one.until, one.estimated);
    assert_eq!(shown(&found[0]), ("t3.large".into(), Some(Price(83_200)), None, false));
    let ended = Some(Timestamp(BEGIN + 30 * 60_000 + 5_000));
    assert_eq!(shown(&found[1]), ("t3.small".into(), None, ended, false));
    // What it costs on spot nobody tells; what has stopped bills no more.
    assert_eq!(shown(&found[2]), ("t3.large".into(), None, None, true));
    assert!(
        found.iter().all(|one| one.since == Timestamp(BEGIN) && one.minimum_billing_ms == 60_000)
    );
    // An end without a time has that of its first sight.
    let ends = Ends::default();
    for later in [BEGIN + 7, BEGIN + 9] {
        ends.settle(&mut found, Timestamp(later));
        assert_eq!(found[2].until, Some(Timestamp(BEGIN + 7)));
        assert_eq!((found[0].until, found[1].until), (None, ended));
    }
}

#[test]
fn a_volume_costs_by_its_size() {
    let reply = Element::parse(VOLUMES.as_bytes()).unwrap();
    let found = volumes(&reply, &prices());
    assert_eq!(found.len(), 2, "what is being deleted stands no more");
    assert_eq!((found[0].label.as_str(), found[0].price), ("500 GB gp3", Some(Price(55_000))));
    assert_eq!((found[1].label.as_str(), found[1].price), ("8 GB io2", None));
    assert_eq!(found[0].since, Timestamp(BEGIN));
}
