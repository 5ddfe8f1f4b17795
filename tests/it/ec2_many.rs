//! Hundreds of instances for an array of thousands of tasks, from zero to zero, counted in calls of EC2.
//!
//! `PCLUSTER_EC2_MANY=1000` makes it a thousand instances and ten thousand tasks. Deliberately absent: bounds on
//! times; they are printed.
use pcluster_model::Resources;
use pcluster_tests::cloud::Cloud;
use pcluster_tests::crowd::Crowd;
use pcluster_tests::{Cluster, memory};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Machines of one launch and ends of one call, at most.
const AT_ONCE: u64 = 500;
/// Tasks for each machine.
const TASKS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(600);

/// Its files go also when the test fails.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What is done meanwhile until something is so, and how long that took.
fn phase(what: &str, crowd: &mut Crowd, cloud: &Cloud, mut over: impl FnMut(&Crowd) -> bool) {
    let began = Instant::now();
    loop {
        crowd.follow(cloud);
        if over(crowd) {
            println!("{what}: {:.1} s", began.elapsed().as_secs_f64());
            return;
        }
        let (connected, holding, ended) = (crowd.connected(), crowd.holding(), crowd.ended());
        let words = format!("{what}: {connected} connected, {holding} runs, {ended} ended");
        assert!(began.elapsed() < PATIENCE, "{words}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn many_instances_for_an_array_are_few_calls() {
    let many = std::env::var("PCLUSTER_EC2_MANY").ok().and_then(|text| text.parse().ok());
    let many: usize = many.unwrap_or(200);
    let root = std::env::temp_dir().join(format!("pct-ec2-many-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let Some(cloud) = Cloud::start(&root, false) else { return };
    let _folder = Folder(root);
    let compute = format!("types = [\"c6i.large\"], max = {many}, idle_timeout = \"10 s\"");
    let cluster =
        Cluster::with("many", crate::ec2_matrix::setup(&compute, cloud.environment().into()));
    let usable = Resources { cpus: 2, memory_bytes: 4 << 30, gpus: 0, tmp_bytes: 8 << 30 };
    let mut crowd = Crowd::new(&cloud, usable);
    let tasks = many * TASKS;
    let array = format!("1-{tasks}");
    let job = cluster.submit(&["--array", &array, "--cpus-per-task", "2", "--time", "1h"], "true");
    phase("instances launched", &mut crowd, &cloud, |_| launched(&cloud) == many);
    phase("agents joined, each with a task", &mut crowd, &cloud, |crowd| crowd.holding() == many);
    crowd.open();
    phase("tasks ended", &mut crowd, &cloud, |crowd| crowd.ended() == tasks);
    phase("instances ended", &mut crowd, &cloud, |_| living(&cloud) == 0);
    phase("nodes gone", &mut crowd, &cloud, |_| cluster.live_nodes().is_empty());
    assert_eq!(cluster.wait(&job), 0);
    let head = memory::peak(cluster.head_pid()).expect("the head lives");
    println!("peak of the head: {} MiB", head >> 20);
    assert_eq!((launched(&cloud), crowd.ended()), (many, tasks), "nothing was made or run twice");
    let calls = cloud.see("calls");
    println!("calls: {calls}");
    let count = |action: &str| calls[action].as_u64().unwrap_or(0);
    let launches = (many as u64).div_ceil(AT_ONCE);
    // A call that a busy cloud answers too late is made again, and makes nothing new.
    assert!((launches..=launches + 4).contains(&count("RunInstances")), "{calls}");
    // Nodes become idle one after another: some calls more than the fewest.
    assert!(count("TerminateInstances") <= launches + 20, "{calls}");
    // By time and by what is new, not by machine.
    assert!(count("DescribeInstances") <= 100, "{calls}");
    let others: u64 = calls.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    let others = others - count("RunInstances") - count("TerminateInstances");
    assert!(others - count("DescribeInstances") <= 12, "{calls}");
    cluster.verify();
    drop(crowd);
    drop(cluster);
}

fn launched(cloud: &Cloud) -> usize {
    cloud.see("meter").as_array().unwrap().len()
}

fn living(cloud: &Cloud) -> usize {
    let meter = cloud.see("meter");
    meter.as_array().unwrap().iter().filter(|span| span["ended"].is_null()).count()
}
