//! Scratch: a job's part of its node's disk is counted, watched, and gone with the job.
use pcluster_tests::cluster::text;
use pcluster_tests::scripts::gate;
use pcluster_tests::{Cluster, Setup, until};
use std::path::Path;

/// Nodes with this much for all their jobs.
fn cluster(label: &str, local: &str) -> Cluster {
    let compute = "cpus = 2, memory = \"1 GB\", max = 1, idle_timeout = \"1 min\"";
    let more = format!("[storage]\nlocal = \"{local}\"\n");
    Cluster::with(label, Setup { more, ..Setup::compute(compute) })
}

/// Writes so many megabytes below `TMPDIR`, where nobody finds them by their first name.
fn fill(megabytes: u32) -> String {
    format!(
        "echo $TMPDIR >>places; mkdir -p $TMPDIR/a/b; head -c {megabytes}000000 /dev/zero >$TMPDIR/a/b/.big"
    )
}

#[test]
fn a_job_that_uses_more_than_it_asked_for_is_ended_and_the_figures_are_told() {
    let cluster = cluster("scratch-over", "100 MB");
    let within = cluster.submit(&["--tmp", "40M"], &format!("{}; {}", fill(20), gate("go")));
    let unbound = cluster.submit(&[], &format!("{}; {}; exit 3", fill(60), gate("go")));
    cluster.until_lines("places", 2);
    let over = cluster.submit(&["--tmp", "8M", "-n", "1"], &format!("{}; sleep 600", fill(20)));
    // The node has two CPUs: one of the first two goes.
    cluster.touch("go");
    assert_eq!((cluster.wait(&within), cluster.wait(&unbound)), (0, 3));
    assert_eq!(cluster.wait(&over), 1);
    assert_eq!(cluster.outcome_of(&over), "disk_full");
    let words = "used 19.1 MB of the 8 MB of --tmp";
    assert_eq!(text(&cluster.rows(&over)[0]["outcome"]["detail"]), words);
    let said = cluster.file(&format!("pcluster-{over}.out"));
    assert!(said.contains(&format!("DUE TO A FULL SCRATCH DISK ({words})")), "{said}");
    let places = cluster.file("places");
    assert_eq!(places.lines().count(), 3);
    for place in places.lines() {
        assert!(place.contains("tmp") && !Path::new(place).exists(), "{place} is left");
    }
    cluster.down(&[]);
}

#[test]
fn scratch_is_counted_like_memory() {
    let cluster = cluster("scratch-room", "64 MB");
    let first = cluster.submit(&["--tmp", "40M"], &gate("go"));
    cluster.until_state(&first, "running");
    let second = cluster.submit(&["--tmp", "30M"], "exit 4");
    until("the reason", || {
        let why = cluster.json(&["why", &second]).to_string();
        why.contains("24 MB of 30 MB scratch").then_some(())
    });
    let third = cluster.submit(&["--tmp", "20M"], "exit 5");
    // Its turn comes after the second's, which needs the room first; nobody asks for the CPU.
    cluster.script("large.sh", "true");
    let refused = cluster.run(&["submit", "--tmp", "65M", "large.sh"]).expect_code(3);
    refused.expect_error("error: no node of this cluster can hold this job");
    refused.expect_words(&["65 MB of scratch", "--tmp 64M fits"]);
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 0);
    assert_eq!((cluster.wait(&second), cluster.wait(&third)), (4, 5));
    cluster.down(&[]);
}
