use super::env::{NodeNames, expand_pattern, host_list, of_run, of_times};
use super::*;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{ArraySpec, ClusterId, InstanceRef, LaunchId, NodeId, Signal, SignalScope};
use pcluster_wire::{Facts, ShareCheck};

const MINUTE: u64 = 60_000;

fn at(ms: i64) -> Timestamp {
    Timestamp(ms)
}

fn setup() -> AgentSetup {
    AgentSetup {
        cluster: ClusterId::from("00ff00ff00ff00ff"),
        node: NodeId { launch: LaunchId(3), index: 0 },
        instance: InstanceRef::from("p-3.0"),
        token: Some("token".to_string()),
        boot_id: "boot".to_string(),
        facts: Facts::default(),
        orphan_after: DurationMs(3 * MINUTE),
        report_hold: DurationMs(60 * MINUTE),
        on_orphan: OnOrphan::Exit,
    }
}

fn brain() -> AgentState {
    AgentState::new(setup(), AgentMemory::default(), at(0))
}

fn welcome() -> AgentInput {
    AgentInput::Frame(HeadFrame::Welcome {
        protocol: pcluster_wire::PROTOCOL,
        node_name: "compute-1".to_string(),
        heartbeat_ms: DurationMs(10_000),
        shares: vec![],
        checks: vec![],
        programs: alloc::vec::Vec::new(),
    })
}

fn connect(brain: &mut AgentState, now: i64) -> Vec<AgentAction> {
    let mut out = brain.step(at(now), AgentInput::Connected { clock: at(now) });
    out.extend(brain.step(at(now), welcome()));
    out
}

fn order(run: u64, number: u64) -> Box<StartOrder> {
    let text = r#"{"run":RUN,"order":ORDER,"job":7,"raw_job":9,"attempt":1,"user":{"name":"ana","uid":1000,
        "gid":1000,"groups":[],"home":"/home/ana","shell":"/bin/bash"},"pool":"compute",
        "resources":{"cpus":2,"memory_bytes":1073741824},"nodes":["compute-1"],"rank":0,
        "term_grace_ms":30000,"spec":{"name":"align","output":"o","work_dir":"/data/a",
        "script":"HASH","environment":"HASH"}}"#;
    let text = text
        .replace("RUN", &run.to_string())
        .replace("ORDER", &number.to_string())
        .replace("HASH", &"ab".repeat(32));
    Box::new(serde_json::from_str(&text).expect("an order"))
}

fn start(run: u64, number: u64) -> AgentInput {
    AgentInput::Frame(HeadFrame::Start(order(run, number)))
}

fn end_order(run: u64) -> AgentInput {
    AgentInput::Frame(HeadFrame::End {
        run: RunId(run),
        grace_ms: DurationMs(5),
        why: EndWhy::Requeue,
    })
}

fn forget(runs: &[u64]) -> AgentInput {
    AgentInput::Frame(HeadFrame::Forget { runs: runs.iter().copied().map(RunId).collect() })
}

fn ended(run: u64) -> RunEnd {
    RunEnd {
        run: RunId(run),
        exit: Exit::Code(0),
        usage: Usage::default(),
        started_at: at(1),
        ended_at: at(2),
    }
}

fn tick(now: i64) -> AgentInput {
    AgentInput::Tick { clock: at(now), load_milli: 0 }
}

fn spawns(out: &[AgentAction]) -> usize {
    out.iter().filter(|action| matches!(action, AgentAction::Spawn(_))).count()
}

fn hello_of(out: &[AgentAction]) -> (Option<String>, Vec<RunReport>) {
    out.iter()
        .find_map(|action| match action {
            AgentAction::Send(AgentFrame::Hello { token, runs, .. }) => {
                Some((token.clone(), runs.clone()))
            }
            _ => None,
        })
        .expect("a hello")
}

fn says_not_started(out: &[AgentAction], run: u64) -> bool {
    out.iter().any(|action| {
        matches!(action, AgentAction::Send(AgentFrame::NotStarted { run: r, .. }) if r.0 == run)
    })
}

