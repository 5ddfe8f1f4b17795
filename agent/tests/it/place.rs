//! A state directory with process nodes, removed at the end together with everything on them.
use crate::fake_head::{FakeHead, PATIENCE};
use pcluster_model::{
    ClusterId, DurationMs, InstanceRef, JobId, JobSpec, LaunchId, NodeId, Resources, RunId, Shape,
};
use pcluster_providers::conformance::Subject;
use pcluster_providers::process::{ProcessProvider, ProcessSettings};
use pcluster_providers::{LaunchImage, LaunchOrder, Listed, Phase, Provider, Target};
use pcluster_wire::{HeadFrame, JoinOrder, OnOrphan, StartOrder, UserIdentity};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub struct Place {
    pub root: PathBuf,
    pub address: String,
    pub pin: String,
    pub orphan_after: DurationMs,
    pub image: Option<PathBuf>,
    pub soft_files: Option<u64>,
    /// The agent that nodes run.
    pub agent: PathBuf,
}

const CLUSTER: &str = "0123456789abcdef";

impl Place {
    pub fn new(name: &str, head: &FakeHead) -> Self {
        let keeper =
            Path::new(env!("CARGO_BIN_EXE_pcluster-agent")).with_file_name("pcluster-keeper");
        assert!(keeper.exists(), "build pcluster-keeper first: it lies beside the agent");
        let root = std::env::temp_dir().join(format!("pc agent {name} {}", std::process::id()));
        fs::create_dir_all(root.join("work")).unwrap();
        // Jobs of other users work here, as in a directory of their own.
        fs::set_permissions(root.join("work"), fs::Permissions::from_mode(0o777)).unwrap();
        let (address, pin) = (head.address.clone(), head.pin.clone());
        Self {
            root,
            address,
            pin,
            orphan_after: DurationMs::from_mins(3),
            image: None,
            soft_files: None,
            agent: env!("CARGO_BIN_EXE_pcluster-agent").into(),
        }
    }

    pub fn process(&self) -> ProcessProvider {
        let cluster = ClusterId::from(CLUSTER);
        let mut settings = ProcessSettings::new(self.root.join("state"), &self.agent, cluster);
        settings.soft_files = self.soft_files;
        ProcessProvider::new(settings)
    }

    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub fn node_dir(&self, instance: &InstanceRef) -> PathBuf {
        self.root.join("state/nodes").join(instance.as_str())
    }

    pub async fn launch(&self) -> InstanceRef {
        let answers = self.process().launch(&self.order(LaunchId(1), 1)).await.unwrap();
        answers.into_iter().next().unwrap().unwrap().instance
    }

    pub async fn listed(&self) -> Listed {
        self.process().list().await.unwrap().remove(0)
    }

    pub async fn wait_for_end(&self) -> Listed {
        let until = Instant::now() + PATIENCE;
        loop {
            let listed = self.listed().await;
            if listed.phase == Phase::Ended {
                return listed;
            }
            assert!(Instant::now() < until, "the instance does not end: {listed:?}");
            pause().await;
        }
    }

    /// A process of the node, by the record it is named in.
    pub fn pid(&self, instance: &InstanceRef, record: &str) -> i32 {
        let text = fs::read(self.node_dir(instance).join(record)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
    }

    pub fn start(&self, head: &FakeHead, run: u64, script: &str) -> Box<StartOrder> {
        let uid = rustix::process::getuid().as_raw();
        let spec = serde_json::json!({
            "name": "job", "output": "out-%j.txt", "work_dir": self.work(),
            "script": head.blob(script.as_bytes()), "environment": head.blob(b"FROM_SUBMIT=yes\0"),
        });
        let spec: JobSpec = serde_json::from_value(spec).unwrap();
        Box::new(StartOrder {
            run: RunId(run),
            order: run,
            job: JobId(run),
            task: None,
            raw_job: JobId(run),
            attempt: 1,
            spec,
            user: UserIdentity {
                name: "tester".to_owned(),
                uid,
                gid: rustix::process::getgid().as_raw(),
                groups: vec![],
                home: "/".to_owned(),
                shell: "/bin/sh".to_owned(),
                group_names: vec![],
            },
            pool: "compute".to_owned(),
            resources: Resources { cpus: 1, memory_bytes: 256 << 20, gpus: 0, tmp_bytes: 0 },
            nodes: vec!["compute-1".to_owned()],
            node_cpus: vec![],
            node_addresses: vec![],
            rank: 0,
            time_limit_ms: None,
            term_grace_ms: DurationMs(500),
            profile: None,
        })
    }

    pub fn starting(&self, head: &FakeHead, run: u64, script: &str) -> HeadFrame {
        HeadFrame::Start(self.start(head, run, script))
    }
}

impl Subject for Place {
    fn provider(&self) -> Box<dyn Provider> {
        Box::new(self.process())
    }

    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder {
        let resources = Resources { cpus: 2, memory_bytes: 1 << 30, gpus: 0, tmp_bytes: 0 };
        let join = |index| JoinOrder {
            cluster: ClusterId::from(CLUSTER),
            cluster_name: "lab".to_owned(),
            node: NodeId { launch, index },
            node_name: format!("compute-{index}"),
            instance: InstanceRef::from(format!("p-{launch}.{index}")),
            head_addresses: vec!["127.0.0.1:1".to_owned(), self.address.clone()],
            head_key_sha256: self.pin.clone(),
            token: "join-token".to_owned(),
            limit: Some(resources),
            state_dir: String::new(),
            image_dir: self.image.as_ref().map(|path| path.display().to_string()),
            orphan_after_ms: self.orphan_after,
            report_hold_ms: DurationMs::from_hours(1),
            on_orphan: OnOrphan::Exit,
            accounts: None,
            local_home: false,
            metadata: false,
            mounts: Vec::new(),
            programs: Vec::new(),
        };
        LaunchOrder {
            cluster: ClusterId::from(CLUSTER),
            cluster_name: "lab".to_owned(),
            launch,
            count,
            shape: Shape {
                name: "2c".to_owned(),
                arch: std::env::consts::ARCH.to_owned(),
                total: resources,
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
            joins: (0..count).map(|index| serde_json::to_string(&join(index)).unwrap()).collect(),
            tags: BTreeMap::new(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let provider = self.process();
        // Its own thread: a test's runtime may be ending.
        let ended = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listed = provider.list().await.unwrap();
                let all: Vec<Target> =
                    listed.into_iter().map(|one| Target::Instance(one.instance)).collect();
                provider.terminate(&all).await.unwrap();
            });
        });
        let ended = ended.join().is_ok();
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.root.display());
            return;
        }
        assert!(ended, "the nodes of {} do not end", self.root.display());
        fs::remove_dir_all(&self.root).unwrap();
    }
}

pub async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}

/// Whether a process can still run.
pub fn lives(pid: i32) -> bool {
    pcluster_keeper::proc::stat(pid).is_some_and(|stat| stat.is_live())
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came: {what}");
        pause().await;
    }
}

/// Waits for a file with a whole line and gives it.
pub async fn wait_for_line(path: &Path) -> String {
    let read = || fs::read_to_string(path).unwrap_or_default();
    wait_for(&format!("a line in {}", path.display()), || read().contains('\n')).await;
    read().lines().next().unwrap_or_default().to_owned()
}

/// Waits for a file with as many numbers and gives them.
pub async fn numbers(path: &Path, count: usize) -> Vec<i32> {
    let read = || -> Vec<i32> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    wait_for(&format!("{count} numbers in {}", path.display()), || read().len() >= count).await;
    read()
}

pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
