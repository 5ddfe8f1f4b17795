//! What happens to jobs: from the order to the acknowledged end, whatever is killed meanwhile.
use crate::fake_head::{Connection, FakeHead};
use crate::place::{Place, kill, lives, numbers, wait_for};
use base64::Engine as _;
use pcluster_model::{DurationMs, RunId};
use pcluster_wire::{AgentFrame, EndWhy, Exit, HeadFrame, RunEnd, RunReport};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

async fn started(connection: &mut Connection, run: u64) {
    let wanted =
        |frame: &AgentFrame| matches!(frame, AgentFrame::RunStarted { run: r, .. } if r.0 == run);
    connection.frame("the start", wanted).await;
}

async fn ended(connection: &mut Connection) -> RunEnd {
    let frame = connection.frame("the end", |frame| matches!(frame, AgentFrame::RunEnded(_))).await;
    let AgentFrame::RunEnded(end) = frame else { unreachable!() };
    end
}

/// All output that comes before the end, put together by its offsets, and the end.
async fn output(connection: &mut Connection) -> (Vec<u8>, RunEnd) {
    let mut whole = Vec::new();
    loop {
        let wanted = |frame: &AgentFrame| {
            matches!(frame, AgentFrame::RunEnded(_) | AgentFrame::Output { .. })
        };
        match connection.frame("output or the end", wanted).await {
            AgentFrame::Output { offset, data_base64, .. } => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(data_base64).unwrap();
                whole.resize(usize::try_from(offset).unwrap(), b'?');
                whole.extend(bytes);
            }
            AgentFrame::RunEnded(end) => return (whole, end),
            _ => unreachable!(),
        }
    }
}

#[tokio::test]
async fn a_job_runs_its_output_comes_before_its_end_and_the_node_leaves() {
    let mut head = FakeHead::start().await;
    let place = Place::new("main", &head);
    let instance = place.launch().await;
    let (mut connection, hello) = head.welcome().await;
    let AgentFrame::Hello { token, facts, runs, .. } = hello else { panic!("no hello") };
    assert_eq!(token.as_deref(), Some("join-token"));
    assert_eq!((facts.usable.cpus, runs.len()), (2, 0));
    let registered = |frame: &AgentFrame| matches!(frame, AgentFrame::BootPhase { phase } if phase == "registered");
    connection.frame("the last phase", registered).await;

    let script = "#!/bin/sh\necho $FROM_SUBMIT $SLURM_JOB_ID $PCLUSTER_NODE; [ -d \"$TMPDIR\" ] && echo tmp\nexit 3\n";
    connection.say(place.starting(&head, 5, script));
    let (text, end) = output(&mut connection).await;
    assert_eq!(String::from_utf8(text).unwrap(), "yes 5 compute-0\ntmp\n");
    assert_eq!((end.run, end.exit), (RunId(5), Exit::Code(3)));
    assert_eq!(
        fs::read_to_string(place.work().join("out-5.txt")).unwrap(),
        "yes 5 compute-0\ntmp\n"
    );

    let run = place.node_dir(&instance).join("runs/5");
    assert!(run.exists());
    connection.say(HeadFrame::Forget { runs: vec![RunId(5)] });
    wait_for("the run's directory to go", || !run.exists()).await;
    connection.say(HeadFrame::Leave { why: "idle".to_owned() });
    let last = connection.ends().await;
    assert!(last.contains(&AgentFrame::Leaving { why: "idle".to_owned() }), "{last:?}");
    let listed = place.wait_for_end().await;
    assert!(!listed.ended_estimated && listed.ended_at >= Some(listed.launched_at));
}

#[tokio::test]
async fn a_job_outlives_its_agent_and_its_exit_code_arrives() {
    let mut head = FakeHead::start().await;
    let place = Place::new("agent killed", &head);
    let instance = place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let key = connection.key.clone();
    let script =
        "#!/bin/sh\necho before; while [ ! -e go ]; do sleep 0.02; done; echo after; exit 7\n";
    connection.say(place.starting(&head, 5, script));
    started(&mut connection, 5).await;
    kill(place.pid(&instance, "agent.json"));
    connection.ends().await;
    let (mut connection, hello) = head.welcome().await;
    assert_eq!(connection.key, key, "the same key as before");
    let AgentFrame::Hello { token, runs, .. } = hello else { panic!("no hello") };
    assert_eq!(token, None);
    assert!(matches!(runs[..], [RunReport::Running { run: RunId(5), .. }]), "{runs:?}");
    fs::write(place.work().join("go"), "").unwrap();
    let (text, end) = output(&mut connection).await;
    assert_eq!(end.exit, Exit::Code(7));
    assert_eq!(String::from_utf8(text).unwrap(), "before\nafter\n");
}

