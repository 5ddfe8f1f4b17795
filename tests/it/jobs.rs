//! What people do with jobs, and how jobs end.
use pcluster_tests::scripts::gate;
use pcluster_tests::{Cluster, Setup, bins, until};
use std::fs;

#[test]
fn a_waiting_job_that_is_cancelled_never_starts() {
    let cluster = Cluster::with("queued", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let first = cluster.submit(&[], &gate("go"));
    let second = cluster.submit(&[], "echo ran >>ran");
    cluster.until_state(&first, "running");
    cluster.ok(&["cancel", &second]);
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 0);
    assert_ne!(cluster.wait(&second), 0);
    assert_eq!(cluster.outcome_of(&second), "cancelled");
    assert_eq!(cluster.file("ran"), "");
    cluster.run(&["cancel", &second]).expect_code(3);
    cluster.down(&[]);
}

#[test]
fn a_running_job_gets_term_and_then_kill() {
    let cluster = Cluster::new("cancel");
    let deaf = "trap 'echo term >>signals' TERM; echo up >>started; while :; do sleep 0.05; done";
    let id = cluster.submit(&[], deaf);
    cluster.until_lines("started", 1);
    cluster.ok(&["cancel", &id]);
    assert_ne!(cluster.wait(&id), 0);
    assert_eq!(cluster.outcome_of(&id), "cancelled");
    assert_eq!(cluster.file("signals"), "term\n");
    cluster.down(&[]);
}

#[test]
fn a_signal_alone_ends_nothing_that_handles_it() {
    let cluster = Cluster::new("usr1");
    let id = cluster.submit(
        &[],
        "trap 'echo usr1; exit 12' USR1; echo up >>started; while :; do sleep 0.05; done",
    );
    cluster.until_lines("started", 1);
    cluster.ok(&["cancel", "-b", "-s", "USR1", &id]);
    assert_eq!(cluster.wait(&id), 12);
    assert_eq!(
        (cluster.outcome_of(&id).as_str(), cluster.file("pcluster-1.out").as_str()),
        ("failed", "usr1\n")
    );
    // Without -b all processes of the job get it.
    let id = cluster.submit(&[], "trap 'echo shell' USR1; sh -c 'trap \"echo child; exit 0\" USR1; echo up >>started; while :; do sleep 0.05; done'; exit 13");
    cluster.until_lines("started", 2);
    cluster.ok(&["cancel", "-s", "USR1", &id]);
    assert_eq!(cluster.wait(&id), 13);
    let out = cluster.file("pcluster-2.out");
    assert!(out.contains("shell\n") && out.contains("child\n"), "{out}");
    cluster.down(&[]);
}

#[test]
fn the_time_limit_ends_a_job() {
    let cluster = Cluster::new("limit");
    let id = cluster.submit(&["--time", "1s"], "sleep 1000");
    assert_ne!(cluster.wait(&id), 0);
    assert_eq!(cluster.outcome_of(&id), "timed_out");
    cluster.down(&[]);
}

#[test]
fn a_signal_is_an_exit_code_of_128_and_more() {
    let cluster = Cluster::new("segv");
    let id = cluster.submit(&[], "kill -SEGV $$");
    assert_eq!(cluster.wait(&id), 128 + 11);
    assert_eq!(cluster.rows(&id)[0]["outcome"]["signal"], 11);
    cluster.down(&[]);
}

#[test]
fn an_output_that_cannot_be_written_is_the_reason_of_the_failure() {
    let cluster = Cluster::new("output");
    fs::create_dir(cluster.work().join("a-folder")).unwrap();
    let id = cluster.submit(&["-o", "a-folder"], "echo ran >>ran");
    assert_ne!(cluster.wait(&id), 0);
    assert_eq!(cluster.outcome_of(&id), "cannot_run");
    let why = cluster.ok(&["why", &id]).out;
    assert!(why.contains("a-folder"), "{why}");
    assert_eq!(cluster.file("ran"), "");
    cluster.down(&[]);
}

#[test]
fn missing_output_folders_are_made_and_patterns_filled_in() {
    let cluster = Cluster::new("pattern");
    let id = cluster.submit(
        &["-J", "map", "-o", "logs/deep/%x-%j.txt", "-e", "logs/err-%j"],
        "echo out; echo err >&2",
    );
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(
        (cluster.file("logs/deep/map-1.txt"), cluster.file("logs/err-1")),
        ("out\n".into(), "err\n".into())
    );
    cluster.down(&[]);
}

#[test]
fn a_script_whose_interpreter_is_missing_cannot_run_and_says_which() {
    let cluster = Cluster::new("interpreter");
    fs::write(cluster.work().join("bad.sh"), "#!/no/such/interpreter\necho\n").unwrap();
    let id = cluster.ok(&["submit", "-q", "bad.sh"]).id();
    assert_ne!(cluster.wait(&id), 0);
    let row = cluster.rows(&id)[0].clone();
    assert_eq!(row["outcome"]["word"], "cannot_run", "{row}");
    assert!(row["outcome"]["detail"].as_str().unwrap().contains("/no/such/interpreter"), "{row}");
    cluster.down(&[]);
}

