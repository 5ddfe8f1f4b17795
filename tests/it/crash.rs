//! Heads, agents and machines that are killed with -9 under running jobs.
use pcluster_tests::scripts::{gate, start_alone};
use pcluster_tests::{Cluster, PATIENCE, Setup, procs, until};
use rustix::process::Signal;

#[test]
fn an_exit_code_arrives_although_the_head_was_killed_and_away_when_the_job_ended() {
    let cluster = Cluster::new("head");
    let (alone, gate) = (start_alone(), gate("go"));
    let text = format!("{alone}; {gate}; echo late; echo end >>ends; exit 9");
    let id = cluster.submit(&[], &text);
    cluster.until_lines("starts", 1);
    cluster.kill_head();
    cluster.run(&["queue"]).expect_code(6).expect_error("error: no head answers\n");
    cluster.touch("go");
    cluster.until_lines("ends", 1);
    cluster.up();
    assert_eq!(cluster.wait(&id), 9);
    assert_eq!(cluster.rows(&id)[0]["attempt"], 1);
    assert_eq!((cluster.file("starts"), cluster.file("twice")), ("start\n".into(), String::new()));
    assert_eq!(cluster.ok(&["logs", &id]).out, "late\n");
    cluster.down(&[]);
}

#[test]
fn a_running_job_runs_on_over_a_killed_head_and_the_queue_is_kept() {
    let cluster =
        Cluster::with("runs-on", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let (alone, gate) = (start_alone(), gate("go"));
    let first = cluster.submit(&[], &format!("{alone}; {gate}; exit 4"));
    let second = cluster.submit(&["-J", "next"], "echo second; exit 5");
    let held = cluster.submit(&["--hold"], "exit 6");
    cluster.until_lines("starts", 1);
    let node = cluster.live_nodes()[0]["id"].clone();
    cluster.kill_head();
    cluster.up();
    cluster.until_state(&first, "running");
    assert_eq!(cluster.live_nodes()[0]["id"], node, "the same node was found again");
    cluster.touch("go");
    assert_eq!((cluster.wait(&first), cluster.wait(&second)), (4, 5));
    assert_eq!(cluster.state_of(&held), "held");
    cluster.ok(&["release", &held]);
    assert_eq!(cluster.wait(&held), 6);
    assert_eq!(cluster.file("twice"), "");
    cluster.down(&[]);
}

#[test]
fn a_stopped_head_leaves_its_jobs_alone_too() {
    let cluster = Cluster::new("term");
    let (alone, gate) = (start_alone(), gate("go"));
    let id = cluster.submit(&[], &format!("{alone}; {gate}; exit 8"));
    cluster.until_lines("starts", 1);
    cluster.end_head(Signal::TERM);
    cluster.up();
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 8);
    assert_eq!(cluster.file("starts"), "start\n");
    cluster.down(&[]);
}

#[test]
fn an_agent_that_is_killed_under_a_job_still_gives_its_exit_code() {
    let cluster = Cluster::new("agent");
    let (alone, gate) = (start_alone(), gate("go"));
    let id = cluster.submit(&[], &format!("{alone}; {gate}; exit 7"));
    cluster.until_lines("starts", 1);
    let agent = cluster.node_process("agent.json");
    procs::signal(agent, Signal::KILL);
    until("another agent", || (cluster.node_process("agent.json") != agent).then_some(()));
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 7);
    assert_eq!(cluster.rows(&id)[0]["attempt"], 1);
    assert_eq!((cluster.file("starts"), cluster.file("twice")), ("start\n".into(), String::new()));
    cluster.down(&[]);
}

#[test]
fn a_job_whose_machine_is_killed_runs_again_elsewhere_and_never_twice_at_once() {
    let cluster = Cluster::new("machine");
    let alone = start_alone();
    let second = "[ $(wc -l <starts) -ge 2 ] && exit 0; sleep 1000";
    let id = cluster.submit(&[], &format!("echo \"try $PCLUSTER_ATTEMPT\"; {alone}; {second}"));
    cluster.until_lines("starts", 1);
    procs::signal(cluster.node_process("machine.json"), Signal::KILL);
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.rows(&id)[0]["attempt"], 2);
    assert_eq!(
        (cluster.file("starts"), cluster.file("twice")),
        ("start\nstart\n".into(), String::new())
    );
    let out = cluster.file(&format!("pcluster-{id}.out"));
    assert!(
        out.starts_with("try 1\n") && out.ends_with("try 2\n"),
        "the second is appended: {out}"
    );
    assert!(out.lines().count() >= 3, "a line says which attempt begins where: {out}");
    cluster.down(&[]);
}