#[tokio::test]
async fn a_job_that_ends_without_a_head_is_told_at_the_next_hello_with_its_output() {
    let mut head = FakeHead::start().await;
    let place = Place::new("head away", &head);
    let instance = place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(
        &head,
        5,
        "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done; echo done\n",
    ));
    started(&mut connection, 5).await;
    drop(connection);
    // The agent dials again at once; this connection is never welcomed.
    let silent = head.connection().await;
    fs::write(place.work().join("go"), "").unwrap();
    let exit = place.node_dir(&instance).join("runs/5/exit.json");
    wait_for("the exit record", || exit.exists()).await;
    drop(silent);
    let (mut connection, hello) = loop {
        let (connection, hello) = head.welcome().await;
        if matches!(&hello, AgentFrame::Hello { runs, .. } if matches!(runs[..], [RunReport::Ended(_)]))
        {
            break (connection, hello);
        }
    };
    let AgentFrame::Hello { runs, .. } = hello else { panic!("no hello") };
    assert!(matches!(&runs[..], [RunReport::Ended(end)] if end.exit == Exit::Code(0)));
    let frame =
        connection.frame("the output", |frame| matches!(frame, AgentFrame::Output { .. })).await;
    assert!(
        matches!(frame, AgentFrame::Output { offset: 0, data_base64, .. } if data_base64 == "ZG9uZQo=")
    );
}

#[tokio::test]
async fn an_end_reaches_the_job_and_the_same_start_never_runs_again() {
    let mut head = FakeHead::start().await;
    let place = Place::new("end", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let script = "#!/bin/sh\necho once >> ran; trap 'exit 9' TERM; while :; do sleep 0.02; done\n";
    connection.say(place.starting(&head, 5, script));
    started(&mut connection, 5).await;
    wait_for("the job", || place.work().join("ran").exists()).await;
    connection.say(HeadFrame::End {
        run: RunId(5),
        grace_ms: DurationMs(5000),
        why: EndWhy::Ended,
    });
    assert!(matches!(ended(&mut connection).await.exit, Exit::Ended { .. }));
    for _ in 0..2 {
        connection.say(place.starting(&head, 5, script));
        ended(&mut connection).await;
    }
    connection.say(HeadFrame::Forget { runs: vec![RunId(5)] });
    connection.say(place.starting(&head, 5, script));
    connection.frame("the refusal", |frame| matches!(frame, AgentFrame::NotStarted { .. })).await;
    assert_eq!(fs::read_to_string(place.work().join("ran")).unwrap(), "once\n");
}

#[tokio::test]
async fn an_end_right_after_the_start_leaves_nothing_running() {
    let mut head = FakeHead::start().await;
    let place = Place::new("quick end", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, "#!/bin/sh\nsleep 300\n"));
    connection.say(HeadFrame::End { run: RunId(5), grace_ms: DurationMs(100), why: EndWhy::Ended });
    let over = |frame: &AgentFrame| {
        matches!(frame, AgentFrame::NotStarted { .. } | AgentFrame::RunEnded(_))
    };
    connection.frame("an end of some kind", over).await;
}

#[tokio::test]
async fn a_time_limit_is_kept_on_the_node_and_can_be_changed() {
    let mut head = FakeHead::start().await;
    let place = Place::new("limit", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, "#!/bin/sh\nexec sleep 300\n"));
    started(&mut connection, 5).await;
    connection.say(HeadFrame::Limit { run: RunId(5), time_limit_ms: Some(DurationMs(50)) });
    assert_eq!(ended(&mut connection).await.exit, Exit::TimedOut);
}

