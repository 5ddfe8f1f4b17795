//! Errors of a disk, made by `strace`: a call that writes or syncs fails once, or takes long. A head whose
//! commit has failed ends and starts again from what is there; agents and keepers keep what they know until it
//! is written. Nothing that was acknowledged is lost, and nothing is done twice.
use pcluster_tests::clients::have;
use pcluster_tests::{Cluster, Setup, procs, skip, until, within};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What goes wrong at which of a head's calls. A start makes a few of them, a submission and a run the rest.
const HEAD_FAULTS: [(&str, &str); 9] = [
    ("fdatasync,fsync", "error=EIO:when=1"),
    ("fdatasync,fsync", "error=EIO:when=2"),
    ("fdatasync,fsync", "error=EIO:when=3"),
    ("fdatasync,fsync", "error=ENOSPC:when=4"),
    ("fdatasync,fsync", "error=EIO:when=5"),
    ("pwrite64", "error=EIO:when=8"),
    ("pwrite64", "error=ENOSPC:when=12"),
    ("pwrite64", "error=ENOSPC:when=20"),
    ("pwrite64", "error=EIO:when=32"),
];
/// Longer than the head's own bound for a loop that stands still, in microseconds.
const SLOW: &str = "delay_enter=5500000:when=3";
/// Of agents and keepers, which are children of the machine.
const NODE_FAULTS: [(&str, &str); 6] = [
    ("fdatasync,fsync", "error=EIO:when=1"),
    ("fdatasync,fsync", "error=EIO:when=1..3"),
    ("fdatasync,fsync", "error=ENOSPC:when=2"),
    ("write", "error=ENOSPC:when=6..9"),
    ("write", "error=EIO:when=12..14"),
    ("rename,renameat,renameat2", "error=EIO:when=2"),
];
const WITHIN: Duration = Duration::from_secs(15);

fn may_trace() -> bool {
    if !have(&["strace"]) {
        return false;
    }
    let may = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let may = may.is_ok_and(|said| said.status.success());
    if !may {
        skip("errors of a disk: nobody may be traced here");
    }
    may
}