#[test]
fn the_token_is_said_until_the_first_welcome_and_the_welcome_is_kept() {
    let mut brain = brain();
    let out = connect(&mut brain, 1);
    assert_eq!(hello_of(&out).0.as_deref(), Some("token"));
    assert!(matches!(&out[1], AgentAction::Keep(memory) if memory.joined));
    brain.step(at(2), AgentInput::Disconnected);
    assert_eq!(hello_of(&connect(&mut brain, 3)).0, None);
    // A head that was brought back from a copy knows neither node nor key.
    brain.step(at(4), AgentInput::Disconnected);
    brain.step(at(5), AgentInput::Connected { clock: at(5) });
    let refused = HeadFrame::Refused { why: "who is that".into(), last: false };
    assert_eq!(brain.step(at(6), AgentInput::Frame(refused)), vec![AgentAction::Hangup]);
    brain.step(at(7), AgentInput::Disconnected);
    assert_eq!(hello_of(&connect(&mut brain, 8)).0.as_deref(), Some("token"));
    brain.step(at(9), AgentInput::Disconnected);
    assert_eq!(hello_of(&connect(&mut brain, 10)).0, None);
}

#[test]
fn a_start_said_twice_spawns_once() {
    let mut brain = brain();
    connect(&mut brain, 1);
    assert_eq!(spawns(&brain.step(at(2), start(5, 1))), 1);
    assert_eq!(spawns(&brain.step(at(3), start(5, 1))), 0);
    let started = KeeperSaid::Started { run: RunId(5), started_at: at(4) };
    let said = brain.step(at(4), AgentInput::Keeper(started));
    let news = AgentFrame::RunStarted { run: RunId(5), started_at: at(4) };
    assert_eq!(said, vec![AgentAction::Send(news.clone())]);
    assert_eq!(brain.step(at(5), start(5, 1)), vec![AgentAction::Send(news)]);
}

#[test]
fn an_end_is_told_at_every_hello_until_it_is_forgotten() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    brain.step(at(3), AgentInput::Disconnected);
    assert_eq!(brain.step(at(4), AgentInput::Keeper(KeeperSaid::Ended(ended(5)))), vec![]);
    for now in [5, 7] {
        assert_eq!(hello_of(&connect(&mut brain, now)).1, vec![RunReport::Ended(ended(5))]);
        brain.step(at(now + 1), AgentInput::Disconnected);
    }
    connect(&mut brain, 9);
    let out = brain.step(at(10), forget(&[5]));
    assert!(out.contains(&AgentAction::ForgetRun { run: RunId(5) }));
    assert!(brain.reports().is_empty());
}

#[test]
fn a_forgotten_order_and_all_below_never_spawn_also_after_a_restart() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 4));
    brain.step(at(3), AgentInput::Keeper(KeeperSaid::Ended(ended(5))));
    brain.step(at(4), forget(&[5]));
    let kept = brain.memory().clone();
    let mut again = AgentState::new(setup(), kept, at(5));
    connect(&mut again, 5);
    for (run, number) in [(5, 4), (6, 3)] {
        let out = again.step(at(6), start(run, number));
        assert_eq!(spawns(&out), 0);
        assert!(says_not_started(&out, run));
    }
    assert_eq!(spawns(&again.step(at(7), start(8, 5))), 1);
}

#[test]
fn an_end_of_an_unknown_run_is_a_tombstone() {
    let mut brain = brain();
    connect(&mut brain, 1);
    let out = brain.step(at(2), end_order(5));
    assert!(says_not_started(&out, 5));
    assert!(
        matches!(&out[0], AgentAction::Keep(memory) if memory.tombstones.contains_key(&RunId(5)))
    );
    let out = brain.step(at(3), start(5, 1));
    assert!(spawns(&out) == 0 && says_not_started(&out, 5));
    brain.step(at(4), forget(&[5]));
    let out = brain.step(at(5), start(5, 1));
    assert!(spawns(&out) == 0 && says_not_started(&out, 5));
}

#[test]
fn a_start_under_way_is_not_said_to_run() {
    let mut brain = brain();
    connect(&mut brain, 1);
    assert_eq!(spawns(&brain.step(at(2), start(5, 1))), 1);
    brain.step(at(3), AgentInput::Disconnected);
    assert_eq!(hello_of(&connect(&mut brain, 4)).1, vec![], "its keeper has not spoken");
    assert_eq!(brain.step(at(5), start(5, 1)), vec![], "told again, it starts nothing twice");
    let started = KeeperSaid::Started { run: RunId(5), started_at: at(6) };
    let frame = AgentFrame::RunStarted { run: RunId(5), started_at: at(6) };
    let out = brain.step(at(6), AgentInput::Keeper(started));
    assert_eq!(out, vec![AgentAction::Send(frame)]);
}

