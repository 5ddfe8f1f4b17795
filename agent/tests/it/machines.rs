//! What happens to nodes: whose end is the end of everything on them, and who may speak to them.
use crate::fake_head::FakeHead;
use crate::place::{Place, kill, lives, numbers, wait_for};
use pcluster_model::{DurationMs, LaunchId, RunId};
use pcluster_providers::conformance::{self, Subject as _};
use pcluster_providers::{Phase, Provider as _, Target};
use pcluster_wire::{AgentFrame, HeadFrame, RunReport};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Processes that try to get away: a session of their own, and a parent that is gone.
const RUNAWAYS: &str = "#!/bin/sh\n\
    setsid sh -c 'echo $$ >> pids; exec sleep 300' &\n\
    (setsid sh -c 'echo $$ >> pids; unset TMPDIR; exec sleep 300' &) &\n\
    trap '' TERM; echo $$ >> pids; while :; do sleep 0.05; done\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_provider_keeps_every_rule_with_the_real_agent() {
    let head = FakeHead::start().await;
    let place = Place::new("conformance", &head);
    conformance::run(&place).await.unwrap();
}

#[tokio::test]
async fn a_termination_ends_agent_keeper_and_runaways() {
    let mut head = FakeHead::start().await;
    let place = Place::new("terminate", &head);
    let instance = place.launch().await;
    let (connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, RUNAWAYS));
    let mut pids = numbers(&place.work().join("pids"), 3).await;
    pids.extend([place.pid(&instance, "agent.json"), place.pid(&instance, "machine.json")]);
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    let target = Target::Instance(instance.clone());
    place.process().terminate(&[target]).await.unwrap();
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
    let listed = place.listed().await;
    assert_eq!((listed.phase, listed.ended_estimated), (Phase::Ended, false));
    let dir = place.node_dir(&instance);
    assert!(!dir.join("key.der").exists() && !dir.join("runs").exists());
    assert!(place.process().console(&instance).await.unwrap().contains("registered"));
}

#[tokio::test]
async fn a_machine_killed_from_outside_takes_everything_with_it_at_the_next_list() {
    let mut head = FakeHead::start().await;
    let place = Place::new("machine killed", &head);
    let instance = place.launch().await;
    let (connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, RUNAWAYS));
    let mut pids = numbers(&place.work().join("pids"), 3).await;
    pids.push(place.pid(&instance, "agent.json"));
    kill(place.pid(&instance, "machine.json"));
    let listed = place.wait_for_end().await;
    assert!(listed.ended_estimated);
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

