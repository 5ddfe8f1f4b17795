//! Orders of machines whose head is nowhere: what a provider is given when it is tried by itself.
use pcluster_model::{ClusterId, DurationMs, InstanceRef, NodeId};
use pcluster_wire::{JoinOrder, OnOrphan};

/// A machine of `cluster` that finds nobody to join, and ends itself after three minutes.
#[must_use]
pub fn join(cluster: &str, node: NodeId) -> JoinOrder {
    JoinOrder {
        cluster: ClusterId::from(cluster),
        cluster_name: "lab".into(),
        node,
        node_name: format!("compute-{}", node.index),
        instance: InstanceRef::default(),
        head_addresses: vec!["127.0.0.1:1".into()],
        head_key_sha256: "00".repeat(32),
        token: "token".into(),
        limit: None,
        state_dir: "/var/lib/pcluster-agent".into(),
        image_dir: None,
        orphan_after_ms: DurationMs::from_secs(180),
        report_hold_ms: DurationMs::from_secs(180),
        on_orphan: OnOrphan::PowerOff,
        accounts: None,
        local_home: false,
        metadata: false,
        programs: Vec::new(),
        mounts: Vec::new(),
    }
}