#[test]
fn a_lost_keeper_is_reported_only_after_its_cage_is_empty() {
    let mut brain = brain();
    brain.step(at(0), AgentInput::Adopted { run: RunId(5), order: 1 });
    let lost = KeeperSaid::Lost { run: RunId(5), started_at: at(0) };
    let out = brain.step(at(0), AgentInput::Keeper(lost));
    assert_eq!(out, vec![AgentAction::EmptyRun { run: RunId(5) }]);
    let (_, runs) = hello_of(&connect(&mut brain, 1));
    assert_eq!(runs, vec![RunReport::Running { run: RunId(5), started_at: at(0) }]);
    let emptied = KeeperSaid::Emptied { run: RunId(5), started_at: at(0), ended_at: at(9) };
    let out = brain.step(at(9), AgentInput::Keeper(emptied));
    assert!(
        matches!(&out[0], AgentAction::Send(AgentFrame::RunEnded(end)) if end.exit == Exit::KeeperLost)
    );
}

#[test]
fn news_while_greeting_is_told_after_the_welcome() {
    let mut brain = brain();
    brain.step(at(0), AgentInput::Adopted { run: RunId(5), order: 1 });
    brain.step(at(1), AgentInput::Connected { clock: at(1) });
    assert_eq!(brain.step(at(2), AgentInput::Keeper(KeeperSaid::Ended(ended(5)))), vec![]);
    let out = brain.step(at(3), welcome());
    assert!(out.contains(&AgentAction::Send(AgentFrame::RunEnded(ended(5)))));
}

#[test]
fn an_end_and_a_signal_reach_a_living_run_and_no_other() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    let grace_ms = DurationMs(5);
    assert_eq!(
        brain.step(at(3), end_order(5)),
        vec![AgentAction::EndRun { run: RunId(5), grace_ms, why: EndWhy::Requeue }]
    );
    let signal =
        |run| HeadFrame::Signal { run: RunId(run), signal: Signal(10), scope: SignalScope::Batch };
    assert_eq!(brain.step(at(3), AgentInput::Frame(signal(5))).len(), 1);
    assert_eq!(brain.step(at(3), AgentInput::Frame(signal(6))), vec![]);
    brain.step(at(4), AgentInput::Keeper(KeeperSaid::Ended(ended(5))));
    let out = brain.step(at(5), end_order(5));
    assert_eq!(out, vec![AgentAction::Send(AgentFrame::RunEnded(ended(5)))]);
}

#[test]
fn a_living_run_is_never_forgotten() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    assert_eq!(brain.step(at(3), forget(&[5])), vec![]);
    assert_eq!(brain.live_runs(), 1);
}

#[test]
fn an_idle_node_without_a_head_gives_up_after_its_time_counted_from_the_last_word() {
    let mut brain = brain();
    connect(&mut brain, 1000);
    brain.step(at(5000), AgentInput::Disconnected);
    let due = brain.next_due().expect("a deadline");
    assert_eq!(due, at(5000 + 3 * MINUTE as i64));
    assert_eq!(brain.step(at(due.0 - 1), tick(0)), vec![]);
    assert_eq!(
        brain.step(due, tick(0)),
        vec![AgentAction::Exit(ExitWhy::Orphaned(OnOrphan::Exit))]
    );
    assert_eq!(brain.step(due, tick(0)), vec![], "one exit is enough");
}

#[test]
fn a_machine_that_slept_over_its_time_lets_the_head_speak_first() {
    let mut brain = brain();
    connect(&mut brain, 1000);
    brain.step(at(5000), AgentInput::Disconnected);
    let due = brain.next_due().expect("a deadline");
    let woken = at(due.0 + 60 * MINUTE as i64);
    assert_eq!(brain.step(woken, tick(0)), vec![]);
    let due = brain.next_due().expect("a deadline");
    assert_eq!(due, at(woken.0 + 3 * MINUTE as i64));
    assert_eq!(
        brain.step(due, tick(0)),
        vec![AgentAction::Exit(ExitWhy::Orphaned(OnOrphan::Exit))]
    );
}