/// Puts a file in the place of another, as an upgrade does.
fn put(path: &Path, fill: impl FnOnce(&Path)) {
    let new = path.with_extension("new");
    fill(&new);
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_machine_starts_the_agent_of_an_upgrade_and_its_own_where_that_one_does_not_live() {
    let mut head = FakeHead::start().await;
    let mut place = Place::new("upgrade", &head);
    let programs = place.root.join("bin");
    fs::create_dir_all(&programs).unwrap();
    let (built, agent) = (place.agent.clone(), programs.join("pcluster-agent"));
    for name in ["pcluster-agent", "pcluster-keeper"] {
        fs::copy(built.with_file_name(name), programs.join(name)).unwrap();
    }
    place.agent.clone_from(&agent);
    let instance = place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\n"));
    connection.frame("start", |frame| matches!(frame, AgentFrame::RunStarted { .. })).await;
    let runs = |pid: i32, file: &Path| {
        let of = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        of(Path::new(&format!("/proc/{pid}/exe"))) == of(file)
    };

    put(&agent, |new| assert!(fs::copy(&built, new).is_ok()));
    assert!(!runs(place.pid(&instance, "agent.json"), &agent));
    kill(place.pid(&instance, "agent.json"));
    let (connection, hello) = head.welcome().await;
    let AgentFrame::Hello { runs: known, .. } = hello else { panic!("{hello:?}") };
    assert!(matches!(known[..], [RunReport::Running { run: RunId(5), .. }]), "{known:?}");
    assert!(runs(place.pid(&instance, "agent.json"), &agent), "the upgrade's agent runs");
    drop(connection);

    put(&agent, |new| {
        fs::write(new, "#!/bin/sh\necho broken\nexit 3\n").unwrap();
        fs::set_permissions(new, fs::Permissions::from_mode(0o755)).unwrap();
    });
    kill(place.pid(&instance, "agent.json"));
    let (_connection, hello) = head.welcome().await;
    let AgentFrame::Hello { runs: known, .. } = hello else { panic!("{hello:?}") };
    assert!(matches!(known[..], [RunReport::Running { run: RunId(5), .. }]), "{known:?}");
    let console = place.process().console(&instance).await.unwrap();
    assert!(console.contains("the upgraded agent does not work here"), "{console}");
    // The end of a node is the agent's work too.
    put(&agent, |new| assert!(fs::copy(&built, new).is_ok()));
}

#[tokio::test]
async fn a_machine_told_to_end_ends_everything_and_writes_down_when() {
    let mut head = FakeHead::start().await;
    let place = Place::new("machine told", &head);
    let instance = place.launch().await;
    let (connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, RUNAWAYS));
    let pids = numbers(&place.work().join("pids"), 3).await;
    let machine = rustix::process::Pid::from_raw(place.pid(&instance, "machine.json")).unwrap();
    rustix::process::kill_process(machine, rustix::process::Signal::TERM).unwrap();
    let listed = place.wait_for_end().await;
    assert!(!listed.ended_estimated);
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn an_idle_node_without_a_head_goes_away_by_itself() {
    let head = FakeHead::start().await;
    let mut place = Place::new("orphan", &head);
    place.address = "127.0.0.1:1".to_owned();
    place.orphan_after = DurationMs(300);
    let instance = place.launch().await;
    assert!(!place.wait_for_end().await.ended_estimated);
    let console = place.process().console(&instance).await.unwrap();
    assert!(console.contains("no head for too long"), "{console}");
}

#[tokio::test]
async fn a_head_with_another_key_hears_nothing() {
    let mut head = FakeHead::start().await;
    let mut place = Place::new("pin", &head);
    place.pin = "00".repeat(32);
    let instance = place.launch().await;
    let console = || fs::read_to_string(place.node_dir(&instance).join("console.log")).unwrap();
    wait_for("the refusal", || console().contains("cannot reach the head at 127.0.0.1")).await;
    let said = tokio::time::timeout(std::time::Duration::from_millis(500), head.connection()).await;
    assert!(said.is_err(), "it spoke to a stranger");
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_node_with_its_jobs() {
    let mut head = FakeHead::start().await;
    let place = Place::new("refused", &head);
    place.launch().await;
    let (connection, _) = head.welcome().await;
    connection.say(place.starting(&head, 5, RUNAWAYS));
    let pids = numbers(&place.work().join("pids"), 3).await;
    connection.say(HeadFrame::Refused { why: "another key is bound".to_owned(), last: true });
    place.wait_for_end().await;
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn the_boot_log_comes_with_the_first_connection() {
    let mut head = FakeHead::start().await;
    let place = Place::new("log", &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    let frame =
        connection.frame("the log", |frame| matches!(frame, AgentFrame::BootLog { .. })).await;
    let AgentFrame::BootLog { lines } = frame else { unreachable!() };
    let whole = lines.join("\n");
    assert!(whole.contains("keys made") && whole.contains(" tls to 127.0.0.1:"), "{whole}");
}

#[tokio::test]
async fn a_node_terminated_while_it_comes_up_leaves_nothing() {
    let head = FakeHead::start().await;
    let place = Place::new("coming up", &head);
    for launch in 1..=12_u64 {
        let order = place.order(LaunchId(launch), 1);
        place.process().launch(&order).await.unwrap()[0].as_ref().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(launch)).await;
        place.process().terminate(&[Target::Launch(LaunchId(launch))]).await.unwrap();
    }
    let path = place.root.to_str().unwrap().as_bytes();
    let of_place = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(path.len()).any(|window| window == path)
    };
    let all = pcluster_keeper::proc::all();
    let left: Vec<i32> = all.iter().map(|stat| stat.pid).filter(|pid| of_place(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    let listed = place.process().list().await.unwrap();
    assert!(listed.iter().all(|one| one.phase == Phase::Ended), "{listed:?}");
}
