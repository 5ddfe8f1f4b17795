//! The head under the knife: killed with -9 at one call to the system after the other, by `strace`,
//! while it takes a submission, launches a node and runs a job there. Its agents and keepers, which
//! are its children on a node of processes, are under the same knife until the head is dead.
use pcluster_tests::clients::have;
use pcluster_tests::{Cluster, Setup, procs, skip, until, within};
use rustix::process::Signal;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is cut at, and how often it is tried: the calls of a start, a submission, a launch and an end.
const CUTS: [(&str, u32); 5] = [
    ("fsync,fdatasync", 8),
    ("rename,renameat,renameat2", 4),
    ("pwrite64", 10),
    ("connect", 1),
    ("sendto,write", 14),
];

/// Longer than a head under the knife needs to run a job.
const KNIFE_WITHIN: Duration = Duration::from_secs(20);

/// What came of the cuts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    killed: u32,
    /// Accepted and not run.
    lost: u32,
    /// Started more than once.
    doubled: u32,
}

/// A head under `strace`, which kills whoever makes the `nth` of `calls`.
fn head_under_the_knife(cluster: &Cluster, calls: &str, nth: u32) -> std::process::Child {
    let mut command = Command::new("strace");
    cluster.dress(&mut command);
    command.args(["-f", "-qqq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:signal=SIGKILL:when={nth}"));
    command.arg(cluster.bin().join("pcluster-headnode"));
    command.args(["--foreground", "--config"]).arg(cluster.work().join("cluster.toml"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("strace starts")
}

/// The number in the lock, once a head of the knife has written it.
fn new_head(cluster: &Cluster, before: i32) -> Option<i32> {
    let text = fs::read_to_string(cluster.state().join("head.lock")).ok()?;
    text.trim().parse().ok().filter(|pid| *pid != before)
}

fn end(pid: i32, signal: Signal) {
    if procs::is_alive(pid) {
        procs::signal(pid, signal);
        until("the end of the head", || (!procs::is_alive(pid)).then_some(()));
    }
}

/// One cut: a job is submitted with a key of its own, again and again until somebody has taken it; it
/// writes down each of its starts. True when something was killed.
fn cut(cluster: &Cluster, calls: &str, nth: u32, count: &mut Count) -> bool {
    let label = format!("{}-{nth}", calls.split(',').next().unwrap_or(calls));
    let before = new_head(cluster, 0).unwrap_or(0);
    let mut knife = head_under_the_knife(cluster, calls, nth);
    cluster.script("job.sh", &format!("echo start >>starts-{label}"));
    let submit = ["submit", "--key", &label, "-t", "5", "job.sh"];
    let starts = || fs::read_to_string(cluster.work().join(format!("starts-{label}")));
    let mut taken = false;
    // Until the head is dead, or the job has run under it. An agent whose every life ends at this call
    // never runs it: then the knife is put away.
    let killed = within(KNIFE_WITHIN, || {
        let gone = knife.try_wait().ok().flatten().is_some();
        let dead = new_head(cluster, before).is_some_and(|pid| !procs::is_alive(pid));
        if gone || dead {
            return Some(true);
        }
        if !taken {
            taken = cluster.run(&submit).code == 0;
        }
        starts().is_ok_and(|text| !text.is_empty()).then_some(false)
    });
    let killed = killed.unwrap_or(true);
    // Nobody else is killed from here on.
    let _ = knife.kill();
    let _ = knife.wait();
    if let Some(pid) = new_head(cluster, before) {
        end(pid, Signal::KILL);
    }
    cluster.up();
    // Accepted before or not: with its key it is one job.
    let id = cluster.ok(&submit).id();
    let code = cluster.wait(&id);
    let starts = starts().unwrap_or_default();
    count.killed += u32::from(killed);
    count.lost += u32::from(code != 0 || starts.is_empty());
    count.doubled += u32::from(starts.lines().count() > 1);
    end(cluster.head_pid(), Signal::TERM);
    killed
}

#[test]
fn a_head_killed_at_any_call_loses_nothing_and_doubles_nothing() {
    if !have(&["strace"]) {
        return;
    }
    let may = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !may.is_ok_and(|said| said.status.success()) {
        return skip("the knife: nobody may be traced here");
    }
    let cluster = Cluster::cold("knife", Setup::default());
    let mut all = Count::default();
    for (calls, most) in CUTS {
        let mut count = Count::default();
        for nth in 1..=most {
            if !cut(&cluster, calls, nth, &mut count) {
                break;
            }
        }
        println!("{calls}: {count:?}");
        all.killed += count.killed;
        all.lost += count.lost;
        all.doubled += count.doubled;
    }
    assert_eq!((all.lost, all.doubled), (0, 0));
    assert!(all.killed >= 10, "a blunt knife: {all:?}");
    cluster.up();
    let verified = cluster.json(&["admin", "verify"]);
    assert_eq!(verified["wrong"], serde_json::json!([]));
    cluster.down(&[]);
}