#[test]
fn an_unreported_end_holds_the_node_for_longer() {
    let mut brain = brain();
    brain.step(at(0), AgentInput::Adopted { run: RunId(5), order: 1 });
    assert_eq!(brain.next_due(), None, "a node with a run waits for ever");
    brain.step(at(1000), AgentInput::Keeper(KeeperSaid::Ended(ended(5))));
    assert_eq!(brain.next_due(), Some(at(1000 + 60 * MINUTE as i64)));
}

#[test]
fn a_machine_of_other_people_stays() {
    let mut setup = setup();
    setup.on_orphan = OnOrphan::Stay;
    let mut brain = AgentState::new(setup, AgentMemory::default(), at(0));
    assert_eq!(brain.next_due(), None);
    assert_eq!(brain.step(at(i64::MAX), tick(0)), vec![]);
}

#[test]
fn a_leaving_node_finishes_what_it_has_and_starts_nothing() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    let leave = AgentInput::Frame(HeadFrame::Leave { why: "idle".to_string() });
    assert_eq!(brain.step(at(3), leave), vec![]);
    let out = brain.step(at(4), start(6, 2));
    assert!(spawns(&out) == 0 && says_not_started(&out, 6));
    brain.step(at(5), AgentInput::Keeper(KeeperSaid::Ended(ended(5))));
    let out = brain.step(at(6), forget(&[5, 6]));
    let why = "idle".to_string();
    assert_eq!(
        out[out.len() - 2..],
        [
            AgentAction::Send(AgentFrame::Leaving { why: why.clone() }),
            AgentAction::Exit(ExitWhy::Left(why))
        ]
    );
}

#[test]
fn an_idle_node_leaves_at_once() {
    let mut brain = brain();
    connect(&mut brain, 1);
    let leave = AgentInput::Frame(HeadFrame::Leave { why: "idle".to_string() });
    assert!(matches!(brain.step(at(3), leave).last(), Some(AgentAction::Exit(ExitWhy::Left(_)))));
}

#[test]
fn a_refusal_for_good_ends_the_runs_and_another_only_the_connection() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    let refused = |last| AgentInput::Frame(HeadFrame::Refused { why: "no".to_string(), last });
    assert_eq!(brain.step(at(3), refused(false)), vec![AgentAction::Hangup]);
    let out = brain.step(at(4), refused(true));
    assert!(matches!(
        out[0],
        AgentAction::EndRun { run: RunId(5), grace_ms: DurationMs::ZERO, .. }
    ));
    assert!(matches!(out[1], AgentAction::Exit(ExitWhy::Refused(_))));
}

#[test]
fn a_run_that_could_not_be_started_is_a_tombstone() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), start(5, 1));
    let why = "no script".to_string();
    let out = brain.step(at(3), AgentInput::Keeper(KeeperSaid::NotStarted { run: RunId(5), why }));
    assert!(says_not_started(&out, 5));
    assert!(matches!(brain.reports()[..], [RunReport::NotStarted { .. }]));
}

#[test]
fn heartbeats_come_at_the_pace_the_head_asked_for() {
    let mut brain = brain();
    connect(&mut brain, 0);
    assert_eq!(brain.step(at(9_999), tick(1)), vec![]);
    assert_eq!(brain.step(at(10_000), tick(1)).len(), 1);
    assert_eq!(brain.step(at(10_001), tick(1)), vec![]);
}

#[test]
fn frames_of_a_closed_connection_do_nothing() {
    let mut brain = brain();
    connect(&mut brain, 1);
    brain.step(at(2), AgentInput::Disconnected);
    assert_eq!(brain.step(at(3), start(5, 1)), vec![]);
    assert_eq!(brain.live_runs(), 0);
}

fn names() -> NodeNames {
    NodeNames { cluster: "lab".to_string(), node: "compute-1".to_string() }
}

fn value<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[test]
fn what_describes_this_run_wins_over_what_came_from_submit() {
    let blob =
        b"SLURM_JOB_ID=1\0SLURM_ARRAY_TASK_ID=4\0TMPDIR=/x\0A=b=c\0BASH_FUNC_f%%=() { :\n}\0";
    let env = of_run(&order(5, 1), blob, &names());
    assert_eq!(value(&env, "SLURM_JOB_ID"), Some("9"));
    assert_eq!(value(&env, "A"), Some("b=c"));
    assert_eq!(value(&env, "BASH_FUNC_f%%"), Some("() { :\n}"));
    for absent in ["TMPDIR", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"] {
        assert_eq!(value(&env, absent), None, "{absent}");
    }
}

