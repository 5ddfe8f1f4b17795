//! What is left of a launch that is refused, whatever refused it.
use super::*;
use crate::provider::LaunchImage;
use pcluster_model::{LaunchId, Resources};
use std::os::unix::fs::DirBuilderExt as _;

/// Machines that get an address and are refused after it.
#[derive(Debug)]
struct Refused {
    /// By their own maker; else by the disk, which does not take the launch.
    by_maker: bool,
}

impl Body for Refused {
    const KIND: ProviderKind = ProviderKind::Vm;
    const PREFIX: &'static str = "r-";

    fn check(&self, _: &LaunchOrder) -> Result<(), ProviderError> {
        Ok(())
    }

    fn furnish(&self, _: &LaunchOrder, dir: &InstanceDir) -> Result<(), ProviderError> {
        assert!(dir.path().join("join.json").is_file(), "the join order is there before");
        fs::write(dir.path().join("vm.json"), "10.87.0.2").unwrap();
        if self.by_maker {
            return Err(ProviderError::new(ErrorClass::BadConfig, "no"));
        }
        fs::DirBuilder::new().mode(0o700).create(dir.path().join("launch.json")).unwrap();
        Ok(())
    }

    fn command(&self, _: &InstanceDir, _: &str) -> Command {
        unreachable!("nothing of it is started")
    }

    fn sweep(&self, _: &InstanceDir) -> io::Result<()> {
        Ok(())
    }
}

fn order() -> LaunchOrder {
    LaunchOrder {
        cluster: ClusterId::from("c"),
        cluster_name: "lab".into(),
        launch: LaunchId(1),
        count: 1,
        shape: Shape {
            name: "1c".into(),
            arch: String::new(),
            total: Resources { cpus: 1, memory_bytes: 1, gpus: 0, tmp_bytes: 0 },
            gpu_type: String::new(),
            price: None,
            spot_price: None,
            reserve_bytes: 0,
        },
        image: LaunchImage { name: "minimal".into(), reference: String::new() },
        spot: false,
        subnet: String::new(),
        ec2: pcluster_model::config::Ec2Pool::default(),
        names: vec!["compute-1".into()],
        joins: vec!["secret".into()],
        tags: BTreeMap::new(),
    }
}

#[test]
fn a_launch_that_is_refused_after_it_was_furnished_leaves_nothing() {
    for by_maker in [true, false] {
        let root = std::env::temp_dir().join(format!("pcl-{by_maker}-{}", std::process::id()));
        let settings = LocalSettings {
            state_dir: root.clone(),
            cluster: ClusterId::from("c"),
            shapes: Vec::new(),
            keep_ended_ms: KEEP_ENDED_MS,
        };
        let local = Local::of(settings, Refused { by_maker });
        let answers = local.shop.launch(&order()).unwrap();
        assert!(matches!(answers[..], [Err(_)]), "{answers:?}");
        assert!(!root.join("nodes/r-1.0").exists(), "refused by its maker: {by_maker}");
        assert_eq!(local.shop.list().unwrap(), []);
        fs::remove_dir_all(&root).unwrap();
    }
}
