//! Programs that stand still for longer than all timers, and go on: a machine that sleeps, a
//! debugger, a hypervisor that moves its guest.
use pcluster_tests::proxy::{self, Proxy, Way};
use pcluster_tests::{Cluster, Setup, meter, procs, scripts, until};
use rustix::process::Signal;
use std::thread::{scope, sleep};
use std::time::Duration;

/// Longer than every timer of a cluster of [`setup`], and than the patience of an agent with a
/// silent head (35 s).
const MINUTE: Duration = Duration::from_secs(60);

/// A job that says each of its starts and holds a lock while anything of it lives.
fn job() -> String {
    let (alone, gate) = (scripts::alone("lock-$PCLUSTER_JOB_ID"), scripts::gate("go"));
    format!("{alone}\necho $PCLUSTER_ATTEMPT >>starts-$PCLUSTER_JOB_ID\n{gate}; exit 5")
}

/// Short timers; `grace` is how long a silent node is waited for.
fn setup(grace: &str) -> Setup {
    Setup {
        compute: format!("cpus = 2, memory = \"1 GB\", max = 2, lost_grace = \"{grace}\""),
        head: "heartbeat = \"500 ms\"\nsilent_after = \"2 s\"\norphan_after = \"2 s\"\norphan_grace = \"2 s\"\n"
            .to_owned(),
        ..Setup::default()
    }
}

/// Stops the process for a minute, does `meanwhile` when it stands, and lets it go on.
fn pause(pid: i32, meanwhile: impl FnOnce()) {
    procs::signal(pid, Signal::STOP);
    meanwhile();
    sleep(MINUTE);
    // It may have been ended meanwhile: then there is nobody to go on.
    let _ = procs::try_signal(pid, Signal::CONT);
}

fn started(cluster: &Cluster) -> String {
    let id = cluster.submit(&[], &job());
    cluster.until_lines(&format!("starts-{id}"), 1);
    id
}

/// The job has ended by itself; these are its attempts, in order, and no two were alive at once.
fn ended_after(cluster: &Cluster, id: &str, starts: &[&str]) {
    assert_eq!(cluster.wait(id), 5);
    let found = cluster.file(&format!("starts-{id}"));
    assert_eq!(found.lines().collect::<Vec<_>>(), starts);
    assert_eq!(cluster.file("twice"), "");
}

/// The job ends while nobody decides: its node is kept, and its end is told once.
fn head() {
    let cluster = Cluster::with("still-head", setup("2 s"));
    let id = started(&cluster);
    pause(cluster.head_pid(), || cluster.touch("go"));
    ended_after(&cluster, &id, &["1"]);
    assert_eq!(cluster.rows(&id)[0]["attempt"].as_u64(), Some(1));
    meter::to_zero(&cluster);
}

/// Its node is waited for: the job ends while nobody tells of it, and its end is told once.
fn agent_that_is_waited_for() {
    let cluster = Cluster::with("still-agent", setup("10 min"));
    let id = started(&cluster);
    pause(cluster.node_process("agent.json"), || cluster.touch("go"));
    ended_after(&cluster, &id, &["1"]);
    meter::to_zero(&cluster);
}

/// Its node is given up: what ran there ends and begins again elsewhere, what was ordered and never
/// heard of begins once, and nothing that was there comes back.
fn agent_that_is_given_up() {
    let cluster = Cluster::with("given-up", setup("2 s"));
    let id = started(&cluster);
    let agent = cluster.node_process("agent.json");
    let mut ordered = String::new();
    pause(agent, || {
        ordered = cluster.submit(&[], &job());
        cluster.until_lines(&format!("starts-{id}"), 2);
        cluster.until_lines(&format!("starts-{ordered}"), 1);
        cluster.touch("go");
    });
    assert!(!procs::is_alive(agent), "it went with its node");
    ended_after(&cluster, &id, &["1", "2"]);
    assert_eq!(cluster.wait(&ordered), 5);
    assert_eq!(cluster.file(&format!("starts-{ordered}")).lines().count(), 1);
    meter::to_zero(&cluster);
}

/// The job ends while its keeper stands.
fn keeper() {
    let cluster = Cluster::with("still-keeper", setup("2 s"));
    let id = started(&cluster);
    pause(cluster.keepers()[0], || cluster.touch("go"));
    ended_after(&cluster, &id, &["1"]);
    meter::to_zero(&cluster);
}

