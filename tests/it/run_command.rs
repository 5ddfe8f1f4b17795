//! `pcluster run -- CMD` behaves like running CMD here.
use pcluster_tests::{Cluster, PATIENCE, procs, until};
use rustix::process::Signal;
use std::fs;

#[test]
fn output_is_streamed_and_the_exit_code_is_the_commands() {
    let cluster = Cluster::new("run");
    let text = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second; exit 5";
    let started = cluster.start(&mut cluster.command(&["run", "--", "sh", "-c", text]));
    until("the first line", || started.out().contains("first\n").then_some(()));
    assert!(!started.out().contains("second"), "it streams");
    cluster.touch("go");
    let said = started.ended(PATIENCE).expect_code(5);
    assert_eq!(said.out, "first\nsecond\n");
    let files: Vec<_> =
        fs::read_dir(cluster.work()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(
        !files.iter().any(|name| name.to_string_lossy().ends_with(".out")),
        "no file is left: {files:?}"
    );
    cluster.down(&[]);
}

#[test]
fn words_pass_as_they_are_and_a_signal_is_128_and_more() {
    let cluster = Cluster::new("words");
    let said = cluster.ok(&["run", "-q", "--", "printf", "%s|", "a b", "*", "$HOME", ""]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("a b|*|$HOME||", ""));
    cluster.run(&["run", "--", "sh", "-c", "kill -TERM $$"]).expect_code(128 + 15);
    cluster.run(&["run", "--", "no-such-program"]).expect_code(127);
    cluster
        .run(&["run", "--mem", "999G", "--", "true"])
        .expect_code(255)
        .expect_words(&["no node of this cluster"]);
    cluster.down(&[]);
}

#[test]
fn ctrl_c_cancels_the_job() {
    let cluster = Cluster::new("ctrl-c");
    let text = "echo $$ >pid; echo up; exec sleep 1000";
    let started = cluster.start(&mut cluster.command(&["run", "--", "sh", "-c", text]));
    until("the first line", || started.out().contains("up\n").then_some(()));
    let job: i32 = cluster.file("pid").trim().parse().unwrap();
    procs::signal(started.pid(), Signal::INT);
    let said = started.ended(PATIENCE);
    assert_ne!(said.code, 0, "{said:#?}");
    said.expect_words(&["cancelling job 1"]);
    assert!(!procs::is_alive(job), "nothing runs on unseen");
    assert_eq!(cluster.outcome_of("1"), "cancelled");
    cluster.down(&[]);
}

#[test]
fn ctrl_c_only_lets_go_of_what_others_wait_for() {
    let cluster = Cluster::new("let-go");
    let id = cluster.submit(&[], "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 3");
    let logs = cluster.start(&mut cluster.command(&["logs", "-f", &id]));
    let wait = cluster.start(&mut cluster.command(&["wait", &id]));
    until("the first line", || logs.out().contains("up\n").then_some(()));
    // The waiting command has said nothing yet: it is known to wait when it listens to the signal.
    until("the handler of the signal", || {
        let status = fs::read_to_string(format!("/proc/{}/status", wait.pid())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        (u64::from_str_radix(caught.trim(), 16).ok()? & 2 != 0).then_some(())
    });
    for started in [logs, wait] {
        procs::signal(started.pid(), Signal::INT);
        started.ended(PATIENCE).expect_words(&["goes on", "pcluster logs -f 1"]);
    }
    assert_eq!(cluster.state_of(&id), "running");
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 3);
    cluster.down(&[]);
}
