//! A state that was brought back from a copy, and machines that were launched after the copy.
use pcluster_tests::{Cluster, Setup, meter, procs, scripts, until};
use std::fs;

/// A job that says which process it is and that it starts, waits for its gate and says that it ends.
fn gated(cluster: &Cluster, name: &str) -> String {
    let text = format!("echo $$ >>pid-{name}; {}", scripts::gated(name, 0));
    cluster.submit(&["-J", name], &text)
}

/// What `status` says that needs somebody, on one line.
fn attention(cluster: &Cluster) -> String {
    let said = cluster.run(&["status"]).expect_code(1).out;
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn state_of_node(cluster: &Cluster, name: &str) -> String {
    let nodes = cluster.json(&["nodes"])["nodes"].as_array().cloned().unwrap();
    let found = nodes.iter().find(|node| node["name"] == name);
    found.map_or_else(String::new, |node| node["state"].as_str().unwrap().to_owned())
}

/// Waits until its agent has been welcomed so often.
fn until_registered(cluster: &Cluster, instance: &str, times: usize) {
    let console = cluster.state().join("nodes").join(instance).join("console.log");
    until("a welcome", || {
        let said = fs::read_to_string(&console).unwrap_or_default();
        (said.matches("registered").count() >= times).then_some(())
    });
}

#[test]
fn machines_launched_after_a_copy_are_ended_or_kept_by_an_admins_word_and_billed() {
    let cluster =
        Cluster::with("unlogged", Setup::compute("cpus = 1, memory = \"512 MB\", max = 4"));
    let known = gated(&cluster, "known");
    cluster.until_lines("starts", 1);
    let copy = cluster.work().join("copy");
    let copy = copy.to_str().expect("a plain name");
    cluster.ok(&["admin", "backup", copy]);
    for (count, name) in [(2, "kept"), (3, "ended")] {
        gated(&cluster, name);
        cluster.until_lines("starts", count);
    }
    cluster.kill_head();
    cluster.lose_state();
    cluster.ok(&["admin", "restore", copy]);
    cluster.up();
    cluster.until_state(&known, "running");

    // Nothing is launched beside machines that nobody knows, and everybody is told why.
    let waits = cluster.submit(&["-J", "waits"], "exit 5");
    assert!(waits.parse::<u64>().unwrap() > 1_000_000, "{waits}: a number of a lost job");
    let why = until("the reason", || {
        let why = cluster.ok(&["why", &waits]).out;
        why.contains("2 machines that this log does not know").then_some(why)
    });
    assert!(why.contains("pcluster admin terminate"), "{why}");
    let status = attention(&cluster);
    let asks = "pcluster admin adopt, or pcluster admin terminate";
    assert!(
        status.contains("p-2.0") && status.contains("p-3.0") && status.contains(asks),
        "{status}"
    );
    cluster.run(&["admin", "adopt", "p-9.0"]).expect_code(4).expect_words(&["p-9.0"]);

    let ended: i32 = cluster.file("pid-ended").trim().parse().unwrap();
    let said = cluster.json(&["admin", "terminate", "p-3.0"]);
    assert_eq!(said["changed"], 1, "{said}");
    until("the end of what ran there", || (!procs::is_alive(ended)).then_some(()));
    assert_eq!(cluster.live_nodes().iter().filter(|node| node["state"] == "idle").count(), 0);
    cluster.ok(&["admin", "adopt"]);
    // Launches go on, with a name that was nobody's.
    assert_eq!(cluster.wait(&waits), 5);
    until_registered(&cluster, "p-2.0", 2);
    assert_eq!(state_of_node(&cluster, "compute-2"), "draining");
    let status = attention(&cluster);
    assert!(status.contains("runs what this log does not know"), "{status}");
    cluster.run(&["admin", "terminate"]).expect_code(3).expect_words(&["there is no machine"]);
    // A head that starts anew ends it as little.
    cluster.kill_head();
    cluster.up();
    until_registered(&cluster, "p-2.0", 3);
    cluster.ok(&["queue"]);
    assert_eq!(state_of_node(&cluster, "compute-2"), "draining");
    cluster.touch("go-kept");
    let gone = || cluster.live_nodes().iter().all(|node| node["name"] != "compute-2");
    until("the end of its node", || gone().then_some(()));
    cluster.touch("go-known");
    assert_eq!(cluster.wait(&known), 0);
    assert_eq!(cluster.file("starts"), "known\nkept\nended\n");
    assert_eq!(cluster.file("ends"), "kept\nknown\n");
    meter::ends_even(&cluster);
}
