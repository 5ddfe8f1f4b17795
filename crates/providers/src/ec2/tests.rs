//! What other tests of this provider make orders from.
use super::*;
use pcluster_model::{DurationMs, NodeId, Resources};
use pcluster_wire::{JoinOrder, OnOrphan};

pub(super) fn shape(name: &str) -> Shape {
    Shape {
        name: name.into(),
        arch: "x86_64".into(),
        total: Resources { cpus: 2, memory_bytes: 4 << 30, gpus: 0, tmp_bytes: 0 },
        gpu_type: String::new(),
        price: None,
        spot_price: None,
        reserve_bytes: 0,
    }
}

fn join(launch: LaunchId, index: u32) -> String {
    let node = NodeId { launch, index };
    let text = format!(
        r#"{{"cluster":"00ff","cluster_name":"lab","node":"{node}","node_name":"compute-{index}","instance":"",
            "head_addresses":["10.0.0.1:7443"],"head_key_sha256":"{}","token":"t{launch}",
            "state_dir":"/var/lib/pcluster-agent","orphan_after_ms":1000,"report_hold_ms":1000,"on_orphan":"power_off"}}"#,
        "0".repeat(64)
    );
    let join: JoinOrder = serde_json::from_str(&text).unwrap();
    assert_eq!((join.on_orphan, join.orphan_after_ms), (OnOrphan::PowerOff, DurationMs(1000)));
    serde_json::to_string(&join).unwrap()
}

pub(super) fn order(launch: u64, count: u32) -> LaunchOrder {
    let launch = LaunchId(launch);
    LaunchOrder {
        cluster: ClusterId::from("00ff"),
        cluster_name: "lab".into(),
        launch,
        count,
        shape: shape("c6i.large"),
        image: LaunchImage { name: "debian-12".into(), reference: String::new() },
        spot: false,
        subnet: String::new(),
        names: (0..count).map(|index| format!("compute-{index}")).collect(),
        joins: (0..count).map(|index| join(launch, index)).collect(),
        tags: [
            (CLUSTER_TAG.to_owned(), "00ff".to_owned()),
            (LAUNCH_TAG.to_owned(), launch.to_string()),
        ]
        .into(),
        ec2: Ec2Pool::default(),
    }
}
