//! The head's own machine and its volume in EC2: lines of their own in the bill, exact to the micro-dollar.
//!
//! Deliberately absent: who makes them; here they are made as somebody else would, by the API.
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{Cluster, until};
use serde_json::Value;
use std::path::PathBuf;

/// Of a t3.large and of 500 GB of gp3, in micro-dollars an hour.
const HEAD: i64 = 83_200;
const DISK: i64 = 54_795;
const HOUR_MS: i64 = 3_600_000;

/// Its files go also when the test fails.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn make(cloud: &Cloud, resource: &str, id: &str, call: &[(&str, &str)]) -> String {
    let tags = [
        ("TagSpecification.1.ResourceType", resource),
        ("TagSpecification.1.Tag.1.Key", "pcluster:cluster"),
        ("TagSpecification.1.Tag.1.Value", id),
        ("TagSpecification.1.Tag.2.Key", "pcluster:role"),
        ("TagSpecification.1.Tag.2.Value", "head"),
    ];
    let answer = cloud.call(&[call, &tags].concat());
    let name = if resource == "instance" { "instanceId>" } else { "volumeId>" };
    let (_, rest) = answer.split_once(name).expect("an id");
    rest.split('<').next().unwrap().to_owned()
}

fn instance(cloud: &Cloud, id: &str) -> String {
    let call = [
        ("Action", "RunInstances"),
        ("ImageId", "ami-0000000000000b22d"),
        ("InstanceType", "t3.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    make(cloud, "instance", id, &call)
}

fn line(cost: &Value, reference: &str) -> Option<Value> {
    let lines = cost["standing"].as_array()?;
    lines.iter().find(|line| line["reference"] == reference).cloned()
}

/// As EC2 bills: by time, at least a minute, rounded up to the micro-dollar.
fn bill(price: i64, span_ms: i64) -> i64 {
    (price * span_ms.max(60_000) + HOUR_MS - 1) / HOUR_MS
}

/// Until the month's end it costs more than the budget has, but in its last hours.
fn nothing_is_bought(cluster: &Cluster, cloud: &Cloud, cost: &Value) {
    if cost["committed_micro_usd"].as_i64().unwrap() > 500_000 {
        let job = cluster.submit(&["--time", "1m"], "true");
        let why = until("the reason", || {
            let why = cluster.run(&["why", &job]).out;
            why.contains("budget").then_some(why)
        });
        assert!(why.contains("$0.50"), "{why}");
        let meter = cloud.see("meter");
        assert_eq!(meter.as_array().unwrap().len(), 2, "no node was bought: {meter}");
        cluster.ok(&["cancel", &job]);
    }
}

#[test]
fn a_heads_machine_and_its_volume_are_in_the_bill_from_their_birth_to_their_end() {
    let root = std::env::temp_dir().join(format!("pct-ec2-standing-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let Some(cloud) = Cloud::start(&root, false) else { return };
    let folder = Folder(root);
    let mut setup =
        crate::ec2_matrix::setup("types = [\"c6i.large\"], max = 2", cloud.environment().into());
    setup.more.push_str("[budget]\nmonth = \"$0.50\"\n");
    let cluster = Cluster::with("stands", setup);
    let id = cluster.json(&["status"])["cluster_id"].as_str().unwrap().to_owned();
    let nothing = cluster.json(&["cost"]);
    assert_eq!(
        (&nothing["standing"], &nothing["total_micro_usd"]),
        (&serde_json::json!([]), &0.into())
    );
    let head = instance(&cloud, &id);
    let foreign = instance(&cloud, "fedcba9876543210");
    let call = [
        ("Action", "CreateVolume"),
        ("AvailabilityZone", "us-east-1a"),
        ("Size", "500"),
        ("VolumeType", "gp3"),
    ];
    let disk = make(&cloud, "volume", &id, &call);
    // A head that starts asks what stands.
    cluster.kill_head();
    cluster.up();
    let cost = until("both lines of the bill", || {
        let cost = cluster.json(&["cost"]);
        (line(&cost, &head).is_some() && line(&cost, &disk).is_some()).then_some(cost)
    });
    assert_eq!(line(&cost, &foreign), None, "another cluster's");
    let (machine, volume) = (line(&cost, &head).unwrap(), line(&cost, &disk).unwrap());
    let shown = |line: &Value| (line["label"].clone(), line["price_per_hour_micro_usd"].clone());
    assert_eq!(shown(&machine), ("t3.large".into(), HEAD.into()));
    assert_eq!(shown(&volume), ("500 GB gp3".into(), DISK.into()));
    let now = cost["now_ms"].as_i64().unwrap();
    let since = |line: &Value| line["since_ms"].as_i64().unwrap();
    assert_eq!(cost["head_micro_usd"], bill(HEAD, now - since(&machine)));
    assert_eq!(cost["storage_micro_usd"], bill(DISK, now - since(&volume)));
    let status = cluster.json(&["status"]);
    assert_eq!(status["price_per_hour_micro_usd"], HEAD + DISK, "{status}");
    // It is no node: no sweep ends it, no list counts it.
    assert_eq!(status["instances_unknown"], 0, "{status}");
    nothing_is_bought(&cluster, &cloud, &cost);
    // The machine ends while no head looks: the next one settles it by EC2's own times.
    cluster.kill_head();
    cloud.call(&[("Action", "TerminateInstances"), ("InstanceId.1", &head)]);
    let span = until("the end of the machine", || {
        let meter = cloud.see("meter");
        let spans = meter.as_array()?;
        let span = spans.iter().find(|span| span["instance"] == head.as_str())?.clone();
        (span["off"] == true).then_some(span)
    });
    cluster.up();
    let cost = until("the end in the bill", || {
        let cost = cluster.json(&["cost"]);
        line(&cost, &head).is_some_and(|line| !line["until_ms"].is_null()).then_some(cost)
    });
    let machine = line(&cost, &head).unwrap();
    let times = [&machine["since_ms"], &machine["until_ms"]].map(|at| at.as_i64().unwrap() / 1000);
    assert_eq!(serde_json::json!(times), serde_json::json!([span["launched"], span["ended"]]));
    assert_eq!(machine["estimated"], false);
    assert_eq!(machine["cost_micro_usd"], bill(HEAD, (times[1] - times[0]) * 1000));
    let volume = line(&cost, &disk).unwrap();
    assert!(volume["until_ms"].is_null(), "what outlives it goes on costing: {volume}");
    cluster.verify();
    drop((cluster, cloud, folder));
}
