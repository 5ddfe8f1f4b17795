//! Limits: memory, money, boots that fail, jobs of several nodes.
use pcluster_tests::{Cluster, Setup, people, skip, until};

#[test]
fn a_job_that_takes_more_memory_than_it_asked_for_is_ended_with_that_reason() {
    if !people::is_root() {
        skip("memory limits (they need root, or a control group that was given to this user)");
        return;
    }
    let cluster = Cluster::new("memory");
    let id = cluster.submit(&["--mem", "40M"], "head -c 300M /dev/zero | tail >/dev/null");
    let code = cluster.wait(&id);
    let node = cluster.json(&["node", "show", "compute-1"]).to_string();
    if !node.contains("memory, cpu") && !node.contains("cgroup v2: memory") {
        skip("memory limits (this machine has no memory controller)");
        return;
    }
    assert_ne!(code, 0);
    assert_eq!(cluster.outcome_of(&id), "out_of_memory");
    let why = cluster.ok(&["why", &id]).out;
    assert!(why.contains("--mem"), "it says what would help: {why}");
    cluster.down(&[]);
}

#[test]
fn a_month_without_money_launches_nothing_and_says_so() {
    let cluster = Cluster::with(
        "budget",
        Setup { more: "[budget]\nmonth = \"$0.5\"\n".into(), ..Setup::default() },
    );
    cluster
        .run(&["submit", "--wrap", "true"])
        .expect_code(3)
        .expect_words(&["needs a time limit", "--time"]);
    let dear = cluster.submit(&["--time", "9h"], "true");
    until("the word budget", || (cluster.json(&["why", &dear])["word"] == "budget").then_some(()));
    let why = cluster.ok(&["why", &dear]).out;
    assert!(why.starts_with("job 1 (") && why.contains("waits for money"), "{why}");
    assert!(why.contains("$0.50"), "{why}");
    assert!(cluster.live_nodes().is_empty() && cluster.instances().is_empty());
    cluster.ok(&["cancel", &dear]);
    cluster.down(&[]);
}

#[test]
fn a_node_that_does_not_boot_is_given_up_and_shown_with_its_phase() {
    let cluster = Cluster::with(
        "stuck",
        Setup {
            compute: "cpus = 1, memory = \"512 MB\", max = 1, boot_timeout = \"1 s\"".to_owned(),
            gated: Some("machine"),
            ..Setup::default()
        },
    );
    let id = cluster.submit(&[], "echo ran");
    let node = until("a failed node", || {
        let nodes = cluster.json(&["nodes"])["nodes"].as_array().cloned().unwrap_or_default();
        nodes.into_iter().find(|node| node["state"] == "failed")
    });
    assert!(node["why"].as_str().unwrap().contains("no progress for"), "{node}");
    let name = node["name"].as_str().unwrap();
    let why = cluster.ok(&["why", name]).out;
    assert!(why.contains(name) && why.contains("boot"), "{why}");
    assert!(
        ["queued", "starting"].contains(&cluster.state_of(&id).as_str()),
        "a failed boot loses no job"
    );
    cluster.ok(&["cancel", &id]);
    cluster.open_gate();
    cluster.down(&["--now"]);
}

#[test]
fn a_job_of_two_nodes_starts_when_both_are_there_also_without_idle_time() {
    let compute = "cpus = 1, memory = \"512 MB\", max = 2, idle_timeout = \"0\"";
    let cluster = Cluster::with("gang", Setup::compute(compute));
    let id = cluster.submit(&["-N", "2"], "echo \"$SLURM_JOB_NUM_NODES $SLURM_JOB_NODELIST\"");
    assert_eq!(cluster.wait(&id), 0);
    let out = cluster.file("pcluster-1.out");
    assert!(out.starts_with("2 compute-"), "{out}");
    let row = cluster.rows(&id)[0].clone();
    assert_eq!(row["node_names"].as_array().unwrap().len(), 2, "{row}");
    cluster.until_no_nodes();
    cluster.down(&[]);
}

#[test]
fn one_node_runs_several_jobs_at_once_and_a_second_one_comes_for_the_rest() {
    let cluster = Cluster::with("pack", Setup::compute("cpus = 2, memory = \"1 GB\", max = 2"));
    let wait = "echo up >>up; while [ ! -e go ]; do sleep 0.05; done; echo $PCLUSTER_NODE";
    let ids: Vec<String> = (0..3).map(|_| cluster.submit(&["--mem", "100M"], wait)).collect();
    cluster.until_lines("up", 3);
    assert_eq!(cluster.live_nodes().len(), 2, "two on one, one on the other");
    cluster.touch("go");
    for id in &ids {
        assert_eq!(cluster.wait(id), 0);
    }
    cluster.until_no_nodes();
    cluster.down(&[]);
}
