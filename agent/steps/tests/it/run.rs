//! Tasks from order to end.
use crate::fake::{Client, Node};
use pcluster_steps::message::{
    EVERY_TASK, Input, LibraryOrder, Output, StepOrder, TaskOrder, ToNode,
};

pub fn order(step: u32, scripts: &[&str]) -> StepOrder {
    let task = |(number, script): (usize, &&str)| TaskOrder {
        number: u32::try_from(number).expect("few tasks"),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("SLURM_PROCID".into(), number.to_string())],
        input: Input::Client,
        ..Default::default()
    };
    StepOrder {
        run: 7,
        step,
        label: format!("1.{step}"),
        tasks: scripts.iter().enumerate().map(task).collect(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        work_dir: "/".into(),
        umask: Some(0o027),
        node_cpus: 1,
        ..Default::default()
    }
}

#[tokio::test]
async fn tasks_write_end_and_are_reported() {
    let node = Node::start();
    let scripts =
        ["echo out $SLURM_PROCID; umask; pwd", "echo bad >&2; test $$ = $SLURM_TASK_PID && exit 5"];
    let mut client = Client::launch(order(0, &scripts));
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.output[&0], "out 0\n0027\n/\n");
    assert_eq!(client.heard.error[&1], "bad\n");
    assert_eq!((client.heard.exits[&0].code, client.heard.exits[&1].code), (0, 5));
    let ends = node.ends.lock().unwrap().clone();
    assert!(ends[0].starts_with("POST /v1/runs/7/steps/0/end"), "{ends:?}");
    assert!(ends[0].contains("\"exit_code\":5"), "{ends:?}");
}

#[tokio::test]
async fn a_step_that_is_as_the_job_has_the_jobs_environment_directory_and_mask() {
    let node = Node::start();
    let script = "echo $OF_THE_JOB, $OF_THE_ORDER, $PCLUSTER_RUN_ID.$SLURM_STEP_ID; umask; pwd -P";
    let mut of_job = order(3, &[script]);
    (of_job.as_the_job, of_job.umask) = (true, None);
    of_job.environment = vec![("OF_THE_ORDER".into(), "another".into())];
    let mut client = Client::launch(of_job);
    client.hear(node.attach().await, |heard| heard.done).await;
    let folder = std::fs::canonicalize(&node.folder).unwrap();
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    let wanted = format!("its own, another, 7.3\n{:04o}\n{}\n", mask.bits(), folder.display());
    assert_eq!(client.heard.output[&0], wanted);
}

#[tokio::test]
async fn a_lost_stream_loses_nothing() {
    let node = Node::start();
    let script = "echo one; read x; echo got $x; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    let mut client = Client::launch(order(0, &[script]));
    client.hear(node.attach().await, |heard| heard.output.contains_key(&0)).await;
    // The answer is sent while there is no stream at all.
    client.input(EVERY_TASK, b"word\n");
    client.hear(node.attach().await, |heard| heard.output[&0].contains("line 5\n")).await;
    client.hear(node.attach().await, |heard| heard.done).await;
    let wanted: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(client.heard.output[&0], format!("one\ngot word\n{wanted}"));
}

#[tokio::test]
async fn signals_reach_groups_and_the_end_kills_what_ignores_it() {
    let node = Node::start();
    let scripts = [
        "trap 'echo usr; exit 3' USR1; echo up; while :; do sleep 0.01; done",
        "trap '' TERM; echo up; while :; do sleep 1; done",
    ];
    let mut client = Client::launch(order(0, &scripts));
    client.hear(node.attach().await, |heard| heard.output.len() == 2).await;
    client.tell(ToNode::Signal { signal: 10, tasks: vec![0] });
    client.hear(node.attach().await, |heard| heard.exits.contains_key(&0)).await;
    client.tell(ToNode::End { grace_ms: 100 });
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.exits[&0].code, 3);
    assert_eq!(client.heard.exits[&1].signal, 9);
    assert_eq!(client.heard.output[&0], "up\nusr\n");
}

#[tokio::test]
async fn input_goes_to_every_task_and_ends() {
    let node = Node::start();
    let mut client = Client::launch(order(0, &["cat", "wc -c"]));
    client.input(EVERY_TASK, b"hello\n");
    client.input(EVERY_TASK, b"");
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.output[&0], "hello\n");
    assert_eq!(client.heard.output[&1].trim(), "6");
    assert_eq!(client.heard.taken, 6);
}

#[tokio::test]
async fn files_of_tasks_are_emptied_once_and_missing_places_are_said() {
    let node = Node::start();
    let shared = node.folder.join("out").display().to_string();
    std::fs::write(&shared, "old\n").unwrap();
    let mut with_file = order(0, &["echo a", "echo b; echo c >&2"]);
    for task in &mut with_file.tasks {
        task.output = Output::File { path: shared.clone(), append: false };
        task.error = Output::WithOutput;
    }
    let mut client = Client::launch(with_file);
    client.hear(node.attach().await, |heard| heard.done).await;
    let text = std::fs::read_to_string(&shared).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "c"]);

    let mut nowhere = order(1, &["echo a"]);
    nowhere.tasks[0].output = Output::File { path: "/no/such/place".into(), append: false };
    let mut client = Client::launch(nowhere);
    client.hear(node.attach().await, |heard| heard.done).await;
    let why = client.heard.refused.unwrap();
    assert_eq!(why, "Could not open stdout file /no/such/place: No such file or directory");
}