#[test]
fn an_array_never_runs_more_tasks_at_once_than_its_throttle() {
    let cluster = Cluster::with("throttle", Setup::compute("cpus = 4, memory = \"2 GB\", max = 2"));
    let text = "echo + >>log; sleep 0.2; echo - >>log; echo \"$SLURM_ARRAY_TASK_ID\"; exit $((SLURM_ARRAY_TASK_ID == 5))";
    let id = cluster.submit(&["--array", "1-9:2%2"], text);
    assert_eq!(cluster.wait(&id), 1, "the highest code of all tasks");
    let (mut now, mut most) = (0, 0);
    for line in cluster.file("log").lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!((now, cluster.file("log").lines().count()), (0, 10));
    assert_eq!(most, 2, "two at once, no more");
    assert_eq!(cluster.file(&format!("pcluster-{id}_7.out")), "7\n");
    let rerun = cluster.ok(&["rerun", "--failed", &id]).id();
    assert_eq!(cluster.wait(&rerun), 1);
    assert_eq!(cluster.file("log").lines().count(), 12, "only the failed task ran again");
    assert_eq!(cluster.file(&format!("pcluster-{rerun}_5.out")), "5\n");
    cluster.down(&[]);
}

#[test]
fn single_tasks_of_an_array_are_cancelled() {
    let cluster = Cluster::with("tasks", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let id = cluster
        .submit(&["--array", "1-4"], &format!("{}; echo $PCLUSTER_TASK_ID >>ran", gate("go")));
    cluster.ok(&["cancel", &format!("{id}_[3-4]")]);
    cluster.touch("go");
    cluster.wait(&id);
    assert_eq!(cluster.file("ran"), "1\n2\n");
    cluster.run(&["cancel", &format!("{id}_9")]).expect_code(4);
    cluster.down(&[]);
}

#[test]
fn a_job_that_its_user_requeues_runs_again_and_appends() {
    let cluster = Cluster::new("requeue");
    let text = "echo \"try $PCLUSTER_ATTEMPT\"; echo >>started; [ \"$PCLUSTER_ATTEMPT\" = 2 ] && exit 6; sleep 1000";
    let id = cluster.submit(&[], text);
    cluster.until_lines("started", 1);
    cluster.ok(&["requeue", &id]);
    assert_eq!(cluster.wait(&id), 6);
    let out = cluster.file("pcluster-1.out");
    assert!(
        out.starts_with("try 1\n") && out.ends_with("try 2\n") && out.lines().count() == 4,
        "{out}"
    );
    assert!(out.lines().nth(1).unwrap().ends_with("DUE TO JOB REQUEUE ***"), "{out}");
    assert!(out.lines().nth(2).unwrap().contains("attempt 2"), "{out}");
    // One that is over runs once more, too.
    cluster.ok(&["requeue", &id]);
    until("the third attempt", || cluster.file("pcluster-1.out").contains("try 3").then_some(()));
    cluster.down(&["--now"]);
}

#[test]
fn hold_release_and_update_change_a_waiting_job() {
    let cluster = Cluster::with("update", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let first = cluster.submit(&[], &gate("go"));
    let id = cluster.submit(&["-J", "before"], "echo $SLURM_JOB_NAME");
    cluster.until_state(&first, "running");
    cluster.ok(&["hold", &id]);
    assert_eq!(cluster.state_of(&id), "held");
    cluster.ok(&["update", &id, "-J", "after", "--time", "5m", "--mem", "100M"]);
    let row = cluster.rows(&id)[0].clone();
    assert_eq!(
        (row["name"].as_str(), row["time_limit_ms"].as_u64()),
        (Some("after"), Some(300_000))
    );
    cluster
        .run(&["update", &id, "--mem", "900G"])
        .expect_code(3)
        .expect_error("error: no node of this cluster can hold");
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 0);
    assert_eq!(cluster.state_of(&id), "held");
    cluster.ok(&["release", &id]);
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.file("pcluster-2.out"), "after\n");
    cluster.run(&["update", &id, "--time", "1h"]).expect_code(3);
    cluster.down(&[]);
}

#[test]
fn dependencies_start_on_success_on_failure_and_on_any_end() {
    let cluster = Cluster::new("after");
    let bad = cluster.submit(&[], "exit 3");
    let after = |kind: &str| cluster.submit(&[kind, &bad], "true");
    let (any, notok, start) = (after("--after"), after("--after-notok"), after("--after-start"));
    for id in [&any, &notok, &start] {
        assert_eq!(cluster.wait(id), 0);
    }
    cluster.run(&["submit", "--after-ok", "4711", "--wrap", "true"]).expect_code(4);
    cluster.down(&[]);
}

