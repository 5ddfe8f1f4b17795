//! `why`: every wait has a cause in words, and the smallest change that helps.
use pcluster_tests::scripts::gate;
use pcluster_tests::{Cluster, Setup, until};

/// The first line and the word, once the word is the expected one.
fn why(cluster: &Cluster, id: &str, word: &str) -> String {
    until(&format!("the word {word} for job {id}"), || {
        (cluster.json(&["why", id])["word"] == word).then_some(())
    });
    cluster.ok(&["why", id]).out
}

#[test]
fn a_job_that_waits_for_its_node_names_the_node_and_its_phase() {
    let cluster = Cluster::with("boots", Setup { gated: Some("machine"), ..Setup::default() });
    let id = cluster.submit(&["-J", "align"], "true");
    let text = why(&cluster, &id, "node_boots");
    assert!(text.starts_with("job 1 (align) "), "{text}");
    assert!(text.contains("compute-1"), "{text}");
    assert!(text.lines().next().unwrap().contains("boot"), "{text}");
    assert_eq!(cluster.state_of(&id), "starting");
    let node = cluster.ok(&["why", "compute-1"]).out;
    assert!(node.contains("compute-1"), "{node}");
    cluster.open_gate();
    assert_eq!(cluster.wait(&id), 0);
    cluster.down(&[]);
}

#[test]
fn jobs_that_wait_for_room_and_for_their_turn_name_who_is_ahead() {
    let cluster = Cluster::with("turn", Setup::compute("cpus = 2, memory = \"1 GB\", max = 1"));
    let first = cluster.submit(&["-J", "ahead"], &gate("go"));
    cluster.until_state(&first, "running");
    // The second needs the whole node; the third would fit beside the first and is of lower rank.
    let second = cluster.submit(&["-J", "wide", "-c", "2"], "true");
    let text = why(&cluster, &second, "pool_max");
    assert!(text.starts_with("job 2 (wide) waits for room"), "{text}");
    let third = cluster.submit(&["-J", "late", "-c", "2"], "true");
    let text = why(&cluster, &third, "priority");
    assert!(text.starts_with("job 3 (late) waits for its turn"), "{text}");
    assert!(text.contains("job 2 (wide)"), "{text}");
    cluster.touch("go");
    assert_eq!(cluster.wait(&third), 0);
    cluster.down(&[]);
}

#[test]
fn a_dependency_says_how_far_it_is_and_when_it_can_never_be_met() {
    let cluster = Cluster::new("dependency");
    let first = cluster.submit(
        &["-J", "call", "--array", "1-3%1"],
        "[ \"$PCLUSTER_TASK_ID\" = 1 ] && exit 0; while [ ! -e go ]; do sleep 0.05; done; exit 2",
    );
    let second = cluster.submit(&["-J", "joint", "--after-ok", &first], "true");
    let text = until("one task done", || {
        let text = why(&cluster, &second, "dependency");
        text.contains("1 of 3 tasks done").then_some(text)
    });
    // The tasks of an array that have run have numbers of their own, as Slurm's have.
    assert!(
        text.starts_with(&format!("job {second} (joint) waits for job 1 (call, afterok)")),
        "{text}"
    );
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 2);
    let text = why(&cluster, &second, "dependency_failed");
    assert!(
        text.starts_with(&format!("job {second} (joint) can never start: it needs job 1")),
        "{text}"
    );
    assert!(text.contains("pcluster rerun --failed 1"), "{text}");
    cluster.ok(&["cancel", &second]);
    cluster.down(&[]);
}

#[test]
fn a_held_job_says_by_whom_and_how_to_release_it() {
    let cluster = Cluster::new("hold");
    let id = cluster.submit(&["--hold", "-J", "train"], "true");
    let text = why(&cluster, &id, "held");
    assert!(text.starts_with("job 1 (train) is held"), "{text}");
    assert!(text.contains("pcluster release 1"), "{text}");
    cluster.ok(&["release", &id]);
    assert_eq!(cluster.wait(&id), 0);
    cluster.down(&[]);
}

#[test]
fn a_job_that_may_not_start_yet_and_one_that_is_over_say_so() {
    let cluster = Cluster::new("begin");
    let later = cluster.submit(&["--begin", "now+2h"], "true");
    let text = why(&cluster, &later, "begin");
    assert!(text.contains("it asked not to start before"), "{text}");
    let over = cluster.submit(&[], "exit 4");
    assert_eq!(cluster.wait(&over), 4);
    let text = cluster.ok(&["why", &over]).out;
    assert!(text.contains("exit 4"), "{text}");
    cluster.ok(&["cancel", &later]);
    cluster.down(&[]);
}

#[test]
fn a_boot_that_failed_is_looked_at_long_after_its_machine_is_gone() {
    let setup = Setup {
        compute: "cpus = 1, memory = \"512 MB\", max = 1, boot_timeout = \"2 s\"".to_owned(),
        gated: Some("machine"),
        ..Setup::default()
    };
    let cluster = Cluster::with("bundle", setup);
    let id = cluster.submit(&[], "true");
    let folder = until("a machine", || cluster.instances().into_iter().next());
    let words = "mounting /shared\nmount.nfs: \u{1b}[31mConnection timed out\n";
    std::fs::write(folder.join("console.log"), words).unwrap();
    let failed = |cluster: &Cluster| {
        let list = cluster.json(&["nodes"]);
        let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
        nodes.into_iter().find(|node| node["name"] == "compute-1" && node["state"] == "failed")
    };
    let node = until("a failed boot", || failed(&cluster));
    assert_eq!(node["last_line"], "mount.nfs: \u{fffd}[31mConnection timed out", "{node}");
    let page = cluster.run(&["nodes"]);
    let said = format!("{}{}", page.out, page.err);
    assert!(said.contains("compute-1: no progress for 2 s in \""), "{said}");
    assert!(said.contains("\n  mount.nfs: "), "its last line stands below: {said}");
    cluster.open_gate();
    assert_eq!(cluster.wait(&id), 0, "another machine has come up");
    cluster.kill_head();
    cluster.up();
    let log = cluster.ok(&["node", "log", "compute-1"]).out;
    assert!(log.starts_with("compute-1 did not boot: no progress for 2 s in \""), "{log}");
    assert!(log.contains("--- the console of its machine\nmounting /shared\n"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    let kept = cluster.state().join("failed-boots/1.0.json");
    assert!(std::fs::read_to_string(kept).unwrap().contains("launch asked"));
    let shown = cluster.ok(&["node", "show", "compute-1"]).out;
    assert!(shown.contains("last line") && shown.contains("launch asked"), "{shown}");
    cluster.down(&[]);
}
