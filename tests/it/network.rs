//! Connections that break at any moment: reset in the middle of a frame, a byte at a time, half-open;
//! between the nodes and the head, and between the commands and the head.
use pcluster_tests::dice::Dice;
use pcluster_tests::proxy::{self, Proxy, Way};
use pcluster_tests::{Cluster, PATIENCE, Setup, meter};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Seeds the moments of the cuts.
const SEED: &str = "PCLUSTER_NETWORK_SEED";
const TASKS: usize = 40;
/// Longest time between two changes of the network.
const CALM: Duration = Duration::from_millis(250);
/// So long the network is bad: agents come back ever more slowly to a head that they keep losing.
const BAD: Duration = Duration::from_secs(12);
/// A connection that is cut by its length lasts for at most so many bytes: a greeting has more.
const SHORT: u64 = 6_000;

/// A cluster whose nodes dial a proxy, and one whose commands do.
struct Place {
    cluster: Cluster,
    nodes: Proxy,
    commands: Proxy,
    socket: PathBuf,
}

impl Place {
    fn new() -> Self {
        let head = proxy::free_address();
        let nodes = Proxy::tcp(head);
        let cluster = Cluster::with(
            "network",
            Setup {
                compute: "cpus = 4, memory = \"2 GB\", max = 2".to_owned(),
                head: format!("listen = \"{head}\"\naddress = \"{}\"\n", nodes.address()),
                ..Setup::default()
            },
        );
        let socket = cluster.root().join("far.sock");
        let commands = Proxy::unix(&socket, cluster.socket());
        Self { cluster, nodes, commands, socket }
    }

    /// A command whose way to the head is the bad one.
    fn far(&self, words: &[&str]) -> Command {
        let mut command = self.cluster.command(words);
        command.env("PCLUSTER_SOCKET", &self.socket);
        command.env("PCLUSTER_JOB_CLUSTER", self.cluster.name());
        command
    }

    /// One change of either network.
    fn shake(&self, dice: &mut Dice) {
        let net = if dice.below(2) == 0 { &self.nodes } else { &self.commands };
        match dice.below(5) {
            0 | 1 => net.cut(),
            // Every connection from now on breaks after some bytes.
            2 => {
                net.cut_after(1 + dice.below(SHORT));
                net.cut();
            }
            3 => net.set(Way::Trickle),
            _ => net.calm(),
        }
        sleep(dice.time(CALM));
    }

    fn calm(&self) {
        self.nodes.calm();
        self.commands.calm();
    }
}

#[test]
fn connections_that_are_cut_at_any_moment_lose_nothing_and_double_nothing() {
    let mut dice = Dice::from_env(SEED, "a bad network");
    let place = Place::new();
    let cluster = &place.cluster;
    let over = AtomicBool::new(false);
    let told = scope(|side| {
        side.spawn(|| {
            let begun = Instant::now();
            while !over.load(Ordering::SeqCst) && begun.elapsed() < BAD {
                place.shake(&mut dice);
            }
            place.calm();
        });
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&place)));
        over.store(true, Ordering::SeqCst);
        told
    });
    told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let (nodes, commands) = (place.nodes.cuts(), place.commands.cuts());
    println!("cut: {nodes} connections of nodes, {commands} of commands");
    assert!(nodes >= 3 && commands >= 3, "a good network: {nodes} {commands}");
    meter::to_zero(cluster);
}

/// An array, some jobs of their own, one with a step, and one whose output is followed, all over the
/// bad network.
fn work(place: &Place) {
    let cluster = &place.cluster;
    let text = "echo \"$SLURM_ARRAY_TASK_ID $PCLUSTER_ATTEMPT\" >>starts; sleep 0.3; exit $((SLURM_ARRAY_TASK_ID % 3))";
    cluster.script("array.sh", text);
    let array = format!("1-{TASKS}");
    let words = ["submit", "-q", "--key", "array", "--array", &array, "--mem", "50M", "array.sh"];
    let id = cluster.say(&mut place.far(&words)).expect_code(0).id();
    let lines = "for i in $(seq 200); do echo $i; sleep 0.02; done; exit 4";
    let run = ["run", "-q", "--mem", "50M", "--", "sh", "-c", lines];
    let run = cluster.start(&mut place.far(&run));
    let lines = "for i in $(seq 100); do echo $i; sleep 0.02; done";
    cluster
        .script("step.sh", &format!("srun sh -c 'echo step >>steps; {lines}' >step.out; exit $?"));
    let words = ["submit", "-q", "--mem", "50M", "step.sh"];
    let step = cluster.say(&mut place.far(&words)).expect_code(0).id();
    for number in 0..8 {
        cluster.script("one.sh", &format!("echo {number} >>ones"));
        let words = ["submit", "-q", "-J", "one", "--mem", "50M", "one.sh"];
        cluster.say(&mut place.far(&words)).expect_code(0);
    }
    let said = run.ended(PATIENCE);
    let whole: String = (1..=200).map(|line| format!("{line}\n")).collect();
    assert_eq!((said.code, said.out.as_str()), (4, whole.as_str()), "{}", said.err);
    assert_eq!(cluster.say(&mut place.far(&["wait", &id])).code, 2, "the highest code");
    assert_eq!(cluster.say(&mut place.far(&["wait", &step])).code, 0, "the step");
    let hundred: String = (1..=100).map(|line| format!("{line}\n")).collect();
    assert_eq!((cluster.file("steps"), cluster.file("step.out")), ("step\n".into(), hundred));
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    starts.sort_by_key(|line| line.split(' ').next().and_then(|task| task.parse::<usize>().ok()));
    let once: Vec<String> = (1..=TASKS).map(|task| format!("{task} 1")).collect();
    assert_eq!(starts, once);
    cluster.until_lines("ones", 8);
    let mut ones: Vec<String> = cluster.file("ones").lines().map(str::to_owned).collect();
    ones.sort();
    assert_eq!(ones, (0..8).map(|number| number.to_string()).collect::<Vec<_>>());
}