#[test]
fn submit_wait_streams_and_gives_the_jobs_own_code() {
    let cluster = Cluster::new("submit-wait");
    cluster.script("job.sh", "echo one; echo \"two $1\"; exit 11");
    let said = cluster.run(&["submit", "--wait", "job.sh", "with words"]).expect_code(11);
    assert!(said.out.contains("one\ntwo with words\n"), "{said:#?}");
    let text = cluster.ok(&["submit", "--parsable", "job.sh"]);
    assert_eq!((text.out.as_str(), text.err.as_str()), ("2\n", ""));
    assert_eq!(cluster.run(&["wait", "2"]).code, 11);
    cluster.down(&[]);
}

#[test]
fn options_come_from_the_line_over_the_environment_over_the_script() {
    let cluster = Cluster::new("options");
    let text = "#!/bin/bash\n#SBATCH --job-name=slurm --time=7\n#PCLUSTER --job-name=own\necho $SLURM_JOB_NAME\n";
    fs::write(cluster.work().join("job.sh"), text).unwrap();
    let name = |options: &[&str], environment: Option<&str>| {
        let mut command =
            cluster.command(&[&["submit", "-q", "--hold"], options, &["job.sh"]].concat());
        command.envs(environment.map(|value| ("PCLUSTER_SUBMIT_JOB_NAME", value)));
        let id = cluster.say(&mut command).expect_code(0).id();
        let row = cluster.rows(&id)[0].clone();
        assert_eq!(row["time_limit_ms"], 420_000, "{row}");
        row["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name(&[], None), "own");
    assert_eq!(name(&[], Some("variable")), "variable");
    assert_eq!(name(&["-J", "line"], Some("variable")), "line");
    cluster.down(&[]);
}

#[test]
fn a_job_sees_its_environment_its_directory_and_an_image_profile() {
    let cluster = Cluster::cold(
        "image",
        Setup {
            more: "[images.tools]\ndirectory = \"tools\"\nprofile = \"tools/profile\"\n".to_owned(),
            compute: "cpus = 1, memory = \"512 MB\", max = 1, image = \"tools\"".to_owned(),
            ..Setup::default()
        },
    );
    let tools = cluster.work().join("tools");
    fs::create_dir_all(tools.join("bin")).unwrap();
    fs::write(tools.join("image.toml"), "name = \"tools\"\n").unwrap();
    fs::write(tools.join("profile"), "export FROM_PROFILE=yes\n").unwrap();
    bins::program(&tools.join("bin/mytool"), "#!/bin/sh\necho \"tool $1\"\n");
    cluster.up();
    cluster.script(
        "job.sh",
        "echo \"$FROM_PROFILE $MINE\"; pwd; mytool \"$1\"; echo $TMPDIR >tmp; touch $TMPDIR/x",
    );
    let mut command = cluster.command(&["submit", "-q", "job.sh", "a  b"]);
    let id = cluster.say(command.env("MINE", "my own value")).expect_code(0).id();
    assert_eq!(cluster.wait(&id), 0);
    let work = cluster.work();
    assert_eq!(
        cluster.file("pcluster-1.out"),
        format!("yes my own value\n{}\ntool a  b\n", work.display())
    );
    let private = cluster.file("tmp");
    until("the end of the private directory", || {
        (!std::path::Path::new(private.trim()).exists()).then_some(())
    });
    cluster.down(&[]);
}

#[test]
fn logs_have_the_end_of_the_output_when_its_file_is_gone() {
    let cluster = Cluster::new("tail");
    let id = cluster.submit(&[], "seq 1 400000; echo the end");
    assert_eq!(cluster.wait(&id), 0);
    let whole = cluster.file("pcluster-1.out");
    assert!(whole.len() > 2 << 20 && whole.ends_with("400000\nthe end\n"), "{}", whole.len());
    fs::remove_file(cluster.work().join("pcluster-1.out")).unwrap();
    cluster.until_no_nodes();
    let said = cluster.ok(&["logs", &id]);
    assert!(said.out.ends_with("399999\n400000\nthe end\n"), "{}", said.out.len());
    assert!(said.out.len() >= 900 << 10 && whole.ends_with(&said.out), "{}", said.out.len());
    cluster.down(&[]);
}

#[test]
fn exported_shell_functions_and_odd_values_go_along() {
    let cluster = Cluster::new("functions");
    let text = "#!/bin/bash\nprintf '%s|' \"$ODD\"; greet you; echo \"${DISPLAY-none}\"\n";
    fs::write(cluster.work().join("job.sh"), text).unwrap();
    let text = "greet() { echo \"hello $1\"; }; export -f greet; exec pcluster submit -q job.sh";
    let mut command = std::process::Command::new("bash");
    cluster.dress(&mut command);
    command.args(["-c", text]).env("ODD", "a\nb = 'c' \"d\" ü").env("DISPLAY", ":0");
    let id = cluster.say(&mut command).expect_code(0).id();
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.file("pcluster-1.out"), "a\nb = 'c' \"d\" ü|hello you\nnone\n");
    let mut command = cluster.command(&["submit", "job.sh"]);
    let said =
        cluster.say(command.envs((0..12).map(|at| (format!("BIG_{at}"), "x".repeat(100_000)))));
    said.expect_code(3).expect_words(&["environment is larger", "BIG_"]);
    cluster.down(&[]);
}
