//! Nodes whose head is gone for good: none bills for ever, and none forgets what it has not told.
use pcluster_tests::{Cluster, Setup, meter, scripts, until};
use std::path::PathBuf;
use std::time::Duration;

fn gated(cluster: &Cluster, name: &str) -> String {
    cluster.submit(&["-J", name], &scripts::gated(name, 7))
}

/// Folders of instances whose machines have written down their own end.
fn ended(cluster: &Cluster) -> Vec<PathBuf> {
    let mut folders = cluster.instances();
    folders.retain(|folder| folder.join("ended.json").exists());
    folders
}

#[test]
fn without_a_head_an_idle_node_goes_and_one_with_a_job_keeps_its_end_for_a_later_head() {
    let head = "orphan_after = \"2 s\"\nreport_hold = \"9 s\"\nheartbeat = \"500 ms\"\n";
    let setup = Setup {
        compute: "cpus = 1, memory = \"512 MB\", max = 2, idle_timeout = \"1 h\"".to_owned(),
        head: head.to_owned(),
        ..Setup::default()
    };
    let cluster = Cluster::with("orphans", setup);
    let (idle, busy) = (gated(&cluster, "idle"), gated(&cluster, "busy"));
    cluster.until_lines("starts", 2);
    cluster.touch("go-idle");
    assert_eq!(cluster.wait(&idle), 7);
    cluster.kill_head();
    until("the end of the idle node", || (ended(&cluster).len() == 1).then_some(()));
    // The other one works on, past the bound of an idle node, and then holds what it has to tell.
    cluster.touch("go-busy");
    cluster.until_lines("ends", 2);
    // Nothing to wait for: that it is still there after `orphan_after` is what is tested.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(ended(&cluster).len(), 1, "its node left with an end that nobody has heard of");
    cluster.up();
    assert_eq!(cluster.wait(&busy), 7);
    let attempts = cluster.rows(&busy)[0]["attempt"].as_u64();
    assert_eq!((attempts, cluster.file("starts").lines().count()), (Some(1), 2));

    // No head comes for longer than a node holds an end: it goes too, and the job, of whose end
    // nobody knows, runs again.
    let unheard = gated(&cluster, "unheard");
    cluster.until_lines("starts", 3);
    cluster.kill_head();
    cluster.touch("go-unheard");
    until("the end of everything", || cluster.processes().is_empty().then_some(()));
    assert_eq!(cluster.file("ends").lines().count(), 3);
    cluster.up();
    assert_eq!(cluster.wait(&unheard), 7);
    assert_eq!(cluster.rows(&unheard)[0]["attempt"], 2);
    let nodes = cluster.live_nodes();
    nodes
        .iter()
        .for_each(|node| drop(cluster.ok(&["node", "drain", node["name"].as_str().unwrap()])));
    meter::ends_even(&cluster);
}
