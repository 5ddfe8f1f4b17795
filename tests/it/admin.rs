//! The state of a cluster: checked, copied while a job runs, lost, and brought back.
use pcluster_tests::{Cluster, scripts};
use std::fs;

#[test]
fn a_running_node_knows_a_head_again_whose_state_was_restored() {
    let cluster = Cluster::new("restored");
    let (alone, gate) = (scripts::start_alone(), scripts::gate("go"));
    let done = cluster.submit(&[], "exit 3");
    assert_eq!(cluster.wait(&done), 3);
    let id = cluster.submit(&[], &format!("{alone}; {gate}; exit 4"));
    cluster.until_lines("starts", 1);
    let said = cluster.ok(&["admin", "verify"]);
    assert!(said.out.ends_with("in order\n"), "{}", said.out);
    let copy = cluster.work().join("copy");
    let copy = copy.to_str().expect("a plain name");
    cluster.ok(&["admin", "backup", copy]);
    cluster.run(&["admin", "backup", copy]).expect_code(1).expect_words(&["is there already"]);
    // What needs the head to be down says so.
    cluster.run(&["admin", "rebuild"]).expect_code(1).expect_words(&["pcluster down"]);
    let incident = cluster.json(&["admin", "incident", &id]);
    assert_eq!(incident["about"], format!("job:{id}"));
    assert!(!incident.to_string().contains("starts") && incident["events"].is_array());
    cluster.kill_head();
    cluster.run(&["admin", "restore", copy]).expect_code(1).expect_words(&["is there already"]);
    let lost = ["events.db", "events.db-wal", "events.db-shm", "cluster-id", "secret"];
    let keys = ["head-key.der", "head-cert.der", "node-address"];
    for name in lost.iter().chain(&keys) {
        let _ = fs::remove_file(cluster.state().join(name));
    }
    fs::remove_dir_all(cluster.state().join("blobs")).unwrap();
    cluster.ok(&["admin", "restore", copy]);
    cluster.up();
    cluster.until_state(&id, "running");
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 4);
    assert_eq!((cluster.file("starts"), cluster.file("twice")), ("start\n".into(), String::new()));
    assert_eq!(cluster.outcome_of(&done), "failed");
    cluster.down(&[]);
    let rebuilt = cluster.json(&["admin", "rebuild"]);
    assert_eq!(rebuilt["wrong"], serde_json::json!([]), "{rebuilt}");
    assert!(rebuilt["billed_micro_usd"].is_i64() && rebuilt["spans"] != 0, "{rebuilt}");
}