#[tokio::test]
async fn a_program_that_is_not_there_has_slurms_code_and_words() {
    let node = Node::start();
    let mut missing = order(0, &["true"]);
    missing.tasks[0].argv = vec!["no-such-program".into()];
    missing.work_dir = "/no/such/place".into();
    let mut client = Client::launch(missing);
    client.hear(node.attach().await, |heard| heard.done).await;
    let said = &client.heard.error[&0];
    assert!(
        said.contains("couldn't chdir to `/no/such/place': No such file or directory"),
        "{said}"
    );
    assert!(said.contains("execve(): no-such-program: No such file or directory"), "{said}");
    assert_eq!(client.heard.exits[&0].code, 2);
}

#[tokio::test]
async fn a_terminal_has_its_size_and_takes_another() {
    let node = Node::start();
    let mut shell = order(0, &["tty >/dev/null && stty size; read x; stty size; echo said $x"]);
    shell.terminal = Some((33, 101));
    let mut client = Client::launch(shell);
    client
        .hear(node.attach().await, |heard| {
            heard.output.get(&0).is_some_and(|t| t.contains("33 101"))
        })
        .await;
    client.tell(ToNode::Resize { rows: 20, columns: 60 });
    client.input(EVERY_TASK, b"word\n");
    client.hear(node.attach().await, |heard| heard.done).await;
    let output = &client.heard.output[&0];
    assert!(output.contains("20 60") && output.contains("said word"), "{output}");
    assert_eq!(client.heard.exits[&0].code, 0);
}

#[tokio::test]
async fn the_end_of_the_job_is_told_and_the_daemon_ends_after_its_tasks() {
    let mut node = Node::start();
    let mut client = Client::launch(order(0, &["echo up; read x"]));
    client.hear(node.attach().await, |heard| !heard.output.is_empty()).await;
    node.terminate();
    client.hear(node.attach().await, |heard| heard.cancelled).await;
    client.input(EVERY_TASK, b"");
    // What was heard is acknowledged: the daemon needs no more words to end.
    client.hear(node.attach().await, |heard| heard.done).await;
    node.ended().await;
}

#[tokio::test]
async fn a_client_that_hears_nothing_does_not_hold_up_the_end_of_the_job() {
    let mut node = Node::start();
    let mut client = Client::launch(order(0, &["echo up"]));
    client.hear(node.attach().await, |heard| !heard.output.is_empty()).await;
    drop(client);
    node.terminate();
    node.ended().await;
}

#[tokio::test]
async fn a_watcher_sees_output_and_another_order_of_the_step_is_refused() {
    let node = Node::start();
    let mut client = Client::launch(order(3, &["echo up; read x; echo $x"]));
    client.hear(node.attach().await, |heard| !heard.output.is_empty()).await;
    let mut again = Client::launch(order(3, &["echo never"]));
    again.hear(node.attach().await, |heard| heard.refused.is_some()).await;
    let mut watcher = Client::new();
    watcher.tell(ToNode::Attach { step: 3 });
    watcher.input(EVERY_TASK, b"seen\n");
    watcher.hear(node.attach().await, |heard| heard.done).await;
    // Once the step is over nobody needs to know that its input was taken.
    assert!([0, 5].contains(&watcher.heard.taken), "{}", watcher.heard.taken);
    assert_eq!(watcher.heard.output[&0], "seen\n");
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.output[&0], "up\nseen\n");
}

#[tokio::test]
async fn a_library_finds_its_server() {
    let node = Node::start();
    // The protocol is lines, so a shell can speak it.
    let script = r#"eval "exec 3<&$PMI_FD 4>&$PMI_FD"; echo cmd=init pmi_version=1 pmi_subversion=1 >&4; read a <&3; echo "$a"; echo cmd=barrier_in >&4; read a <&3; echo "$a""#;
    let mut with = order(0, &[script]);
    // Not every shell knows descriptors of two digits.
    with.tasks[0].argv[0] = "bash".into();
    with.library = Some(LibraryOrder { name: "1.0".into(), size: 1, mapping: String::new() });
    let mut client = Client::launch(with);
    client.hear(node.attach().await, |heard| heard.barriers == 1).await;
    client.tell(ToNode::BarrierOut { puts: Vec::new() });
    client.hear(node.attach().await, |heard| heard.done).await;
    assert!(client.heard.output[&0].ends_with("cmd=barrier_out rc=0\n"), "{:?}", client.heard);
    assert!(client.heard.exits[&0].unfinished);
}