fn strace(cluster: &Cluster, calls: &str, fault: &str) -> Command {
    let mut command = Command::new("strace");
    cluster.dress(&mut command);
    command.args(["-qqq", "-e"]).arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:{fault}"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A head under the fault, and with it the agents and keepers that it starts: each thread counts its own calls.
fn faulty_head(cluster: &Cluster, calls: &str, fault: &str, trace: &Path) -> Child {
    let mut command = strace(cluster, calls, fault);
    command.args(["-f", "-o"]).arg(trace).arg(cluster.bin().join("pcluster-headnode"));
    command.args(["--foreground", "--config"]).arg(cluster.work().join("cluster.toml"));
    command.spawn().expect("strace starts")
}

fn has_struck(trace: &Path) -> bool {
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.contains("(INJECTED)") || text.contains("(DELAYED)")
}

fn end_of(child: &mut Child) -> bool {
    child.try_wait().ok().flatten().is_some()
}

/// One fault: a job with a key is submitted until somebody has taken it, and the head started again when it
/// has ended. Whether the fault struck.
fn strike(cluster: &Cluster, number: usize, calls: &str, fault: &str) -> (bool, bool) {
    let label = format!("fault-{number}");
    let trace = cluster.root().join(&label);
    let before = cluster.try_head_pid();
    let mut head = faulty_head(cluster, calls, fault, &trace);
    cluster.script("job.sh", &format!("echo start >>starts-{label}; exit 3"));
    let submit = ["submit", "-q", "--key", &label, "-t", "5", "job.sh"];
    let mut taken = None;
    let ended = within(WITHIN, || {
        if end_of(&mut head) {
            return Some(true);
        }
        if taken.is_none() {
            taken = Some(cluster.run(&submit)).filter(|said| said.code == 0).map(|said| said.id());
        }
        let ran = !cluster.file(&format!("starts-{label}")).is_empty();
        (taken.is_some() && ran).then_some(false)
    });
    let ended = ended.unwrap_or(false);
    let struck = has_struck(&trace);
    // Its agents were traced as well: they go on, untraced, under another head.
    if let Some(pid) = cluster.try_head_pid().filter(|pid| Some(*pid) != before) {
        procs::end(pid, Signal::KILL);
    }
    let _ = head.kill();
    let _ = head.wait();
    cluster.up();
    let id = cluster.ok(&submit).id();
    if let Some(taken) = taken {
        assert_eq!(taken, id, "{label}: what was accepted is this job");
    }
    assert_eq!(cluster.wait(&id), 3, "{label}");
    assert_eq!(cluster.file(&format!("starts-{label}")), "start\n", "{label}");
    procs::end(cluster.head_pid(), Signal::TERM);
    (struck, ended)
}

#[test]
fn a_head_whose_commit_fails_ends_and_loses_and_doubles_nothing() {
    if !may_trace() {
        return;
    }
    let cluster = Cluster::cold("disk-errors", Setup::default());
    let (mut struck, mut ended) = (0, 0);
    for (number, (calls, fault)) in HEAD_FAULTS.into_iter().enumerate() {
        let (hit, over) = strike(&cluster, number, calls, fault);
        println!("{calls} {fault}: struck {hit}, ended {over}");
        struck += usize::from(hit);
        ended += usize::from(over);
    }
    assert!(struck >= HEAD_FAULTS.len() - 2, "{struck} of {} struck", HEAD_FAULTS.len());
    assert!(ended >= 2, "a failed commit ends the head: {ended}");
    // One that is slow is waited for, and nobody is taken for dead meanwhile.
    let (hit, over) = strike(&cluster, HEAD_FAULTS.len(), "fdatasync,fsync", SLOW);
    assert!(hit && !over, "slow: struck {hit}, ended {over}");
    cluster.up();
    cluster.verify();
    cluster.down(&[]);
}

/// The agent of the only node under the fault, and the keepers that it starts.
fn faulty_agent(cluster: &Cluster, calls: &str, fault: &str, trace: &Path) -> Child {
    let agent = cluster.node_process("agent.json");
    let mut command = strace(cluster, calls, fault);
    command.args(["-f", "-o"]).arg(trace).arg("-p").arg(agent.to_string());
    command.spawn().expect("strace starts")
}

#[test]
fn agents_and_keepers_keep_an_end_that_the_disk_would_not_take() {
    if !may_trace() {
        return;
    }
    let compute = "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"60 s\"";
    let cluster = Cluster::with("spool-errors", Setup::compute(compute));
    let warm = cluster.submit(&[], "exit 0");
    assert_eq!(cluster.wait(&warm), 0);
    let mut struck = 0;
    for (number, (calls, fault)) in NODE_FAULTS.into_iter().enumerate() {
        let label = format!("node-{number}");
        let trace = cluster.root().join(&label);
        let mut strace = faulty_agent(&cluster, calls, fault, &trace);
        until("strace", || trace.exists().then_some(()));
        let id = cluster.submit(&["-J", &label], &format!("echo start >>starts-{label}; exit 6"));
        let code = cluster.wait(&id);
        let hit = has_struck(&trace);
        println!("{calls} {fault}: struck {hit}, code {code}");
        struck += usize::from(hit);
        let _ = strace.kill();
        let _ = strace.wait();
        // A job whose own files met the fault says so and has not run; it never runs twice.
        let starts = cluster.file(&format!("starts-{label}"));
        let outcome = cluster.outcome_of(&id);
        match outcome.as_str() {
            "failed" => assert_eq!((code, starts.as_str()), (6, "start\n"), "{label}"),
            "cannot_run" => assert_eq!(starts, "", "{label}"),
            other => panic!("{label}: {other}, {code}, {starts:?}"),
        }
    }
    assert!(struck >= 4, "{struck} of {} struck", NODE_FAULTS.len());
    cluster.down(&[]);
}
