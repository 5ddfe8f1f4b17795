//! Nodes that are virtual machines: booted from an image that is built here, with a kernel, users, disks
//! and a network of their own.
use pcluster_images::{KernelSource, Programs, Store};
use pcluster_model::config::VmAccel;
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId, Resources, Shape};
use pcluster_providers::conformance::{self, Subject};
use pcluster_providers::vm::{Network, VmProvider, VmSettings};
use pcluster_providers::{ErrorClass, LaunchImage, LaunchOrder, Phase, Provider};
use pcluster_tests::{Cluster, PATIENCE, Setup, bins, meter, orders, scripts, until, vms, within};
use pcluster_wire::JoinOrder;
use std::path::PathBuf;
use std::time::Duration;

/// The provider by itself, with machines whose head is nowhere.
struct Place {
    root: PathBuf,
}

const CLUSTER: &str = "0123456789abcdef";

impl Place {
    fn new(label: &str) -> Self {
        let root = std::env::temp_dir().join(format!("pct-vm-{label}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    fn vm(&self) -> VmProvider {
        VmProvider::new(VmSettings {
            state_dir: self.root.clone(),
            cluster: ClusterId::from(CLUSTER),
            shapes: Vec::new(),
            program: bins::folder().join("pcluster-headnode"),
            programs: Programs { folder: bins::folder().to_path_buf() },
            images: Store::new(vms::images()),
            kernel: KernelSource::Found,
            accel: VmAccel::Auto,
            network: Network::User,
        })
    }

    fn join(launch: LaunchId, index: u32) -> JoinOrder {
        let node = NodeId { launch, index };
        JoinOrder {
            instance: InstanceRef(format!("v-{node}")),
            head_addresses: vec!["10.0.2.2:1".into()],
            ..orders::join(CLUSTER, node)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let stuck = pcluster_tests::procs::end_all(&self.root, Duration::from_secs(20));
        let _ = std::fs::remove_dir_all(&self.root);
        assert!(std::thread::panicking() || stuck.is_empty(), "these would not end: {stuck:#?}");
    }
}

impl Subject for Place {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(self.vm())
    }

    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder {
        let text = |index| serde_json::to_string(&Self::join(launch, index)).unwrap();
        LaunchOrder {
            cluster: ClusterId::from(CLUSTER),
            cluster_name: "lab".into(),
            launch,
            count,
            shape: Shape {
                name: "1c".into(),
                arch: std::env::consts::ARCH.into(),
                total: Resources { cpus: 1, memory_bytes: 256 << 20, gpus: 0, tmp_bytes: 64 << 20 },
                gpu_type: String::new(),
                price: None,
                spot_price: None,
                reserve_bytes: 0,
            },
            image: LaunchImage { name: "minimal".into(), reference: String::new() },
            spot: false,
            subnet: String::new(),
            ec2: pcluster_model::config::Ec2Pool::default(),
            names: (0..count).map(|index| format!("compute-{index}")).collect(),
            joins: (0..count).map(text).collect(),
            tags: std::collections::BTreeMap::from([("cluster".into(), CLUSTER.into())]),
        }
    }
}

#[test]
fn the_provider_keeps_every_rule_with_real_machines() {
    let Some(_turn) = vms::turn() else { return };
    let place = Place::new("rules");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(conformance::run(&place)).unwrap();
    let listed = runtime.block_on(place.vm().list()).unwrap();
    assert!(listed.iter().all(|one| one.phase == Phase::Ended), "{listed:?}");
    let left = pcluster_tests::procs::of_folder(&place.root);
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_launch_that_is_refused_leaves_neither_a_secret_nor_an_address() {
    let Some(_turn) = vms::turn() else { return };
    let place = Place::new("refused");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let nodes = place.root.join("nodes");
    let left = || {
        let entries = std::fs::read_dir(&nodes).unwrap().flatten().map(|entry| entry.file_name());
        entries.filter(|name| !name.as_encoded_bytes().starts_with(b".")).collect::<Vec<_>>()
    };
    let refused = |order: &LaunchOrder| {
        let answers = runtime.block_on(place.vm().launch(order)).unwrap();
        answers.into_iter().next().unwrap().unwrap_err()
    };
    // Refused by its image, which is looked at when the join order is on disk.
    let mut order = place.order(LaunchId(1), 1);
    order.image.name = "nosuch".into();
    let error = refused(&order);
    assert_eq!(error.class, ErrorClass::BadConfig, "{error:?}");
    assert!(error.message.contains("there is no image nosuch"), "{error:?}");
    assert_eq!(left(), [""; 0]);
    // Refused by what was promised already, or by the machine's size.
    order.shape.total.memory_bytes = 1 << 50;
    let error = refused(&order);
    assert_eq!(error.class, ErrorClass::NoCapacity, "{error:?}");
    assert!(error.message.contains("one more 1c takes 1073741920"), "{error:?}");
    assert_eq!(left(), [""; 0]);
    // Refused by the disk, with its last file but one.
    std::fs::create_dir_all(nodes.join("v-2.0/vm.json")).unwrap();
    let error = refused(&place.order(LaunchId(2), 1));
    assert!(error.message.starts_with("cannot write v-2.0"), "{error:?}");
    assert_eq!(left(), [""; 0]);
}

/// A cluster of machines that see its own work folder.
pub(crate) fn cluster(label: &str, compute: &str, more: &str) -> Cluster {
    cluster_with(label, compute, more, "")
}

/// The same with lines of `[head]`.
pub(crate) fn cluster_with(label: &str, compute: &str, more: &str, head: &str) -> Cluster {
    let setup = vms::setup(compute, "WORK".as_ref(), more);
    up(cold(label, Setup { head: head.to_owned(), ..setup }))
}

/// The same for all users of this machine.
pub(crate) fn cluster_of_root(label: &str, compute: &str) -> Cluster {
    let setup = vms::setup(compute, "WORK".as_ref(), "");
    up(cold(label, Setup { system_socket: true, ..setup }))
}

fn up(cluster: Cluster) -> Cluster {
    cluster.up();
    cluster
}

/// A cluster of machines that was never started: those that are to share `WORK` see its own work folder.
pub(crate) fn cold(label: &str, setup: Setup) -> Cluster {
    let cluster = Cluster::cold(label, setup);
    let work = cluster.work().display().to_string();
    seeing(&cluster, "WORK", &format!("\"{work}\""));
    cluster
}

/// Puts what is known only when a cluster has its folder in the place of a shared path of its file.
pub(crate) fn seeing(cluster: &Cluster, name: &str, shared: &str) {
    let text = cluster.file("cluster.toml").replace(&format!("\"{name}\""), shared);
    std::fs::write(cluster.work().join("cluster.toml"), text).unwrap();
}

/// Waits as long as machines may take here, and gives the code of the job.
pub(crate) fn wait(cluster: &Cluster, id: &str) -> i32 {
    wait_within(cluster, id, PATIENCE * 8)
}

/// The same for real work, which takes longer.
pub(crate) fn wait_within(cluster: &Cluster, id: &str, patience: Duration) -> i32 {
    let ended = within(patience, || {
        let said = cluster.run(&["wait", id, "--timeout", "50s"]);
        // 7 is the time-out of `wait` itself, and then it says so.
        (said.code != 7 || !said.err.contains("error:")).then_some(said.code)
    });
    ended.unwrap_or_else(|| panic!("job {id} has not ended"))
}

#[test]
fn jobs_run_in_machines_from_zero_to_zero_although_the_head_is_killed() {
    let Some(_turn) = vms::turn() else { return };
    let cluster = cluster("vm", &vms::small(2), "");
    // The image has busybox and bash: a folder is the lock.
    let alone = "mkdir lock-$PCLUSTER_TASK_ID || exit 99";
    let gate = scripts::gate("go");
    let text = format!(
        "{alone}; echo $(hostname) $(uname -r) >>starts; {gate}; id -u >uid-$PCLUSTER_TASK_ID"
    );
    let id = cluster.submit(&["--array", "1-3"], &text);
    within(PATIENCE * 3, || (cluster.file("starts").lines().count() == 2).then_some(()))
        .expect("two machines boot");
    cluster.kill_head();
    cluster.up();
    cluster.touch("go");
    assert_eq!(wait(&cluster, &id), 0);
    assert_eq!(cluster.file("starts").lines().count(), 3, "{}", cluster.file("starts"));
    assert!(cluster.file("starts").starts_with("compute-"), "{}", cluster.file("starts"));
    assert_eq!(cluster.file("uid-3"), "0\n");
    // The boot log, and the console from its first word.
    let node = "compute-1";
    let log = cluster.ok(&["node", "log", node]).out;
    assert!(log.contains("registered"), "{log}");
    let (_, console) = log.split_once("--- the console of its machine\n").expect("its console");
    assert!(console.starts_with("machine compute-1 is up"), "{console}");
    let folder = cluster.state().join("nodes/v-1.0");
    let console = std::fs::read_to_string(folder.join("console.log")).unwrap();
    assert!(console.starts_with("machine compute-1 is up"), "{console}");
    assert!(console.contains("pcluster: network is up"), "{console}");
    cluster.until_no_nodes();
    meter::check(&cluster);
    cluster.down(&[]);
    until("the end of all machines", || cluster.processes().is_empty().then_some(()));
}

#[test]
fn a_machine_whose_pool_left_the_file_while_no_head_ran_is_ended() {
    let Some(_turn) = vms::turn() else { return };
    let compute = format!("{}, idle_timeout = \"1 h\"", vms::small(1));
    let cluster = cluster("left", &compute, "");
    let id = cluster.submit(&[], "true");
    assert_eq!(wait(&cluster, &id), 0);
    assert_eq!(cluster.node_processes("machine.json").len(), 1);
    cluster.kill_head();
    let text = "provider = \"process\"\ncompute = { name = \"other\", cpus = 1, memory = \"1 GB\", max = 1 }\n\
                [head]\nsettle = \"1 s\"\n";
    let name = format!("name = \"{}\"\n", cluster.name());
    std::fs::write(cluster.work().join("cluster.toml"), name + text).unwrap();
    cluster.up();
    cluster.until_no_nodes();
    let ended = cluster.state().join("nodes/v-1.0/ended.json");
    until("the machine's end", || ended.exists().then_some(()));
    cluster.down(&[]);
    until("the end of all machines", || cluster.processes().is_empty().then_some(()));
}

#[test]
fn a_power_cut_of_a_node_is_a_lost_node_and_its_job_runs_again() {
    let Some(_turn) = vms::turn() else { return };
    let cluster = cluster("cut", &vms::small(1), "");
    let text = format!("echo $PCLUSTER_ATTEMPT >>starts; {}", scripts::gate("go"));
    let id = cluster.submit(&[], &text);
    within(PATIENCE * 3, || (!cluster.file("starts").is_empty()).then_some(())).expect("it starts");
    let machine = cluster.node_process("machine.json");
    pcluster_tests::procs::end(machine, rustix::process::Signal::KILL);
    cluster.touch("go");
    assert_eq!(wait(&cluster, &id), 0);
    assert_eq!(cluster.file("starts").lines().count(), 2);
    let log = cluster.ok(&["show", &id]).out;
    assert!(log.contains("completed") || log.contains("ended"), "{log}");
    cluster.until_no_nodes();
    cluster.down(&[]);
}
