//! Replies as EC2 writes them.
use super::*;
use pcluster_model::NodeId;

const LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>8f7724cf</requestId>
<reservationSet><item><reservationId>r-1</reservationId><ownerId>123456789012</ownerId><groupSet/><instancesSet>
<item><instanceId>i-0a1b2c3d4e5f60718</instanceId><imageId>ami-1</imageId>
<instanceState><code>16</code><name>running</name></instanceState><privateDnsName>ip-10-0-0-1</privateDnsName><privateIpAddress>10.0.0.1</privateIpAddress><reason/>
<amiLaunchIndex>0</amiLaunchIndex><instanceType>c6i.large</instanceType><launchTime>2026-11-29T22:00:00.000Z</launchTime>
<tagSet><item><key>pcluster:cluster</key><value>00ff</value></item><item><key>pcluster:launch</key><value>7</value></item>
<item><key>pcluster:names</key><value>compute-7..9 gpu-2</value></item></tagSet></item>
<item><instanceId>i-0a1b2c3d4e5f60719</instanceId><instanceState><code>48</code><name>terminated</name></instanceState>
<reason>User initiated (2026-11-29 22:30:05 GMT)</reason><amiLaunchIndex>3</amiLaunchIndex>
<launchTime>2026-11-29T22:00:00.000Z</launchTime>
<stateReason><code>Client.UserInitiatedShutdown</code><message>Client.UserInitiatedShutdown: User initiated</message></stateReason>
<tagSet><item><key>pcluster:launch</key><value>7</value></item>
<item><key>pcluster:names</key><value>compute-7..9 gpu-2</value></item></tagSet></item></instancesSet></item>
<item><reservationId>r-2</reservationId><instancesSet>
<item><instanceId>i-0a1b2c3d4e5f6071a</instanceId><instanceState><name>terminated</name></instanceState>
<reason>Server.SpotInstanceTermination: Spot instance termination</reason><amiLaunchIndex>0</amiLaunchIndex>
<launchTime>2026-11-29T22:00:00.000Z</launchTime><spotInstanceRequestId>sir-1</spotInstanceRequestId>
<stateReason><code>Server.SpotInstanceTermination</code><message>Server.SpotInstanceTermination: …</message></stateReason>
</item><item><instanceId>i-0a1b2c3d4e5f6071b</instanceId><instanceState><name>shutting-down</name></instanceState>
<launchTime>2026-11-29T22:00:00.000Z</launchTime></item>
<item><instanceId>../../etc</instanceId><launchTime>2026-11-29T22:00:00.000Z</launchTime></item></instancesSet></item>
</reservationSet></DescribeInstancesResponse>"#;

const BEGIN: i64 = 1_795_989_600_000;

#[test]
fn a_list_is_read() {
    let reply = Element::parse(LIST.as_bytes()).unwrap();
    let all = instances(&reply);
    let mut list: Vec<Listed> = all.into_iter().filter_map(listed).collect();
    assert_eq!(list.len(), 4, "what is no id is no machine");
    let first = &list[0];
    assert_eq!(first.node(), Some(NodeId { launch: LaunchId(7), index: 0 }));
    assert_eq!((first.phase, first.launched_at), (Phase::Running, Timestamp(BEGIN)));
    assert_eq!((first.name.as_str(), first.ended_at), ("compute-7", None));
    assert_eq!(first.tags["pcluster:cluster"], "00ff");
    assert_eq!((first.address, list[1].address), ("10.0.0.1".parse().ok(), None));
    assert_eq!((list[1].name.as_str(), list[1].phase), ("gpu-2", Phase::Ended));
    assert_eq!(list[1].ended_at, Some(Timestamp(BEGIN + 30 * 60_000 + 5000)));
    assert!(list[2].reclaimed && !list[1].reclaimed);
    assert_eq!((list[2].ended_at, list[2].launch), (None, LaunchId(0)));
    assert_eq!((list[3].phase, list[3].index), (Phase::Stopping, None));
    // An end without a time has that of its first sight, for as long as it is listed.
    let ends = Ends::default();
    let (seen, later) = (Timestamp(BEGIN + 1), Timestamp(BEGIN + 9));
    for now in [seen, later] {
        list[2].ended_at = None;
        ends.settle(&mut list, now);
        assert_eq!((list[2].ended_at, list[2].ended_estimated), (Some(seen), true));
        assert!(!list[1].ended_estimated);
    }
    ends.settle(&mut [], later);
    list[2].ended_at = None;
    ends.settle(&mut list, later);
    assert_eq!(list[2].ended_at, Some(later));
}

#[test]
fn names_are_short_and_found_again() {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let all = names(&["compute-9", "compute-10", "compute-12", "gpu-train-1"]);
    let (_, text) = names_tag(&all).unwrap();
    assert_eq!(text, "compute-9..10 compute-12 gpu-train-1");
    for (index, name) in (0..).zip(&all) {
        assert_eq!(name_at(&text, index).as_ref(), Some(name));
    }
    assert_eq!(name_at(&text, 4), None);
    for odd in ["plain", "a-07", "a-", "a-x"] {
        assert_eq!(names_tag(&names(&[odd])), None, "{odd}");
    }
    for broken in ["", "a-9..1", "a-1..x", "a-0..18446744073709551615"] {
        assert_eq!(name_at(broken, 0), None, "{broken}");
    }
}

#[test]
fn ids_are_what_ec2_makes() {
    assert!(is_id("i-0a1b2c3d4e5f60718") && is_id("i-0a1b2c3d"));
    for odd in ["", "i-", "i-12345678'", "../..", "p-1.0", "i-000000000000000000000000000000000000"]
    {
        assert!(!is_id(odd), "{odd}");
    }
    assert_eq!(end_time("User initiated"), None);
    assert_eq!(end_time("Server.X (2026-11-29 22:00:00 UTC)"), Some(Timestamp(BEGIN)));
}
