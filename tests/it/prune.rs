//! A head that keeps little: what is forgotten, who still tells of it, and what is left on disk.
use pcluster_tests::cluster::text;
use pcluster_tests::{Cluster, Setup, until};
use std::fs;

fn forgetful(label: &str, keep: &str) -> Cluster {
    let head = format!("keep_jobs = \"{keep}\"\n");
    Cluster::with(label, Setup { head, ..Setup::default() })
}

fn in_memory(cluster: &Cluster, id: &str) -> bool {
    let all = cluster.json(&["queue", "-t", "all"]);
    let id: u64 = id.parse().expect("an id");
    all["jobs"].as_array().expect("rows").iter().any(|row| row["job"] == id)
}

fn until_forgotten(cluster: &Cluster, id: &str) {
    until("the end of a job's time", || (!in_memory(cluster, id)).then_some(()));
}

fn history(cluster: &Cluster) -> Vec<(u64, String)> {
    let lines = cluster.json(&["history"]);
    let line = |line: &serde_json::Value| {
        (line["job"]["job"].as_u64().expect("an id"), text(&line["job"]["outcome"]["word"]))
    };
    let mut jobs: Vec<_> = lines["jobs"].as_array().expect("lines").iter().map(line).collect();
    jobs.sort();
    jobs
}

#[test]
fn what_ended_long_ago_is_history_and_the_log_begins_with_a_base() {
    let cluster = forgetful("forgetful", "6 s");
    let failed = cluster.submit(&["--key", "same"], "echo words; exit 3");
    assert_eq!(cluster.wait(&failed), 3);
    let tasks = cluster.submit(&["-a", "1-3"], "exit 0");
    assert_eq!(cluster.wait(&tasks), 0);
    let before = history(&cluster);
    assert_eq!(before.len(), 4, "{before:?}");
    cluster.ok(&["cost", "--by", "job"]);
    until_forgotten(&cluster, &failed);
    until_forgotten(&cluster, &tasks);
    // Told from the rows alone.
    assert_eq!(history(&cluster), before);
    assert_eq!(cluster.wait(&failed), 3);
    for command in ["show", "why"] {
        let said = cluster.run(&[command, &failed]);
        assert!(said.out.contains("exit 3"), "{said:#?}");
    }
    let cost = cluster.json(&["cost", "--by", "job"]);
    let rows = cost["by"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["key"] == failed.as_str()), "{cost}");
    // Nothing is done to it, nothing waits for how it ended, and its key is free.
    let said = format!("job {failed} ended long ago");
    cluster.run(&["cancel", &failed]).expect_code(4).expect_words(&[&said]);
    cluster
        .run(&["submit", "--after-ok", &failed, "--wrap", "true"])
        .expect_code(4)
        .expect_words(&[&said]);
    let again = cluster.submit(&["--key", "same", "--after", &failed], "exit 0");
    assert!(again.parse::<u64>().unwrap() > tasks.parse::<u64>().unwrap());
    assert_eq!(cluster.wait(&again), 0);
    // Events of before are gone, with what runs have printed.
    let verified = until("a base", || {
        let verified = cluster.json(&["admin", "verify"]);
        (verified["base"] != 0).then_some(verified)
    });
    assert_eq!(verified["wrong"], serde_json::json!([]));
    until_forgotten(&cluster, &again);
    until("the end of what was printed", || {
        let left = fs::read_dir(cluster.state().join("output")).expect("a folder").count();
        (left == 0).then_some(())
    });
    cluster.kill_head();
    cluster.up();
    assert_eq!(history(&cluster).len(), 5);
    let incident = cluster.json(&["admin", "incident", "cluster"]);
    assert!(incident["base"]["rows"].is_array(), "{incident}");
    cluster.down(&[]);
    let rebuilt = cluster.json(&["admin", "rebuild"]);
    assert_eq!(rebuilt["wrong"], serde_json::json!([]), "{rebuilt}");
    let blobs = fs::read_dir(cluster.state().join("blobs")).expect("a folder");
    let blobs = blobs.flat_map(|folder| fs::read_dir(folder.expect("one").path()).expect("it"));
    assert_eq!(blobs.count(), 0, "scripts of forgotten jobs");
}

#[test]
fn a_head_killed_while_it_prunes_starts_on_a_whole_log() {
    let cluster = forgetful("pruned", "1 s");
    let mut jobs = 0;
    for round in 0..5 {
        let bases = || cluster.log().matches("the log has a new base").count();
        let before = bases();
        let id = cluster.submit(&[], "exit 0");
        jobs += 1;
        assert_eq!(cluster.wait(&id), 0);
        until_forgotten(&cluster, &id);
        if round % 2 == 0 {
            // Right after a base: what it stands for is being deleted.
            until("another base", || (bases() > before).then_some(()));
        }
        cluster.kill_head();
        cluster.up();
        let verified = cluster.json(&["admin", "verify"]);
        assert_eq!(verified["wrong"], serde_json::json!([]), "round {round}");
        assert_eq!(history(&cluster).len(), jobs, "round {round}");
    }
    assert!(cluster.json(&["admin", "verify"])["base"] != 0);
    cluster.down(&[]);
}
