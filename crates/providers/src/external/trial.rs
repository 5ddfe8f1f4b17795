//! The conformance suite on a program that somebody writes.
//!
//! Invariant: it runs under a cluster id of its own, so that it meets no machine of a real cluster.
//! Deliberately absent: a head. The machines it makes find nobody to join, and are ended.
use super::{ExternalProvider, ExternalSettings};
use crate::conformance::Subject;
use crate::provider::{LaunchImage, LaunchOrder, Provider};
use pcluster_model::{DurationMs, InstanceRef, LaunchId, NodeId, Shape};
use pcluster_wire::{JoinOrder, OnOrphan};
use std::collections::BTreeMap;
use std::time::Duration;

/// A machine of the trial that everybody has forgotten ends itself after this.
const ORPHAN_AFTER: DurationMs = DurationMs::from_mins(30);

/// A program under test.
pub struct Trial<T> {
    pub settings: ExternalSettings,
    pub shape: Shape,
    pub image: LaunchImage,
    pub patience: Duration,
    /// Told about each rule that holds.
    pub tell: T,
}

impl<T: Fn(&'static str) + Sync> Subject for Trial<T> {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(ExternalProvider::new(self.settings.clone()))
    }

    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder {
        let cluster = self.settings.cluster.clone();
        let names: Vec<String> =
            (0..count).map(|index| format!("trial-{launch}-{index}")).collect();
        let join = |(index, name): (u32, &String)| JoinOrder {
            cluster: cluster.clone(),
            cluster_name: "trial".into(),
            node: NodeId { launch, index },
            node_name: name.clone(),
            instance: InstanceRef::default(),
            // Nobody is there.
            head_addresses: vec!["127.0.0.1:1".into()],
            head_key_sha256: "0".repeat(64),
            token: "0".repeat(64),
            limit: Some(self.shape.usable()),
            state_dir: "/var/lib/pcluster-agent".into(),
            image_dir: None,
            orphan_after_ms: ORPHAN_AFTER,
            report_hold_ms: ORPHAN_AFTER,
            on_orphan: if self.settings.external.power_off {
                OnOrphan::PowerOff
            } else {
                OnOrphan::Exit
            },
            accounts: None,
            local_home: false,
            metadata: false,
            mounts: Vec::new(),
            programs: Vec::new(),
        };
        let text = |join| serde_json::to_string(&join).unwrap_or_default();
        let tags =
            [("pcluster:cluster", cluster.to_string()), ("pcluster:launch", launch.to_string())];
        LaunchOrder {
            cluster_name: "trial".into(),
            launch,
            count,
            shape: self.shape.clone(),
            image: self.image.clone(),
            spot: false,
            subnet: String::new(),
            joins: (0..).zip(&names).map(join).map(text).collect(),
            names,
            tags: tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
            ec2: pcluster_model::config::Ec2Pool::default(),
            cluster,
        }
    }

    fn passed(&self, rule: &'static str) {
        (self.tell)(rule);
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}