#[test]
fn a_job_that_must_not_run_again_fails_with_its_node() {
    let cluster = Cluster::new("no-requeue");
    let alone = start_alone();
    let id = cluster.submit(&["--no-requeue"], &format!("{alone}; sleep 1000"));
    cluster.until_lines("starts", 1);
    procs::signal(cluster.node_process("machine.json"), Signal::KILL);
    assert_eq!(cluster.wait(&id), 1);
    assert_eq!(cluster.outcome_of(&id), "node_failed");
    assert_eq!(cluster.file("starts"), "start\n");
    cluster.down(&[]);
}

#[test]
fn a_job_whose_keeper_is_killed_ends_with_all_that_it_left_and_runs_again() {
    let cluster = Cluster::new("keeper");
    let alone = start_alone();
    let second = "[ $(wc -l <starts) -ge 2 ] && exit 0; (setsid sleep 1000 &); sleep 1000";
    let id = cluster.submit(&[], &format!("{alone}; {second}"));
    cluster.until_lines("starts", 1);
    procs::signal(cluster.keepers()[0], Signal::KILL);
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.rows(&id)[0]["attempt"], 2);
    assert_eq!(
        (cluster.file("starts"), cluster.file("twice")),
        ("start\nstart\n".into(), String::new())
    );
    assert_eq!(cluster.live_nodes().len(), 1, "its node has done nothing wrong");
    cluster.down(&[]);
}

#[test]
fn a_job_that_must_not_run_again_fails_with_its_keeper() {
    let cluster = Cluster::new("keeper-once");
    let alone = start_alone();
    let text = format!("{alone}; (setsid sh -c 'echo $$ >pid; sleep 1000' &); sleep 1000");
    let id = cluster.submit(&["--no-requeue"], &text);
    cluster.until_lines("pid", 1);
    procs::signal(cluster.keepers()[0], Signal::KILL);
    assert_eq!(cluster.wait(&id), 1);
    assert_eq!(cluster.outcome_of(&id), "node_failed");
    let said = cluster.json(&["show", &id]).to_string();
    assert!(said.contains("its keeper was lost"), "{said}");
    let pid: i32 = cluster.file("pid").trim().parse().unwrap();
    assert!(!procs::is_alive(pid), "what it left ended before that was said");
    assert_eq!(cluster.file("starts"), "start\n");
    cluster.down(&[]);
}

#[test]
fn the_same_key_after_a_crash_answers_with_the_first_job() {
    let cluster = Cluster::new("key");
    let first = cluster.submit(&["--key", "k1"], "exit 0");
    cluster.kill_head();
    cluster.up();
    assert_eq!(cluster.submit(&["--key", "k1"], "exit 0"), first);
    assert_ne!(cluster.submit(&["--key", "k2"], "exit 0"), first);
    cluster.down(&["--now"]);
}

#[test]
fn those_who_follow_a_job_get_every_line_once_over_a_restart_of_the_head() {
    let cluster = Cluster::new("follow");
    let text = format!("echo one; {}; echo two; exit 3", gate("go"));
    let run = cluster.start(&mut cluster.command(&["run", "-q", "--", "sh", "-c", &text]));
    until("the first line", || run.out().contains("one\n").then_some(()));
    let logs = cluster.start(&mut cluster.command(&["logs", "-f", "1"]));
    let wait = cluster.start(&mut cluster.command(&["wait", "1"]));
    until("the first line", || logs.out().contains("one\n").then_some(()));
    // A command that finds no head at its start says so; one that waits already is patient.
    until("three who wait", || (cluster.connected_clients() >= 3).then_some(()));
    cluster.kill_head();
    cluster.touch("go");
    cluster.up();
    let said = run.ended(PATIENCE);
    assert_eq!(said.code, 3, "{said:#?}");
    assert_eq!(said.out, "one\ntwo\n", "{said:#?}");
    assert_eq!(logs.ended(PATIENCE).out, "one\ntwo\n");
    assert_eq!(wait.ended(PATIENCE).code, 3);
    cluster.down(&[]);
}