#[test]
fn a_script_knows_that_it_is_one_and_when_it_ends() {
    let mut script = order(5, 1);
    assert_eq!(value(&of_run(&script, b"", &names()), "ENVIRONMENT"), Some("BATCH"));
    script.spec.kind = pcluster_model::JobKind::Allocation;
    assert_eq!(value(&of_run(&script, b"", &names()), "ENVIRONMENT"), None);
    let times = of_times(at(1_795_476_422_900), Some(DurationMs(MINUTE)));
    assert_eq!(value(&times, "SLURM_JOB_START_TIME"), Some("1795476422"));
    assert_eq!(value(&times, "SLURM_JOB_END_TIME"), Some("1795476482"));
    assert_eq!(of_times(at(0), None).len(), 1, "without a limit nobody knows its end");
}

#[test]
fn home_and_names_are_those_of_submit_and_else_those_of_the_account() {
    let blob =
        b"HOME=/data/home\0SHELL=/bin/zsh\0USER=root\0SLURM_JOB_USER=root\0SLURM_JOB_UID=0\0";
    let env = of_run(&order(5, 1), blob, &names());
    let found = ["HOME", "SHELL", "USER", "LOGNAME"].map(|name| value(&env, name));
    assert_eq!(found, [Some("/data/home"), Some("/bin/zsh"), Some("root"), Some("ana")]);
    // Whose run it is remains the head's word.
    assert_eq!(value(&env, "SLURM_JOB_USER"), Some("ana"));
    assert_eq!(value(&env, "SLURM_JOB_UID"), Some("1000"));
    let env = of_run(&order(5, 1), b"", &names());
    let found = ["HOME", "SHELL", "USER", "LOGNAME"].map(|name| value(&env, name));
    assert_eq!(found, [Some("/home/ana"), Some("/bin/bash"), Some("ana"), Some("ana")]);
}

/// `sbatch -N2 --ntasks-per-node=2 -c1 --mem=200`, as Slurm 22.05 answers it; what it says of its own
/// ports is left out, the number of the process and `TMPDIR` are the keeper's.
const GOLDEN: &str = "SLURMD_NODENAME=c1 SLURM_CLUSTER_NAME=lab SLURM_CPUS_ON_NODE=2 SLURM_CPUS_PER_TASK=1 \
    SLURM_GTIDS=0 SLURM_JOBID=169 SLURM_JOB_ACCOUNT=ana SLURM_JOB_CPUS_PER_NODE=2(x2) SLURM_JOB_GID=1000 \
    SLURM_JOB_ID=169 SLURM_JOB_NAME=env SLURM_JOB_NODELIST=c[1-2] SLURM_JOB_NUM_NODES=2 \
    SLURM_JOB_PARTITION=compute SLURM_JOB_QOS=normal SLURM_JOB_UID=1000 SLURM_JOB_USER=ana SLURM_LOCALID=0 \
    SLURM_MEM_PER_NODE=200 SLURM_NNODES=2 SLURM_NODEID=0 SLURM_NODELIST=c[1-2] SLURM_NODE_ALIASES=(null) \
    SLURM_NPROCS=4 SLURM_NTASKS=4 SLURM_NTASKS_PER_NODE=2 SLURM_PRIO_PROCESS=0 SLURM_PROCID=0 \
    SLURM_SUBMIT_DIR=/home/user/work SLURM_SUBMIT_HOST=vm SLURM_TASKS_PER_NODE=2(x2) SLURM_TOPOLOGY_ADDR=c1 \
    SLURM_TOPOLOGY_ADDR_PATTERN=node";

