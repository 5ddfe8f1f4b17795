//! Nothing outlives its job, its node or its cluster.
use pcluster_tests::{Cluster, Setup, people, procs, until};

#[test]
fn a_daemonised_grandchild_dies_with_its_job() {
    daemon_dies(&Cluster::new("daemon"));
}

#[test]
fn a_daemonised_grandchild_dies_also_where_the_user_has_no_control_groups() {
    let Some(person) = people::is_root().then(|| people::named("nobody")).flatten() else {
        pcluster_tests::skip("a cluster of another user (it needs root, and the user nobody)");
        return;
    };
    daemon_dies(&Cluster::with("plain", Setup { person: Some(person), ..Setup::default() }));
}

fn daemon_dies(cluster: &Cluster) {
    // Its own session, its own environment, another directory, and no parent left.
    let daemon = "(env -i setsid sh -c 'cd /; echo $$ >\"$1\"; trap \"\" TERM HUP; sleep 1000; sleep 1000' sh \"$PWD/pid\" &)";
    let id =
        cluster.submit(&[], &format!("{daemon}; while [ ! -s pid ]; do sleep 0.05; done; exit 0"));
    assert_eq!(cluster.wait(&id), 0);
    let pid: i32 = cluster.file("pid").trim().parse().unwrap();
    until("the end of the daemon", || (!procs::is_alive(pid)).then_some(()));
    assert_eq!(cluster.live_nodes().len(), 1, "the job's end ended it, not the node's");
    cluster.down(&[]);
}

#[test]
fn down_now_ends_running_jobs_and_keeps_the_queue() {
    let cluster = Cluster::with("now", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let running = cluster.submit(&[], "echo $$ >pid; trap '' TERM; while :; do sleep 0.05; done");
    let waiting = cluster.submit(&["-J", "later"], "exit 3");
    cluster.until_lines("pid", 1);
    let pid: i32 = cluster.file("pid").trim().parse().unwrap();
    let said = cluster.down(&["--now"]);
    assert!(said.out.contains("0 left"), "{said:#?}");
    assert!(!procs::is_alive(pid));
    cluster.up();
    assert_eq!(cluster.outcome_of(&running), "cancelled");
    assert_eq!(cluster.wait(&waiting), 3, "it went on with the queue");
    cluster.down(&[]);
}

#[test]
fn down_waits_for_running_jobs() {
    let cluster = Cluster::with("waits", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let running = cluster.submit(
        &[],
        "echo up >>started; while [ ! -e go ]; do sleep 0.05; done; echo done >>ended",
    );
    let waiting = cluster.submit(&["-J", "later"], "exit 3");
    cluster.until_lines("started", 1);
    let down = cluster.start(&mut cluster.command(&["down"]));
    until("the word of down", || down.out().contains("waits for 1 running job").then_some(()));
    cluster.run(&["submit", "--wrap", "true"]).expect_code(3).expect_words(&["going down"]);
    cluster.touch("go");
    let said = down.ended(pcluster_tests::PATIENCE).expect_code(0);
    assert!(said.out.contains("0 left"), "{said:#?}");
    assert_eq!(cluster.file("ended"), "done\n");
    cluster.up();
    assert_eq!((cluster.outcome_of(&running).as_str(), cluster.wait(&waiting)), ("completed", 3));
    cluster.down(&[]);
}

#[test]
fn a_node_without_work_and_without_a_head_goes_by_itself() {
    let cluster = Cluster::with(
        "orphan",
        Setup {
            compute: "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"1 h\"".to_owned(),
            head: "orphan_after = \"2 s\"\nreport_hold = \"2 s\"\nheartbeat = \"500 ms\"\n"
                .to_owned(),
            ..Setup::default()
        },
    );
    let id = cluster.submit(&[], "exit 0");
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.live_nodes().len(), 1);
    cluster.kill_head();
    until("the end of the node", || cluster.processes().is_empty().then_some(()));
    cluster.up();
    cluster.until_no_nodes();
    cluster.down(&[]);
}

#[test]
fn a_node_is_drained_terminated_and_shown_with_its_story() {
    let cluster = Cluster::with(
        "nodes",
        Setup::compute("cpus = 1, memory = \"512 MB\", max = 2, idle_timeout = \"1 h\""),
    );
    let first = cluster.submit(&[], "echo up >>started; while [ ! -e go ]; do sleep 0.05; done");
    cluster.until_lines("started", 1);
    cluster.ok(&["node", "drain", "compute-1"]);
    assert_eq!(cluster.live_nodes()[0]["state"], "draining");
    cluster.ok(&["node", "resume", "compute-1"]);
    cluster.ok(&["node", "drain", "compute-1"]);
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 0);
    cluster.until_no_nodes();
    let second = cluster.submit(&[], "true");
    assert_eq!(cluster.wait(&second), 0);
    cluster.ok(&["node", "terminate", "compute-2"]);
    cluster.until_no_nodes();
    let shown = cluster.ok(&["node", "show", "compute-2"]).out;
    assert!(shown.contains("launch asked") && shown.contains("registered"), "{shown}");
    assert!(!cluster.ok(&["node", "log", "compute-2"]).out.is_empty());
    cluster.down(&[]);
}
