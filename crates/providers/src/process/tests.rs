use super::*;
use crate::conformance::{self, Subject};
use crate::local::dir::{LaunchRecord, MachineRecord};
use crate::provider::LaunchImage;
use crate::{LaunchAnswer, Phase, Provider, Target};
use pcluster_model::InstanceRef;
use pcluster_model::Timestamp;
use pcluster_model::{LaunchId, Resources};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

/// A directory of its own, removed at the end together with every machine in it.
struct Place {
    root: PathBuf,
}

/// Stands in for the agent: a machine that speaks once and lives until it is killed. `exec` makes
/// it one process, so that a kill leaves nothing.
const STAND_IN: &str = "#!/bin/sh\ncase $1 in\nmachine) echo \"machine $2\"; exec sleep 300;;\nsweep) exit 0;;\nesac\n";

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("pc provider {name} {}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let place = Self { root };
        fs::write(place.agent(), STAND_IN).unwrap();
        fs::set_permissions(place.agent(), fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    fn process(&self) -> ProcessProvider {
        ProcessProvider::new(ProcessSettings::new(&self.root, self.agent(), cluster()))
    }

    fn machine(&self, instance: &InstanceRef) -> MachineRecord {
        let path = self.root.join("nodes").join(instance.as_str()).join("machine.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let provider = self.process();
        for dir in provider.shop.nodes.all().unwrap() {
            dir.mark_terminated().unwrap();
            machine::kill(&dir).unwrap();
        }
        fs::remove_dir_all(&self.root).unwrap();
    }
}

impl Subject for Place {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(self.process())
    }

    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder {
        order(launch, count)
    }
}

fn cluster() -> ClusterId {
    ClusterId::from("0123456789abcdef")
}

fn order(launch: LaunchId, count: u32) -> LaunchOrder {
    LaunchOrder {
        cluster: cluster(),
        cluster_name: "lab".to_owned(),
        launch,
        count,
        shape: Shape {
            name: "1c".to_owned(),
            arch: "x86_64".to_owned(),
            total: Resources { cpus: 1, memory_bytes: 1 << 30, gpus: 0, tmp_bytes: 0 },
            gpu_type: String::new(),
            price: None,
            spot_price: None,
            reserve_bytes: 0,
        },
        image: LaunchImage { name: "host".to_owned(), reference: String::new() },
        spot: false,
        subnet: String::new(),
        ec2: pcluster_model::config::Ec2Pool::default(),
        names: (0..count).map(|index| format!("compute-{index}")).collect(),
        joins: (0..count).map(|index| format!("{{\"join\":{index}}}")).collect(),
        tags: BTreeMap::from([("cluster".to_owned(), "0123456789abcdef".to_owned())]),
    }
}

fn launch_now(place: &Place, order: &LaunchOrder) -> Vec<LaunchAnswer> {
    place.process().shop.launch(order).unwrap()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn the_process_provider_keeps_every_rule() {
    let place = Place::new("conformance");
    conformance::run(&place).await.unwrap();
    let listed = place.process().list().await.unwrap();
    assert!(listed.iter().all(|one| one.phase == Phase::Ended), "{listed:?}");
}

#[test]
fn the_join_order_is_for_nobody_elses_eyes() {
    let place = Place::new("join");
    launch_now(&place, &order(LaunchId(1), 1));
    let join = place.root.join("nodes/p-1.0/join.json");
    assert_eq!(fs::read_to_string(&join).unwrap(), "{\"join\":0}");
    assert_eq!(fs::metadata(&join).unwrap().permissions().mode() & 0o777, 0o600);
    let nodes = fs::metadata(place.root.join("nodes")).unwrap();
    assert_eq!(nodes.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_machine_that_was_killed_from_outside_is_listed_with_an_estimated_end() {
    let place = Place::new("killed");
    let answer = launch_now(&place, &order(LaunchId(1), 1)).remove(0).unwrap();
    let record = place.machine(&answer.instance);
    pidfd_kill(&record);
    wait_for("the machine's end", || record.open().is_none());
    let look = |place: &Place| place.process().shop.list().unwrap().remove(0);
    let first = look(&place);
    assert_eq!((first.phase, first.ended_estimated), (Phase::Ended, true));
    assert_eq!(look(&place).ended_at, first.ended_at, "noticed once, written down once");
}

fn pidfd_kill(record: &MachineRecord) {
    let handle = record.open().unwrap();
    rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_dead_machine_that_cannot_be_swept_is_listed_on_with_the_others() {
    let place = Place::new("unswept");
    let answer = launch_now(&place, &order(LaunchId(1), 2)).remove(0).unwrap();
    let record = place.machine(&answer.instance);
    pidfd_kill(&record);
    wait_for("the machine's end", || record.open().is_none());
    fs::write(place.agent(), "#!/bin/sh\nexit 3\n").unwrap();
    let phases: Vec<Phase> =
        place.process().shop.list().unwrap().iter().map(|one| one.phase).collect();
    assert_eq!(phases, [Phase::Stopping, Phase::Running]);
}

#[test]
fn another_process_with_the_same_number_is_not_the_machine() {
    let own = MachineRecord::of(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert!(own.open().is_some());
    let other = MachineRecord { start_ticks: own.start_ticks + 1, ..own.clone() };
    assert!(other.open().is_none());
    assert!(MachineRecord { boot_id: "before".to_owned(), ..own }.open().is_none());
}

#[test]
fn a_launch_cut_off_before_its_process_is_finished_by_the_same_order() {
    let place = Place::new("cut");
    let provider = place.process();
    let order = order(LaunchId(4), 1);
    provider.shop.nodes.make().unwrap();
    let dir = provider.shop.nodes.instance(LaunchId(4), 0);
    let record = LaunchRecord {
        cluster: cluster(),
        launch: LaunchId(4),
        index: 0,
        name: String::new(),
        launched_at: Timestamp(77),
        tags: BTreeMap::new(),
        image: String::new(),
    };
    dir.prepare("{}").unwrap();
    dir.write_launch(&record).unwrap();
    assert_eq!(provider.shop.list().unwrap()[0].phase, Phase::Pending);
    let answer = provider.shop.launch(&order).unwrap().remove(0).unwrap();
    assert_eq!(answer.launched_at, Timestamp(77));
    assert_eq!(provider.shop.list().unwrap()[0].phase, Phase::Running);
}

#[test]
fn instances_of_another_cluster_are_not_ours() {
    let place = Place::new("foreign");
    launch_now(&place, &order(LaunchId(1), 1));
    let mut settings = ProcessSettings::new(&place.root, place.agent(), ClusterId::from("ffff"));
    settings.keep_ended_ms = 0;
    assert!(ProcessProvider::new(settings).shop.list().unwrap().is_empty());
}

#[test]
fn an_ended_instance_leaves_its_meter_and_nothing_else_and_later_that_too() {
    let place = Place::new("meter");
    launch_now(&place, &order(LaunchId(1), 1));
    let scratch = place.root.join("nodes/p-1.0/tmp/deep");
    fs::create_dir_all(&scratch).unwrap();
    place.process().shop.terminate(&[Target::Launch(LaunchId(1))]).unwrap();
    assert!(!scratch.exists() && !place.root.join("nodes/p-1.0/join.json").exists());
    assert!(place.process().shop.list().unwrap()[0].ended_at.is_some());
    let mut settings = ProcessSettings::new(&place.root, place.agent(), cluster());
    settings.keep_ended_ms = 0;
    let later = ProcessProvider::new(settings);
    wait_for("the meter's own end", || later.shop.list().unwrap().is_empty());
    assert!(!place.root.join("nodes/p-1.0").exists());
}

fn refusal(place: &Place, change: impl FnOnce(&mut LaunchOrder)) -> String {
    let mut order = order(LaunchId(1), 1);
    change(&mut order);
    let error = place.process().shop.launch(&order).unwrap_err();
    assert_eq!(error.class, ErrorClass::BadConfig);
    error.message
}

#[test]
fn a_wrong_image_is_named() {
    let place = Place::new("image");
    let folder = place.root.join("img");
    let say = |reference: &Path| {
        let reference = reference.to_str().unwrap().to_owned();
        refusal(&place, |order| {
            order.image = LaunchImage { name: "genomics".to_owned(), reference }
        })
    };
    assert!(say(&folder).contains("img is not a directory"));
    fs::create_dir(&folder).unwrap();
    let missing = say(&folder);
    assert!(
        missing.starts_with("image \"genomics\": cannot read") && missing.contains("image.toml")
    );
    fs::write(folder.join("image.toml"), "name = \n").unwrap();
    assert!(say(&folder).contains("image.toml"));
    assert!(say(Path::new("relative")).contains("not an absolute path"));
}

#[test]
fn a_missing_agent_is_named() {
    let place = Place::new("agent");
    fs::remove_file(place.agent()).unwrap();
    assert!(refusal(&place, |_| ()).contains("agent"));
    fs::write(place.agent(), "no program").unwrap();
    assert!(refusal(&place, |_| ()).contains("not an executable file"));
}

#[test]
fn a_sweep_that_fails_leaves_the_bill_open() {
    let place = Place::new("sweep");
    launch_now(&place, &order(LaunchId(1), 1));
    fs::write(place.agent(), "#!/bin/sh\nexit 3\n").unwrap();
    let ended = place.process().shop.terminate(&[Target::Launch(LaunchId(1))]);
    assert!(ended.unwrap_err().message.contains("p-1.0"));
    assert_eq!(place.process().shop.list().unwrap()[0].phase, Phase::Stopping);
    fs::write(place.agent(), STAND_IN).unwrap();
    place.process().shop.terminate(&[Target::Launch(LaunchId(1))]).unwrap();
    assert_eq!(place.process().shop.list().unwrap()[0].phase, Phase::Ended);
}

#[test]
fn a_launcher_stands_before_the_machine_and_knows_its_name() {
    let agent = || {
        let mut command = Command::new("/a/agent");
        command.arg("machine").arg("/d").env_clear().env("PATH", "/bin");
        command
    };
    let words = |command: &Command| -> Vec<String> {
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect()
    };
    let launcher = ["nsenter", "--net=/run/netns/{node}", "--"].map(String::from);
    let whole = launched(&launcher, "compute-7", agent());
    let expected = ["nsenter", "--net=/run/netns/compute-7", "--", "/a/agent", "machine", "/d"];
    assert_eq!(words(&whole), expected);
    assert_eq!(whole.get_envs().count(), 1);
    assert_eq!(words(&launched(&[], "compute-7", agent())), ["/a/agent", "machine", "/d"]);
}

#[test]
fn a_machine_that_ends_before_anybody_has_looked_at_it_has_ended() {
    let place = Place::new("quick");
    fs::write(place.agent(), "#!/bin/sh\nexit 0\n").unwrap();
    let provider = place.process();
    let answers = provider.shop.launch(&order(LaunchId(1), 20)).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    wait_for("the end of all", || {
        provider.shop.list().unwrap().iter().all(|one| one.phase == Phase::Ended)
    });
    // Dead and not waited for, it has a record still; it is no living machine.
    let mut child = Command::new("true").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait_for("its end", || MachineRecord::of(pid).is_none());
    let record = MachineRecord::of_child(pid).unwrap();
    assert!(record.open().is_none());
    child.wait().unwrap();
}