#[test]
fn the_environment_is_that_of_a_real_slurm() {
    let mut order = order(5, 1);
    (order.raw_job, order.job) = (pcluster_model::JobId(169), pcluster_model::JobId(169));
    order.nodes = vec!["c1".to_string(), "c2".to_string()];
    order.node_cpus = vec![2, 2];
    order.resources.memory_bytes = 200 << 20;
    let spec = &mut order.spec;
    spec.name = "env".to_string();
    (spec.nodes, spec.tasks, spec.tasks_per_node) = (2, 4, Some(2));
    (spec.tasks_given, spec.cpus_given) = (true, true);
    spec.memory = pcluster_model::job::MemoryAsk::PerNode(200 << 20);
    (spec.submit_host, spec.submit_dir) = ("vm".to_string(), "/home/user/work".to_string());
    let names = NodeNames { node: "c1".to_string(), ..names() };
    let env = of_run(&order, b"", &names);
    let slurm = env.iter().filter(|(name, _)| name.starts_with("SLURM"));
    let shown: Vec<String> = slurm.map(|(name, value)| format!("{name}={value}")).collect();
    let golden: Vec<&str> = GOLDEN.split_whitespace().collect();
    assert_eq!(shown, golden);
}

#[test]
fn what_was_not_asked_for_is_not_there_and_nodes_may_differ() {
    let mut order = order(5, 1);
    order.nodes = ["a", "b", "c"].map(String::from).to_vec();
    order.node_cpus = vec![2, 2, 1];
    (order.spec.tasks, order.spec.nodes) = (5, 3);
    order.resources.gpus = 2;
    let env = of_run(&order, b"", &names());
    assert_eq!(value(&env, "SLURM_JOB_CPUS_PER_NODE"), Some("2(x2),1"));
    assert_eq!(value(&env, "SLURM_TASKS_PER_NODE"), Some("2(x2),1"));
    assert_eq!(value(&env, "SLURM_SUBMIT_DIR"), Some("/data/a"));
    assert_eq!(
        (value(&env, "SLURM_GPUS"), value(&env, "SLURM_GPUS_ON_NODE")),
        (Some("6"), Some("2"))
    );
    for absent in ["SLURM_NTASKS", "SLURM_NPROCS", "SLURM_CPUS_PER_TASK", "SLURM_NTASKS_PER_NODE"] {
        assert_eq!(value(&env, absent), None, "{absent}");
    }
}

#[test]
fn of_the_names_of_slurm_only_wishes_travel() {
    let blob = b"SLURM_MPI_TYPE=pmi2\0SLURM_STEP_ID=4\0SLURM_NTASKS=9\0PMI_RANK=1\0PCLUSTER_SOCKET=/x\0CUDA_VISIBLE_DEVICES=3\0";
    let env = of_run(&order(5, 1), blob, &names());
    assert_eq!(value(&env, "SLURM_MPI_TYPE"), Some("pmi2"));
    for absent in
        ["SLURM_STEP_ID", "SLURM_NTASKS", "PMI_RANK", "PCLUSTER_SOCKET", "CUDA_VISIBLE_DEVICES"]
    {
        assert_eq!(value(&env, absent), None, "{absent}");
    }
}

#[test]
fn an_array_task_knows_its_place() {
    let mut order = order(5, 1);
    let indices = [1, 3, 5, 7].into_iter().collect();
    order.spec.array = Some(ArraySpec { indices, throttle: None });
    order.task = Some(3);
    order.attempt = 2;
    let env = of_run(&order, b"", &names());
    let expected = [
        ("SLURM_ARRAY_JOB_ID", "7"),
        ("SLURM_ARRAY_TASK_ID", "3"),
        ("SLURM_ARRAY_TASK_MIN", "1"),
        ("SLURM_ARRAY_TASK_MAX", "7"),
        ("SLURM_ARRAY_TASK_STEP", "2"),
        ("SLURM_ARRAY_TASK_COUNT", "4"),
        ("SLURM_RESTART_COUNT", "1"),
        ("SLURM_MEM_PER_NODE", "1024"),
        ("PCLUSTER_TASK_ID", "3"),
    ];
    for (name, wanted) in expected {
        assert_eq!(value(&env, name), Some(wanted), "{name}");
    }
}

