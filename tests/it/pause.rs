//! The head's machine sleeps: the head is stopped past all its timers and goes on.
use pcluster_tests::{Cluster, Setup, procs};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

#[test]
fn a_head_that_slept_past_its_timers_gives_up_no_node_and_loses_no_job() {
    let cluster = Cluster::with(
        "pause",
        Setup {
            compute: "cpus = 1, memory = \"512 MB\", max = 1, lost_grace = \"2 s\"".to_owned(),
            head: "heartbeat = \"500 ms\"\nsilent_after = \"2 s\"\norphan_grace = \"2 s\"\n"
                .to_owned(),
            ..Setup::default()
        },
    );
    let id =
        cluster.submit(&[], "echo start >>starts; while [ ! -e go ]; do sleep 0.05; done; exit 5");
    cluster.until_lines("starts", 1);
    let node = cluster.live_nodes()[0]["id"].clone();
    let head = cluster.head_pid();
    procs::signal(head, Signal::STOP);
    // Nothing to wait for: the pause itself is what is tested, and it must pass the timers.
    std::thread::sleep(Duration::from_secs(8));
    procs::signal(head, Signal::CONT);
    cluster.ok(&["queue"]);
    // Time for a wrong decision to be made: longer than lost_grace and silent_after together.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.state_of(&id), "running");
    assert_eq!(cluster.live_nodes()[0]["id"], node);
    fs::write(cluster.work().join("go"), "").unwrap();
    assert_eq!(cluster.wait(&id), 5);
    assert_eq!(
        (cluster.file("starts").as_str(), cluster.rows(&id)[0]["attempt"].as_u64()),
        ("start\n", Some(1))
    );
    cluster.down(&[]);
}