#[tokio::test]
async fn a_lost_keeper_is_reported_after_its_job_is_dead() {
    let mut head = FakeHead::start().await;
    let place = Place::new("keeper killed", &head);
    let instance = place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let script =
        "#!/bin/sh\nsetsid sh -c 'echo $$ >> pids; exec sleep 300' &\necho $$ >> pids\nwait\n";
    connection.say(place.starting(&head, 5, script));
    started(&mut connection, 5).await;
    let pids = numbers(&place.work().join("pids"), 2).await;
    let start = fs::read(place.node_dir(&instance).join("runs/5/start.json")).unwrap();
    let start: serde_json::Value = serde_json::from_slice(&start).unwrap();
    kill(i32::try_from(start["keeper_pid"].as_i64().unwrap()).unwrap());
    assert_eq!(ended(&mut connection).await.exit, Exit::KeeperLost);
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_is_an_end() {
    let mut head = FakeHead::start().await;
    let place = Place::new("cannot", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let mut order = place.start(&head, 5, "#!/bin/sh\n");
    order.spec.work_dir = "/nowhere/at/all".to_owned();
    connection.say(HeadFrame::Start(order));
    let Exit::CannotRun { why } = ended(&mut connection).await.exit else { panic!("it ran") };
    assert!(why.contains("/nowhere/at/all"), "{why}");
    let mut order = place.start(&head, 6, "#!/bin/sh\n");
    order.spec.script = "ab".repeat(32).parse().unwrap();
    connection.say(HeadFrame::Start(order));
    let Exit::CannotRun { why } = ended(&mut connection).await.exit else { panic!("it ran") };
    assert!(why.contains("script"), "{why}");
}

#[tokio::test]
async fn another_user_gets_its_ids_and_a_private_directory_it_can_use() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut head = FakeHead::start().await;
    let place = Place::new("user", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let script = "#!/bin/sh\nid -u; id -g; echo x > \"$TMPDIR/x\" && stat -c %a \"$TMPDIR\"; cat /proc/self/status | grep -c 'NoNewPrivs:.1'\n";
    let mut order = place.start(&head, 5, script);
    (order.user.uid, order.user.gid, order.user.groups) = (65_534, 65_534, vec![65_534]);
    connection.say(HeadFrame::Start(order));
    let (text, end) = output(&mut connection).await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(end.exit, Exit::Code(0), "{text}");
    assert_eq!(text, "65534\n65534\n700\n1\n");
}

#[tokio::test]
async fn a_second_attempt_appends_after_a_line_that_names_it() {
    let mut head = FakeHead::start().await;
    let place = Place::new("attempt", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    for attempt in [1, 2] {
        let mut order = place.start(&head, attempt, "#!/bin/sh\necho $PCLUSTER_ATTEMPT\n");
        order.spec.output = "out.txt".to_owned();
        order.attempt = u32::try_from(attempt).unwrap();
        connection.say(HeadFrame::Start(order));
        ended(&mut connection).await;
    }
    let text = fs::read_to_string(place.work().join("out.txt")).unwrap();
    assert_eq!(text, "1\n--- pcluster: attempt 2 on compute-0 ---\n2\n");
}

#[tokio::test]
async fn an_image_gives_its_profile_and_its_programs() {
    let mut head = FakeHead::start().await;
    let mut place = Place::new("image", &head);
    let image = place.root.join("the image");
    fs::create_dir_all(image.join("bin")).unwrap();
    fs::write(image.join("profile"), "export FROM_PROFILE=\"it is sourced\"\n").unwrap();
    let tool = image.join("bin/tool");
    fs::write(&tool, "#!/bin/sh\necho tool of the image\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    place.image = Some(image);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, "#!/bin/sh\necho $FROM_PROFILE; tool\n"));
    let (text, _) = output(&mut connection).await;
    assert_eq!(String::from_utf8(text).unwrap(), "it is sourced\ntool of the image\n");
}

#[tokio::test]
async fn a_loud_job_is_skipped_through_and_its_end_is_whole() {
    let mut head = FakeHead::start().await;
    let place = Place::new("loud", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(
        &head,
        5,
        "#!/bin/sh\nhead -c 50000000 /dev/zero; echo the end\n",
    ));
    let (text, end) = output(&mut connection).await;
    assert_eq!(end.usage.output_bytes, 50_000_008);
    assert_eq!(text.len(), 50_000_008);
    assert!(text.ends_with(b"\0the end\n"));
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_neither_loses_nor_repeats_a_job() {
    let mut head = FakeHead::start().await;
    let place = Place::new("any moment", &head);
    let instance = place.launch().await;
    let (mut connection, _) = head.welcome().await;
    for (run, delay) in [(1_u64, 0), (2, 5), (3, 12), (4, 25), (5, 80)] {
        let script = format!("#!/bin/sh\necho x >> ran-{run}; sleep 0.03; exit {run}\n");
        connection.say(place.starting(&head, run, &script));
        // From before the order is read until after the job has ended.
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        kill(place.pid(&instance, "agent.json"));
        let (mut next, hello) = head.welcome().await;
        let AgentFrame::Hello { runs, .. } = hello else { panic!("no hello") };
        // As the head does: what is outstanding is said again.
        next.say(place.starting(&head, run, &script));
        let end = match runs.first() {
            Some(RunReport::Ended(end)) => end.clone(),
            _ => ended(&mut next).await,
        };
        assert_eq!(end.exit, Exit::Code(i32::try_from(run).unwrap()));
        let ran = fs::read_to_string(place.work().join(format!("ran-{run}"))).unwrap();
        assert_eq!(ran, "x\n", "run {run}");
        next.say(HeadFrame::Forget { runs: vec![RunId(run)] });
        connection = next;
        // The machine starts the agent again as long as it does not die too fast.
        let wait = place.node_dir(&instance).join(format!("runs/{run}"));
        wait_for("the run's directory to go", || !wait.exists()).await;
    }
}

#[tokio::test]
async fn too_much_memory_ends_the_job_and_nobody_else_where_there_are_limits() {
    let mut head = FakeHead::start().await;
    let place = Place::new("memory", &head);
    place.launch().await;
    let (mut connection, hello) = head.welcome().await;
    let AgentFrame::Hello { facts, .. } = hello else { panic!("no hello") };
    if !facts.cage.contains("memory") {
        return;
    }
    connection.say(place.starting(
        &head,
        5,
        "#!/bin/sh\nhead -c 600000000 /dev/zero | tail | wc -c\n",
    ));
    assert_eq!(ended(&mut connection).await.exit, Exit::OutOfMemory);
    connection.say(place.starting(&head, 6, "#!/bin/sh\ntrue\n"));
    assert_eq!(ended(&mut connection).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_fork_bomb_ends_with_its_job_where_there_are_limits() {
    let mut head = FakeHead::start().await;
    let place = Place::new("bomb", &head);
    place.launch().await;
    let (mut connection, hello) = head.welcome().await;
    let AgentFrame::Hello { facts, .. } = hello else { panic!("no hello") };
    if !facts.cage.contains("pids") {
        return;
    }
    let script = "#!/bin/sh\nbomb() { bomb | bomb & }; bomb; echo $$ > pid; sleep 300\n";
    connection.say(place.starting(&head, 5, script));
    numbers(&place.work().join("pid"), 1).await;
    connection.say(HeadFrame::End { run: RunId(5), grace_ms: DurationMs(0), why: EndWhy::Ended });
    assert!(matches!(ended(&mut connection).await.exit, Exit::Ended { .. }));
}

#[tokio::test]
async fn a_job_starts_with_the_open_files_of_the_machine_and_not_with_the_heads() {
    let mut head = FakeHead::start().await;
    let mut place = Place::new("files", &head);
    place.soft_files = Some(77);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, "#!/bin/sh\nulimit -Sn\n"));
    let (text, end) = output(&mut connection).await;
    assert_eq!((String::from_utf8(text).unwrap().as_str(), end.exit), ("77\n", Exit::Code(0)));
    // Who brings a limit of its own has that.
    let mut order = place.start(&head, 6, "#!/bin/sh\nulimit -Sn\n");
    order.spec.soft_limits = vec![("nofile".to_owned(), Some(88))];
    connection.say(HeadFrame::Start(order));
    assert_eq!(String::from_utf8(output(&mut connection).await.0).unwrap(), "88\n");
}

#[tokio::test]
async fn an_agent_takes_more_open_files_than_it_gives() {
    let mut head = FakeHead::start().await;
    let place = Place::new("own-files", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let script = "#!/bin/sh\nulimit -Sn\ngrep 'open files' /proc/$PPID/limits\n";
    connection.say(place.starting(&head, 5, script));
    let (text, end) = output(&mut connection).await;
    let text = String::from_utf8(text).unwrap();
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let given = own.current.map_or("unlimited".to_owned(), |files| files.to_string());
    assert_eq!((text.lines().next(), end.exit), (Some(given.as_str()), Exit::Code(0)), "{text}");
    // The keeper is the agent's child and has what the agent has.
    let taken = text.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap();
    let most = own.maximum.unwrap_or(u64::MAX).min(1 << 16);
    let least = own.current.unwrap_or(u64::MAX).max(most);
    assert!(taken.parse().map_or(true, |taken: u64| taken >= least), "{text}");
}