/// The agent dies while the one who would start it again stands.
fn machine() {
    let cluster = Cluster::with("still-machine", setup("10 min"));
    let id = started(&cluster);
    let agent = cluster.node_process("agent.json");
    pause(cluster.node_process("machine.json"), || {
        procs::signal(agent, Signal::KILL);
        cluster.touch("go");
    });
    ended_after(&cluster, &id, &["1"]);
    meter::to_zero(&cluster);
}

/// The connection of the node is half-open: both sides believe in it, and nothing arrives.
fn half_open() {
    let head = proxy::free_address();
    let net = Proxy::tcp(head);
    let mut setup = setup("10 min");
    setup.head.push_str(&format!("listen = \"{head}\"\naddress = \"{}\"\n", net.address()));
    let cluster = Cluster::with("half-open", setup);
    let id = started(&cluster);
    net.set(Way::Swallow);
    cluster.touch("go");
    until("a silent node", || {
        let node = cluster.json(&["nodes"])["nodes"][0].to_string();
        (node.contains("silent") || node.contains("lost")).then_some(())
    });
    // New connections pass; the one that is there never does again.
    net.set(Way::Open);
    ended_after(&cluster, &id, &["1"]);
    assert!(net.made() >= 2, "the node has dialled again");
    meter::to_zero(&cluster);
}

/// Its node was given up and its machine is dead, but nothing is swept up yet: what it says and does
/// now is of a node that is ending. The end of its job may count, and a second start may not.
#[test]
fn an_agent_that_comes_back_to_a_node_that_was_given_up_doubles_nothing() {
    let cluster = Cluster::with("too-late", Setup { gated: Some("sweep"), ..setup("2 s") });
    let id = started(&cluster);
    let agent = cluster.node_process("agent.json");
    let machine = cluster.node_process("machine.json");
    procs::signal(agent, Signal::STOP);
    let ordered = cluster.submit(&[], &job());
    until("the end of the machine", || (!procs::is_alive(machine)).then_some(()));
    procs::signal(agent, Signal::CONT);
    cluster.touch("go");
    until("the end of what ran there", || cluster.keepers().is_empty().then_some(()));
    cluster.open_gate();
    for job in [&id, &ordered] {
        assert_eq!(cluster.wait(job), 5);
        let attempt = cluster.rows(job)[0]["attempt"].as_u64().unwrap();
        let starts = cluster.file(&format!("starts-{job}"));
        let mut once: Vec<&str> = starts.lines().collect();
        once.dedup();
        assert_eq!(once.len(), starts.lines().count(), "an attempt begins once: {starts}");
        assert_eq!(once.last().copied(), Some(attempt.to_string().as_str()), "the newest counts");
    }
    assert_eq!(cluster.file("twice"), "");
    until("the end of the agent with its node", || (!procs::is_alive(agent)).then_some(()));
    meter::to_zero(&cluster);
}

#[test]
fn whoever_stands_still_for_a_minute_loses_nothing_and_doubles_nothing() {
    scope(|side| {
        let cases =
            [head, agent_that_is_waited_for, agent_that_is_given_up, keeper, machine, half_open];
        let running: Vec<_> = cases.into_iter().map(|case| side.spawn(case)).collect();
        let broken = running.into_iter().filter_map(|case| case.join().err()).count();
        assert_eq!(broken, 0, "see above");
    });
}

#[test]
fn a_head_that_slept_past_its_timers_gives_up_no_node_and_loses_no_job() {
    let cluster = Cluster::with(
        "pause",
        Setup {
            compute: "cpus = 1, memory = \"512 MB\", max = 1, lost_grace = \"2 s\"".to_owned(),
            head: "heartbeat = \"500 ms\"\nsilent_after = \"2 s\"\norphan_grace = \"2 s\"\n"
                .to_owned(),
            ..Setup::default()
        },
    );
    let id = cluster.submit(&[], &format!("echo start >>starts; {}; exit 5", scripts::gate("go")));
    cluster.until_lines("starts", 1);
    let node = cluster.live_nodes()[0]["id"].clone();
    let head = cluster.head_pid();
    procs::signal(head, Signal::STOP);
    // Nothing to wait for: the pause itself is what is tested, and it must pass the timers.
    sleep(Duration::from_secs(8));
    procs::signal(head, Signal::CONT);
    cluster.ok(&["queue"]);
    // Time for a wrong decision to be made: longer than lost_grace and silent_after together.
    sleep(Duration::from_secs(5));
    assert_eq!(cluster.state_of(&id), "running");
    assert_eq!(cluster.live_nodes()[0]["id"], node);
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 5);
    assert_eq!(
        (cluster.file("starts").as_str(), cluster.rows(&id)[0]["attempt"].as_u64()),
        ("start\n", Some(1))
    );
    cluster.down(&[]);
}