#[test]
fn node_lists_are_short_and_keep_their_order() {
    let list =
        |names: &[&str]| host_list(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(list(&["c-1"]), "c-1");
    assert_eq!(list(&["c-1", "c-2", "c-3", "c-7", "gpu-2"]), "c-[1-3,7],gpu-2");
    assert_eq!(list(&["c-9", "c-10", "c-08", "c-09"]), "c-[9-10,08-09]");
    assert_eq!(list(&["login", "login"]), "login,login");
    assert_eq!(list(&[]), "");
}

#[test]
fn patterns_are_expanded_and_values_cannot_leave_the_directory() {
    let mut order = order(5, 1);
    order.spec.name = "../a\nb".to_string();
    let expand = |pattern: &str| expand_pattern(pattern, &order, "compute-1");
    assert_eq!(expand("out/%x-%j.%4A_%N.%u"), "out/.._a_b-9.0007_compute-1.ana");
    assert_eq!(expand("%s %a %b %t"), "batch 4294967294 4 0");
    order.task = Some(13);
    assert_eq!(expand_pattern("%a %b", &order, "compute-1"), "13 3");
}

#[test]
fn what_is_found_of_shared_paths_is_told_to_a_head_that_asked() {
    let proofs = |trouble: Option<&str>| {
        vec![ShareProof { path: "/s".to_string(), trouble: trouble.map(ToString::to_string) }]
    };
    let says = |out: &[AgentAction]| {
        out.iter().any(|action| matches!(action, AgentAction::Send(AgentFrame::Shares { .. })))
    };
    let mut brain = brain();
    connect(&mut brain, 0);
    let out = brain.step(at(1), AgentInput::Shares(proofs(None)));
    assert!(!says(&out), "a head of before does not know the word");

    let mut asking = welcome();
    if let AgentInput::Frame(HeadFrame::Welcome { checks, .. }) = &mut asking {
        checks.push(ShareCheck { path: "/s".to_string(), token: None });
    }
    let hello = brain.step(at(2), AgentInput::Connected { clock: at(2) });
    let told = hello.iter().find_map(|action| match action {
        AgentAction::Send(AgentFrame::Hello { facts, .. }) => Some(facts.shares.clone()),
        _ => None,
    });
    assert_eq!(told, Some(proofs(None)));
    // Found between the hello and the welcome: the hello did not tell.
    assert!(!says(&brain.step(at(3), AgentInput::Shares(proofs(Some("is full"))))));
    assert!(says(&brain.step(at(4), asking)));
    assert!(says(&brain.step(at(5), AgentInput::Shares(proofs(None)))));
    brain.step(at(6), AgentInput::Disconnected);
    assert!(!says(&brain.step(at(7), AgentInput::Shares(proofs(Some("is full"))))));
}

#[test]
fn a_notice_is_told_to_every_head() {
    let says = |out: &[AgentAction]| {
        let notice = |action: &&AgentAction| {
            matches!(action, AgentAction::Send(AgentFrame::Notice { until: Some(_), .. }))
        };
        out.iter().filter(notice).count()
    };
    let mut brain = brain();
    let notice =
        || AgentInput::Notice { kind: pcluster_wire::NoticeKind::Reclaim, until: Some(at(120)) };
    assert_eq!(says(&brain.step(at(1), notice())), 0, "nobody is there");
    assert_eq!(says(&brain.step(at(2), AgentInput::Connected { clock: at(2) })), 0);
    assert_eq!(says(&brain.step(at(3), welcome())), 1);
    brain.step(at(4), AgentInput::Disconnected);
    brain.step(at(5), AgentInput::Connected { clock: at(5) });
    assert_eq!(says(&brain.step(at(6), welcome())), 1, "another head, or the same again");
    assert_eq!(says(&brain.step(at(7), notice())), 1);
}

#[test]
fn gpus_are_named_by_the_order_of_the_bus_and_from_0_where_no_others_are_seen() {
    use super::env::of_gpus;
    let value = |vars: &[(String, String)], name: &str| {
        vars.iter().find(|(its, _)| its == name).map(|(_, value)| value.clone())
    };
    assert!(of_gpus(&[], true).is_empty());
    for (alone, seen) in [(false, "2,5"), (true, "0,1")] {
        let vars = of_gpus(&[2, 5], alone);
        assert_eq!(value(&vars, "SLURM_JOB_GPUS").as_deref(), Some("2,5"));
        assert_eq!(value(&vars, "CUDA_VISIBLE_DEVICES").as_deref(), Some(seen));
        assert_eq!(value(&vars, "ROCR_VISIBLE_DEVICES").as_deref(), Some(seen));
        assert_eq!(value(&vars, "CUDA_DEVICE_ORDER").as_deref(), Some("PCI_BUS_ID"));
    }
}
