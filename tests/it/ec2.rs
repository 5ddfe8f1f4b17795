//! Nodes that are instances of EC2: against a cloud on loopback that boots them, with the moods of the real one.
use async_trait::async_trait;
use pcluster_api::Level;
use pcluster_model::config::{Ec2Pool, ProviderKind};
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId, Resources, Shape};
use pcluster_providers::checkup::Asked;
use pcluster_providers::conformance::{self, Subject};
use pcluster_providers::ec2::{Ec2Provider, Ec2Settings, PoolPlaces, StandingPrices};
use pcluster_providers::{
    ErrorClass, LaunchAnswer, LaunchImage, LaunchOrder, Listed, Offering, Phase, Provider,
    ProviderError, Target,
};
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{Cluster, orders, people, skip, until};
use pcluster_wire::JoinOrder;
use serde_json::json;
use std::path::PathBuf;

const CLUSTER: &str = "0123456789abcdef";

/// The provider by itself, with machines whose head is nowhere.
struct Place {
    root: PathBuf,
    cloud: Cloud,
    options: Ec2Pool,
    placing: Option<String>,
}

impl Place {
    fn new(label: &str, boots: bool) -> Option<Self> {
        if boots && !people::is_root() {
            skip("machines of the cloud need root here");
            return None;
        }
        let root = std::env::temp_dir().join(format!("pct-ec2-{label}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let cloud = Cloud::start(&root, boots)?;
        Some(Self { root, cloud, options: Ec2Pool::default(), placing: None })
    }

    fn ec2(&self) -> Ec2Provider {
        self.of(CLUSTER)
    }

    fn of(&self, cluster: &str) -> Ec2Provider {
        let pairs = self.cloud.environment().map(|(key, value)| (key.to_owned(), value));
        Ec2Provider::new(Ec2Settings {
            region: "us-east-1".into(),
            environment: Some(pairs.into()),
            cluster: ClusterId::from(cluster),
            cluster_name: "lab".into(),
            pools: vec![PoolPlaces {
                shapes: vec![shape("c6i.large")],
                subnets: Vec::new(),
                image: debian(),
                options: self.options.clone(),
            }],
            standing: StandingPrices::default(),
            placing: self.placing.clone(),
        })
    }

    fn subnets(&self) -> Vec<String> {
        self.cloud.see("facts")["subnets"].as_object().unwrap().keys().cloned().collect()
    }

    fn called(&self, action: &str) -> u64 {
        self.cloud.see("calls")[action].as_u64().unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn debian() -> LaunchImage {
    LaunchImage { name: "debian-12".into(), reference: String::new() }
}

fn shape(name: &str) -> Shape {
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

fn join(launch: LaunchId, index: u32) -> JoinOrder {
    JoinOrder { metadata: true, ..orders::join(CLUSTER, NodeId { launch, index }) }
}

impl Subject for Place {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(Prompt(self.ec2()))
    }

    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder {
        let text = |index| serde_json::to_string(&join(launch, index)).unwrap();
        let tags =
            [("pcluster:cluster", CLUSTER.to_owned()), ("pcluster:launch", launch.to_string())];
        LaunchOrder {
            cluster: ClusterId::from(CLUSTER),
            cluster_name: "lab".into(),
            launch,
            count,
            shape: shape("c6i.large"),
            image: debian(),
            spot: false,
            subnet: String::new(),
            names: (0..count).map(|index| format!("compute-{index}")).collect(),
            joins: (0..count).map(text).collect(),
            tags: tags.map(|(key, value)| (key.to_owned(), value)).into(),
            ec2: self.options.clone(),
        }
    }
}

/// The provider in a cloud whose lists are never behind.
struct Prompt(Ec2Provider);

#[async_trait]
impl Provider for Prompt {
    fn kind(&self) -> ProviderKind {
        self.0.kind()
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        self.0.launch(order).await
    }

    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        self.0.terminate(targets).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.0.list().await
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        self.0.offerings().await
    }

    async fn console(&self, instance: &InstanceRef) -> Result<String, ProviderError> {
        self.0.console(instance).await
    }

    fn consistency_window_ms(&self) -> u64 {
        0
    }
}

fn waits<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn the_provider_keeps_every_rule_with_machines_that_boot() {
    let Some(place) = Place::new("rules", true) else { return };
    waits(conformance::run(&place)).unwrap();
    let listed = waits(place.ec2().list()).unwrap();
    assert!(listed.iter().all(|one| one.phase == Phase::Ended), "{listed:?}");
    // The bill is EC2's: every end has the meter's time.
    let meter = place.cloud.see("meter");
    for span in meter.as_array().unwrap() {
        let one = listed.iter().find(|one| one.instance.as_str() == span["instance"]).unwrap();
        let seconds = [one.launched_at, one.ended_at.unwrap()].map(|at| at.0 / 1000);
        assert_eq!(json!(seconds), json!([span["launched"], span["ended"]]), "{one:?}");
        assert!(!one.ended_estimated, "{one:?}");
    }
}

#[test]
fn an_answer_that_was_lost_is_the_same_machines() {
    let Some(place) = Place::new("lost", false) else { return };
    let order = place.order(LaunchId(5), 3);
    for kind in ["lost", "torn"] {
        place.cloud.tell("faults", &json!([{"action": "RunInstances", "kind": kind}]));
        let error = waits(place.ec2().launch(&order)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unknown, "{kind}: {error:?}");
    }
    let launched = waits(place.ec2().launch(&order)).unwrap();
    assert_eq!(launched.iter().filter(|one| one.is_ok()).count(), 3);
    assert_eq!(waits(place.ec2().list()).unwrap().len(), 3);
    // Another version of the head writes other orders: what its token made before is found by its tags.
    let mut other = order.clone();
    other.joins.iter_mut().for_each(|join| *join = join.replace("127.0.0.1:1", "127.0.0.1:2"));
    let ids = |answers: &[LaunchAnswer]| -> Vec<(u32, InstanceRef)> {
        let known = answers.iter().filter_map(|one| one.as_ref().ok());
        known.map(|one| (one.index, one.instance.clone())).collect()
    };
    assert_eq!(ids(&waits(place.ec2().launch(&other)).unwrap()), ids(&launched));
    assert_eq!(waits(place.ec2().list()).unwrap().len(), 3);
}

#[test]
fn each_refusal_has_its_class() {
    let Some(place) = Place::new("refused", false) else { return };
    let launch = |number, count| waits(place.ec2().launch(&place.order(LaunchId(number), count)));
    // A part of a batch.
    place.cloud.tell("faults", &json!([{"action": "RunInstances", "kind": "capacity", "left": 2}]));
    let answers = launch(1, 3).unwrap();
    assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
    assert_eq!(answers[2].as_ref().unwrap_err().class, ErrorClass::NoCapacity);
    assert_eq!(launch(2, 3).unwrap_err().class, ErrorClass::NoCapacity);
    let said = |code: &str, message: &str, status: u16| {
        let fault = json!([{"action": "RunInstances", "kind": "error", "code": code, "message": message, "status": status}]);
        place.cloud.tell("faults", &fault);
        launch(3, 1).unwrap_err()
    };
    let quota =
        "You have requested more vCPU capacity than your current vCPU limit of 32 allows for …";
    let quota = said("VcpuLimitExceeded", quota, 400).class;
    assert!(
        matches!(&quota, ErrorClass::Quota { limit, .. } if limit.starts_with("32 ")),
        "{quota:?}"
    );
    assert!(matches!(
        said("RequestLimitExceeded", "slow", 503).class,
        ErrorClass::RateLimited { .. }
    ));
    let denied = said("UnauthorizedOperation", "You are not authorized", 403);
    assert_eq!(denied.class, ErrorClass::Denied);
    assert!(denied.message.contains("needs ec2:RunInstances"), "{denied}");
    assert_eq!(said("Unsupported", "not in this zone", 400).class, ErrorClass::NeverFits);
    assert_eq!(said("InternalError", "oops", 500).class, ErrorClass::Unknown);
    place.cloud.tell("faults", &json!([]));
    let mut order = place.order(LaunchId(9), 1);
    order.image.reference = "ami-00000000000000bad".into();
    let bad = waits(place.ec2().launch(&order)).unwrap_err();
    assert_eq!(bad.class, ErrorClass::BadConfig, "{bad}");
    let mut order = place.order(LaunchId(9), 1);
    order.shape.arch = "aarch64".into();
    order.image.reference = "ami-0000000000000d44d".into();
    let bad = waits(place.ec2().launch(&order)).unwrap_err();
    assert!(bad.message.contains("is for x86_64"), "{bad}");
    place.cloud.tell("faults", &json!([{"action": "DescribeInstances", "kind": "before"}]));
    assert_eq!(waits(place.ec2().list()).unwrap_err().class, ErrorClass::Unknown);
}

#[test]
fn a_gang_is_in_one_place_and_a_cluster_leaves_nothing_of_its_own() {
    let Some(mut place) = Place::new("gang", false) else { return };
    place.options = Ec2Pool { together: true, smt: false, ..Ec2Pool::default() };
    let mut order = place.order(LaunchId(4), 2);
    order.subnet = place.subnets().remove(0);
    order.spot = true;
    let provider = place.ec2();
    assert!(waits(provider.launch(&order)).unwrap().iter().all(Result::is_ok));
    assert!(place.cloud.see("meter")[0]["spot"].as_bool().unwrap());
    let group = format!("pcluster-{CLUSTER}");
    let facts = place.cloud.see("facts");
    assert_eq!(facts["placement_groups"], json!([format!("{group}-4")]));
    assert!(facts["groups"].as_array().unwrap().contains(&json!(group)));
    // Another cluster of the account has its own, and keeps it.
    let other = place.of("fedcba9876543210");
    let mut foreign = place.order(LaunchId(4), 1);
    foreign.cluster = ClusterId::from("fedcba9876543210");
    foreign.tags.insert("pcluster:cluster".into(), "fedcba9876543210".into());
    assert!(waits(other.launch(&foreign)).unwrap()[0].is_ok());
    assert_eq!(waits(other.list()).unwrap().len(), 1);
    // A new head finds what the old one made.
    let next = place.ec2();
    assert_eq!(waits(next.list()).unwrap().iter().filter(|one| one.name == "compute-1").count(), 1);
    waits(next.terminate(&[Target::Launch(LaunchId(4))])).unwrap();
    let said = waits(next.clean_up()).unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    let facts = place.cloud.see("facts");
    assert_eq!(facts["placement_groups"], json!([]));
    let left = facts["groups"].as_array().unwrap().clone();
    assert!(
        !left.contains(&json!(group)) && left.contains(&json!("pcluster-fedcba9876543210")),
        "{left:?}"
    );
    assert_eq!(waits(next.clean_up()).unwrap(), Vec::<String>::new());
    assert_eq!(waits(other.list()).unwrap()[0].phase, Phase::Running);
    assert_eq!(place.called("CreateSecurityGroup"), 2);
}

#[test]
fn scratch_is_the_machines_own_disk_or_a_volume_from_birth_to_end() {
    let Some(place) = Place::new("scratch", false) else { return };
    let launch = |number: u64, kind: &str, gb: u64| {
        let mut order = place.order(LaunchId(number), 1);
        order.shape = shape(kind);
        order.shape.total.tmp_bytes = gb * 1_000_000_000;
        assert!(waits(place.ec2().launch(&order)).unwrap()[0].is_ok());
        let calls = std::fs::read_to_string(place.root.join("calls.jsonl")).unwrap();
        let call = calls.lines().rfind(|line| line.contains("\"RunInstances\"")).unwrap();
        let asked: serde_json::Value = serde_json::from_str(call).unwrap();
        asked["asked"]["BlockDeviceMapping.2.Ebs.VolumeSize"].as_str().map(str::to_owned)
    };
    assert_eq!(launch(1, "c6i.large", 0), None);
    assert_eq!(launch(2, "c6i.large", 100).as_deref(), Some("95"));
    // It has 118 GB of its own.
    assert_eq!(launch(3, "c6id.large", 100), None);
    assert_eq!(launch(4, "c6id.large", 200).as_deref(), Some("190"));
}

#[test]
fn prices_and_rights_are_asked_for_and_nothing_is_done() {
    let Some(place) = Place::new("prices", false) else { return };
    let offerings = waits(place.ec2().offerings()).unwrap();
    assert!(offerings.iter().any(|one| one.spot && one.price.is_some()), "{offerings:?}");
    assert!(offerings.iter().any(|one| !one.spot && one.zone == "us-east-1a"), "{offerings:?}");
    let rights = waits(place.ec2().rights());
    let missing: Vec<_> = rights.iter().filter(|right| !right.granted).collect();
    let heads =
        pcluster_ec2::Action::ALL.iter().filter(|action| action.is_of(pcluster_ec2::Caller::Head));
    assert!(missing.is_empty() && rights.len() == heads.count(), "{missing:?}");
    let refused = json!([{"action": "TerminateInstances", "kind": "error", "code": "UnauthorizedOperation", "status": 403}]);
    place.cloud.tell("faults", &refused);
    let rights = waits(place.ec2().rights());
    let missing: Vec<_> = rights.iter().filter(|right| !right.granted).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(
        missing[0].hint,
        "add ec2:TerminateInstances to the head's policy: pcluster provider policy"
    );
    assert_eq!(place.cloud.see("meter"), json!([]));
}

#[test]
fn jobs_run_on_instances_and_down_leaves_nothing() {
    if !people::is_root() {
        skip("machines of the cloud need root here");
        return;
    }
    let folder = std::env::temp_dir().join(format!("pct-ec2-jobs-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let Some(cloud) = Cloud::start(&folder, true) else { return };
    let compute = "types = [\"c6i.large\"], max = 2, idle_timeout = \"20 s\"";
    let setup = crate::ec2_matrix::setup(compute, cloud.environment().into());
    let cluster = Cluster::with("ec2", setup);
    let said = cluster.ok(&["run", "--", "sh", "-c", "echo on $(hostname)"]);
    assert_eq!(said.out.trim(), "on compute-1");
    // A container that is killed leaves its control groups in this machine's; the cluster's end has them.
    let said = cluster.ok(&["down", "--now"]);
    assert!(said.out.contains("0 left"), "{said:#?}");
    assert!(said.out.contains("also       security group sg-"), "{said:#?}");
    until("the end of every machine", || {
        let meter = cloud.see("meter");
        let spans = meter.as_array().unwrap();
        (!spans.is_empty() && spans.iter().all(|span| !span["ended"].is_null())).then_some(())
    });
    let facts = cloud.see("facts");
    let own = |group: &serde_json::Value| group.as_str().unwrap().starts_with("pcluster-");
    assert!(!facts["groups"].as_array().unwrap().iter().any(own), "{facts}");
    drop(cloud);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn doctor_is_told_what_ec2_would_refuse() {
    let Some(place) = Place::new("doctor", false) else { return };
    let text = "provider = \"ec2\"\nhead = { address = \"10.0.0.1\" }\ncompute = { types = [\"c6i.large\"] }\n\
                [ec2]\nsubnets = [\"subnet-0bad\"]\n";
    let config = pcluster_config::samples::config(text);
    let asked = Asked { config: &config, thorough: false, progress: &|_| () };
    let look = || waits(place.ec2().checkup(&asked));
    let found = look();
    let wrong: Vec<&str> = found
        .iter()
        .filter(|one| one.level == Level::Attention)
        .map(|one| one.what.as_str())
        .collect();
    assert_eq!(wrong, ["pool compute has no use of subnet subnet-0bad"], "{found:#?}");
    assert!(found.iter().any(|one| one.what.contains("ami-0000000000000b22d")), "{found:#?}");
    assert!(found.iter().any(|one| one.what.contains("lets this head do all")), "{found:#?}");
    let refused = json!([{"action": "RunInstances", "kind": "error", "code": "UnauthorizedOperation", "status": 403}]);
    place.cloud.tell("faults", &refused);
    assert!(look().iter().any(|one| one.what == "this head may not do ec2:RunInstances"));
    let nobody = json!([{"action": "*", "kind": "error", "code": "AuthFailure", "status": 401, "times": -1}]);
    place.cloud.tell("faults", &nobody);
    let found = look();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].why.contains("EC2 does not know these credentials"), "{found:#?}");
    assert_eq!(place.cloud.see("meter"), json!([]));
}

#[test]
fn doctor_tries_the_rights_of_whoever_places_a_head() {
    let Some(mut place) = Place::new("placing", false) else { return };
    place.placing = Some("pcluster-head".into());
    let text = "provider = \"ec2\"\nhead = { type = \"t3.medium\" }\ncompute = { types = [\"c6i.large\"] }\n";
    let config = pcluster_config::samples::config(text);
    let asked = Asked { config: &config, thorough: false, progress: &|_| () };
    let look = || waits(place.ec2().checkup(&asked));
    let found = look();
    let wrong: Vec<_> = found.iter().filter(|one| one.level == Level::Attention).collect();
    assert!(
        wrong.is_empty() && found.iter().any(|one| one.what.contains("rights tried")),
        "{found:#?}"
    );
    // Another policy than a running head's.
    assert_eq!((place.called("DescribeSpotPriceHistory"), place.called("CreateVolume")), (0, 1));
    let refused = json!([{"action": "CreateVolume", "kind": "error", "code": "UnauthorizedOperation", "status": 403}]);
    place.cloud.tell("faults", &refused);
    let found = look();
    let missing = found.iter().find(|one| one.level == Level::Attention).unwrap();
    assert_eq!(missing.what, "whoever runs `pcluster up` here may not do ec2:CreateVolume");
    assert!(missing.hints[0].contains("provider policy --place"), "{missing:#?}");
    place.placing = Some("nobody".into());
    let found = waits(place.ec2().checkup(&asked));
    assert!(found.iter().any(|one| one.why.contains("nobody")), "{found:#?}");
    assert_eq!((place.cloud.see("meter"), place.cloud.see("volumes")), (json!([]), json!([])));
}
