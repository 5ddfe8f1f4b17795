//! Full disks: the head's, the node's, and the one that a job writes to. What was accepted is kept,
//! ends are recorded, and when there is room again all goes on.
use pcluster_tests::cluster::text;
use pcluster_tests::disk::Disk;
use pcluster_tests::{Cluster, Setup, procs, until};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;

/// Of the head's disk: new jobs need 256 MB free, outputs 128, the ballast is 16.
const HEAD_DISK_MB: u32 = 300;
/// Ends when there is a file `go`.
const GATE: &str = "echo start >>starts; while [ ! -e go ]; do sleep 0.05; done; echo end >>ends";

/// A cluster with a disk for its head's state and another for its nodes.
fn with_disks(label: &str) -> (Cluster, std::sync::Arc<Disk>, std::sync::Arc<Disk>) {
    let cluster = Cluster::cold(label, Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let head = cluster.disk(&cluster.root().join("state"), HEAD_DISK_MB);
    let nodes = cluster.disk(&cluster.state().join("nodes"), 24);
    cluster.up();
    (cluster, head, nodes)
}

#[test]
fn a_head_on_a_full_disk_takes_no_new_job_and_ends_those_it_has() {
    if !Disk::can_be_made("a full disk under the head") {
        return;
    }
    let (cluster, disk, _nodes) = with_disks("full-head");
    let first = cluster.submit(&[], &format!("{GATE}; exit 7"));
    let second = cluster.submit(&["--key", "second"], "echo second >>starts; exit 5");
    let third = cluster.submit(&["--hold"], "exit 0");
    cluster.until_lines("starts", 1);

    disk.fill(100 << 20);
    cluster.script("more.sh", "exit 0");
    let refused = cluster.run(&["submit", "more.sh"]).expect_code(3);
    refused.expect_error("error: the disk of the head is nearly full: 100 MB free");
    refused.expect_words(&["256 MB free", "make room"]);
    let blobs = || fs::read_dir(cluster.state().join("blobs")).map_or(0, Iterator::count);
    let before = blobs();
    for number in 0..3 {
        cluster.script("more.sh", &format!("exit {number} # not the same"));
        cluster.run(&["submit", "more.sh"]).expect_code(3);
    }
    assert_eq!(blobs(), before, "a script that is refused takes no room");
    until("the word in status", || {
        cluster.run(&["status"]).out.contains("new jobs are refused").then_some(())
    });
    cluster.ok(&["cancel", &third]);

    // To the last byte: the head gives up its ballast and has room for ends.
    disk.fill(0);
    let ballast = cluster.state().join("ballast");
    until("the ballast to go", || (!ballast.exists()).then_some(()));
    cluster.touch("go");
    assert_eq!((cluster.wait(&first), cluster.wait(&second)), (7, 5));
    assert_eq!(cluster.state_of(&third), "finished");
    // Killed and started as it is.
    cluster.kill_head();
    cluster.up();
    assert_eq!(cluster.rows(&first)[0]["outcome"]["exit_code"], 7);
    cluster.run(&["submit", "more.sh"]).expect_code(3).expect_words(&["nearly full"]);

    disk.clear();
    let after = cluster.submit(&[], "echo after >>starts");
    assert_eq!(cluster.wait(&after), 0);
    assert_eq!(
        (cluster.file("starts").as_str(), cluster.file("ends").as_str()),
        ("start\nsecond\nafter\n", "end\n")
    );
    until("a new ballast", || ballast.exists().then_some(()));
    cluster.verify();
    cluster.down(&[]);
}

#[test]
fn a_head_killed_on_a_disk_without_a_byte_left_starts_there_and_records_the_end() {
    if !Disk::can_be_made("a head that starts on a full disk") {
        return;
    }
    let (cluster, disk, _nodes) = with_disks("full-start");
    let id = cluster.submit(&[], &format!("{GATE}; exit 9"));
    cluster.until_lines("starts", 1);
    // Before it can look: the ballast is still there.
    procs::signal(cluster.head_pid(), Signal::STOP);
    disk.fill(0);
    cluster.kill_head();
    assert!(cluster.state().join("ballast").exists());
    cluster.touch("go");
    cluster.until_lines("ends", 1);
    cluster.up();
    assert_eq!(cluster.wait(&id), 9);
    // And now without any: a head that cannot go on says why and leaves everything as it is.
    disk.fill(0);
    cluster.kill_head();
    let up = cluster.run(&["up"]);
    if up.code != 0 {
        up.expect_words(&["no space left"]);
    }
    disk.clear();
    cluster.up();
    assert_eq!(cluster.rows(&id)[0]["outcome"]["exit_code"], 9);
    assert_eq!(
        (cluster.file("starts").as_str(), cluster.file("ends").as_str()),
        ("start\n", "end\n")
    );
    cluster.verify();
    cluster.down(&[]);
}

#[test]
fn the_end_of_a_job_on_a_node_whose_disk_is_full_is_neither_lost_nor_doubled() {
    if !Disk::can_be_made("a full disk under a node") {
        return;
    }
    let (cluster, _head, disk) = with_disks("full-spool");
    let first = cluster.submit(&[], &format!("{GATE}; exit 7"));
    cluster.until_lines("starts", 1);
    disk.fill(0);
    // The end is told by an agent that has started on the full disk, too.
    procs::signal(cluster.node_process("agent.json"), Signal::KILL);
    cluster.touch("go");
    cluster.until_lines("ends", 1);
    assert_eq!(cluster.wait(&first), 7);
    assert_eq!(cluster.rows(&first)[0]["attempt"], 1);
    // What comes next cannot start there: it waits, and somebody can see why. What the first leaves free
    // when it is forgotten would be room enough.
    until("the first is forgotten on its node", || {
        let runs = cluster.instances().into_iter().map(|node| node.join("runs"));
        let mut left = runs.flat_map(|runs| fs::read_dir(runs).into_iter().flatten());
        left.next().is_none().then_some(())
    });
    disk.fill(0);
    let second = cluster.submit(&[], "echo second >>starts; exit 4");
    let says = |text: &str| text.contains("No space left");
    until("the reason", || {
        // A node that cannot even write down its agent says so on its console, and is tried for a while.
        let names = cluster.live_nodes().into_iter().map(|node| text(&node["name"]));
        let told = names.map(|name| cluster.run(&["node", "log", &name]).out);
        (says(&cluster.json(&["nodes"]).to_string())
            || says(&cluster.ok(&["why", &second]).out)
            || told.into_iter().any(|log| says(&log)))
        .then_some(())
    });
    disk.clear();
    assert_eq!(cluster.wait(&second), 4);
    assert_eq!(
        (cluster.file("starts").as_str(), cluster.file("ends").as_str()),
        ("start\nsecond\n", "end\n")
    );
    cluster.until_no_nodes();
    cluster.down(&[]);
}

#[test]
fn a_job_that_fills_the_shared_path_ends_with_its_own_code_and_others_go_on() {
    if !Disk::can_be_made("a full shared path") {
        return;
    }
    let cluster =
        Cluster::with("full-shared", Setup::compute("cpus = 2, memory = \"1 GB\", max = 1"));
    let small = cluster.work().join("small");
    let _disk = cluster.disk(&small, 2);
    // It sees the error at its own writes; its output, which is there as well, is cut.
    let text = "head -c 8M /dev/zero >data; echo \"code $?\" >>../result; echo lost; exit 3";
    let full = cluster.submit(&["-o", "small/out", "--chdir", "small", "--mem", "100M"], text);
    let other = cluster.submit(&["--mem", "100M"], &format!("{GATE}; exit 6"));
    assert_eq!(cluster.wait(&full), 3);
    assert_eq!(cluster.file("result"), "code 1\n");
    let said = cluster.ok(&["logs", &full]).out;
    assert!(said.contains("the disk of this output file is full"), "{said}");
    assert_eq!(cluster.state_of(&other), "running");
    cluster.touch("go");
    assert_eq!(cluster.wait(&other), 6);
    cluster.down(&[]);
}

#[test]
fn a_job_that_finds_no_room_for_its_scratch_ends_with_that_reason_and_the_next_one_runs() {
    if !Disk::can_be_made("a full scratch disk") {
        return;
    }
    let compute = "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"60 s\"";
    let cluster = Cluster::with("full-scratch", Setup::compute(compute));
    let own = "head -c 4M /dev/zero >$TMPDIR/data || exit 8";
    let first = cluster.submit(&[], own);
    assert_eq!(cluster.wait(&first), 0);
    let record = cluster.instances()[0].join("scratch.json");
    let scratch: PathBuf = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let disk = Disk::at(&scratch, 2).unwrap();
    // Its own writes fail there, and it says so.
    let second = cluster.submit(&[], own);
    assert_eq!(cluster.wait(&second), 8);
    disk.fill(0);
    let third = cluster.submit(&[], "echo third >>starts");
    assert_ne!(cluster.wait(&third), 0);
    let why = cluster.ok(&["why", &third]).out;
    assert!(why.contains("private directory") && why.contains("No space left"), "{why}");
    drop(disk);
    let last = cluster.submit(&[], "echo last >>starts");
    assert_eq!((cluster.wait(&last), cluster.file("starts").as_str()), (0, "last\n"));
    cluster.down(&[]);
}
