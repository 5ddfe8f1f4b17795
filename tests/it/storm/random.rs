//! A storm from a seed: head, agents, keepers, machines and commands are killed at random moments,
//! alone and together, while jobs are submitted again and again until somebody has taken them.
//!
//! `PCLUSTER_STORM_SEED` repeats the draws, `PCLUSTER_STORM_SECONDS` makes it long.
use pcluster_tests::dice::Dice;
use pcluster_tests::{Cluster, PATIENCE, Setup, meter, procs, scripts};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const SEED: &str = "PCLUSTER_STORM_SEED";
const SECONDS: &str = "PCLUSTER_STORM_SECONDS";
/// How long a storm lasts in `scripts/test`.
const SHORT: Duration = Duration::from_secs(15);
/// Longest time between two blows.
const CALM: Duration = Duration::from_millis(700);
/// Longest life of a command that is to be killed.
const BRIEF: Duration = Duration::from_millis(60);

const KINDS: [&str; 6] = ["head", "agent", "keeper", "step daemon", "machine", "command"];

/// How often each is meant: a machine takes all that runs there along.
const BLOWS: [&str; 7] =
    ["head", "agent", "agent", "keeper", "step daemon", "step daemon", "machine"];

fn setup() -> Setup {
    Setup {
        compute: "cpus = 4, memory = \"2 GB\", max = 2".to_owned(),
        // Every job must end by itself however often it is hit.
        head: "requeue_limit = 1000\n".to_owned(),
        ..Setup::default()
    }
}

/// A storm over a cluster.
struct Storm {
    cluster: Cluster,
    over: AtomicBool,
    blows: Mutex<BTreeMap<&'static str, u32>>,
}

impl Storm {
    fn strike(&self, kind: &'static str, pid: i32) {
        // It may have ended by itself meanwhile.
        if procs::is_alive(pid) && procs::try_signal(pid, Signal::KILL) {
            *self.blows.lock().unwrap().entry(kind).or_default() += 1;
        }
    }

    /// Somebody has not been hit yet: then the storm goes on a little.
    fn spared(&self) -> bool {
        let blows = self.blows.lock().unwrap();
        !KINDS.iter().all(|kind| blows.contains_key(kind))
    }

    /// One of a kind, if there is one.
    fn blow(&self, kind: &'static str, dice: &mut Dice) {
        let cluster = &self.cluster;
        let victims = match kind {
            "head" => vec![cluster.head_pid()],
            "agent" => cluster.node_processes("agent.json"),
            "machine" => cluster.node_processes("machine.json"),
            "keeper" => cluster.keepers(),
            _ => cluster.step_daemons(),
        };
        if !victims.is_empty() {
            self.strike(kind, *dice.pick(&victims));
        }
    }

    /// Blows until the storm is over, each of one kind or of several together; a dead head comes
    /// back after a moment.
    fn blows(&self, mut dice: Dice, until: Instant) {
        while Instant::now() < until || (self.spared() && Instant::now() < until + PATIENCE) {
            sleep(dice.time(CALM));
            let together = 1 + dice.below(3) / 2 * dice.below(4);
            let mut struck = BTreeSet::new();
            for _ in 0..together {
                let kind = *dice.pick(&BLOWS);
                if struck.insert(kind) {
                    self.blow(kind, &mut dice);
                }
            }
            if struck.contains("head") {
                sleep(dice.time(CALM));
                self.cluster.up();
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    /// Submits jobs one after the other, each until it is taken; the ids by label.
    fn submit(&self, mut dice: Dice) -> Vec<(usize, String)> {
        let mut taken = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let label = taken.len();
            self.cluster.script("storm.sh", &text());
            let (key, name) = (format!("storm-{label}"), label.to_string());
            let words = ["submit", "-q", "--key", &key, "--mem", "50M", "storm.sh", &name];
            loop {
                let command = self.cluster.start(&mut self.cluster.command(&words));
                if dice.below(3) == 0 {
                    sleep(dice.time(BRIEF));
                    self.strike("command", command.pid());
                }
                let said = command.ended(PATIENCE);
                if said.code == 0 {
                    taken.push((label, said.id()));
                    break;
                }
            }
            sleep(dice.time(CALM / 4));
        }
        taken
    }
}

/// Says its start, holds a lock with all that it leaves behind, and ends with a code of its own.
/// Some have a step that says its start too; what becomes of it does not change the job's end.
fn text() -> String {
    let alone = scripts::alone("lock-$1");
    format!("{alone}\n{REST}")
}

const REST: &str = "echo \"$1 $PCLUSTER_ATTEMPT\" >>starts; setsid sleep 1000 &\n\
    [ $(($1 % 4)) = 0 ] && srun sh -c 'echo $0 >>steps; sleep 0.2' $1.$PCLUSTER_ATTEMPT\n\
    sleep 0.4; exit $(($1 % 3))";

#[test]
fn whoever_is_killed_at_random_alone_or_together_loses_nothing_and_doubles_nothing() {
    let mut dice = Dice::from_env(SEED, "a storm");
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let long = seconds.map_or(SHORT, Duration::from_secs);
    let storm = Storm {
        cluster: Cluster::with("random", setup()),
        over: AtomicBool::new(false),
        blows: Mutex::default(),
    };
    let (blows, submits) = (dice.split(), dice.split());
    let taken = scope(|side| {
        let submitted = side.spawn(|| storm.submit(submits));
        storm.blows(blows, Instant::now() + long);
        submitted.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let cluster = &storm.cluster;
    println!("{} jobs, killed: {:?}", taken.len(), storm.blows.lock().unwrap());
    for (label, id) in &taken {
        assert_eq!(cluster.wait(id), i32::try_from(label % 3).unwrap(), "job {id}");
    }
    check(cluster, &taken);
    assert!(!storm.spared(), "a storm that spares somebody");
    cluster.until_no_nodes();
    meter::check(cluster);
    cluster.verify();
    cluster.down(&[]);
}

/// Every job is there once, and each of its attempts began once, after the one before was over.
fn check(cluster: &Cluster, taken: &[(usize, String)]) {
    assert_eq!(cluster.file("twice"), "");
    let starts = cluster.file("starts");
    let mut lines: Vec<&str> = starts.lines().collect();
    lines.sort_unstable();
    let all = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), all, "an attempt begins once: {starts}");
    let steps = cluster.file("steps");
    let once: BTreeSet<&str> = steps.lines().collect();
    assert!(!once.is_empty(), "a step of some job begins");
    assert_eq!(once.len(), steps.lines().count(), "a step begins once: {steps}");
    let begun: BTreeSet<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(begun.len(), taken.len(), "every job began: {starts}");
    // Ids are given one after the other: a job that nobody was told of would have one too.
    let ids: BTreeSet<usize> = taken.iter().filter_map(|(_, id)| id.parse().ok()).collect();
    assert_eq!(ids, (1..=taken.len()).collect(), "one job for each key");
    let next = (taken.len() + 1).to_string();
    cluster.run(&["show", &next]).expect_code(4);
}
