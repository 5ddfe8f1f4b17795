//! Runs in a cgroup. Needs root and a hierarchy that can be written; each test says NOT RUN without.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pcluster_keeper::{CgroupOrder, Command, Outcome, kill_cgroup, proc, send};

use crate::harness::{Run, alive, is_root, until};

/// Cgroup directories of one test, removed at its end.
struct Dirs(Vec<PathBuf>);

impl Dirs {
    /// One directory below each hierarchy, or `None` where this machine does not have them all.
    fn make(test: &str, parents: &[&str]) -> Option<Self> {
        let mut dirs = Self(Vec::new());
        for parent in parents {
            let dir = Path::new(parent).join(format!("pk-{test}-{}", std::process::id()));
            if !is_root()
                || !Path::new(parent).join("cgroup.procs").exists()
                || fs::create_dir(&dir).is_err()
            {
                eprintln!("NOT RUN: {test} needs root and {parent}");
                return None;
            }
            dirs.0.push(dir);
        }
        Some(dirs)
    }

    fn order(&self) -> Option<CgroupOrder> {
        Some(CgroupOrder { dirs: self.0.clone() })
    }

    fn members(&self) -> usize {
        self.0
            .iter()
            .map(|dir| fs::read_to_string(dir.join("cgroup.procs")).unwrap().lines().count())
            .sum()
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        for dir in &self.0 {
            while kill_cgroup(std::slice::from_ref(dir)) > 0 {}
            drop(fs::remove_dir(dir));
        }
    }
}

const DAEMON: &str = "(setsid sh -c 'trap \"\" TERM; sleep 1000 & echo $! >daemon; wait' &); while ! [ -s daemon ]; do sleep 0.02; done; cat /proc/self/cgroup";

fn only_the_job_is_inside(test: &str, parent: &str) {
    let Some(dirs) = Dirs::make(test, &[parent]) else {
        return;
    };
    let mut run = Run::shell(DAEMON);
    run.order.cgroup = dirs.order();
    let record = run.finish();
    assert_eq!(
        (record.outcome, record.survivors),
        (Outcome::Exited { code: 0 }, 0),
        "{}",
        run.log()
    );
    assert!(run.output().contains(test), "{}", run.output());
    assert!(!alive(run.line_in("daemon").parse().unwrap()));
    assert_eq!(dirs.members(), 0);
}

#[test]
fn a_v1_cgroup_is_joined_and_emptied() {
    only_the_job_is_inside("joinv1", "/sys/fs/cgroup/pids");
}

/// Where version 2 is mounted, alone or beside version 1.
fn v2() -> &'static str {
    let alone = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    if alone { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" }
}

#[test]
fn a_v2_cgroup_is_joined_and_emptied() {
    only_the_job_is_inside("joinv2", v2());
}

#[test]
fn a_fork_bomb_in_its_cgroup_ends_with_its_limit() {
    let Some(dirs) = Dirs::make("bomb", &["/sys/fs/cgroup/pids"]) else {
        return;
    };
    fs::write(dirs.0[0].join("pids.max"), "150").unwrap();
    let mut run = Run::shell(
        "trap '' TERM; b() { while :; do b | b & done; }; (setsid true; b) & while :; do :; done",
    );
    run.order.cgroup = dirs.order();
    run.order.time_limit_ms = Some(1_000);
    run.order.stderr = Some("/dev/null".into());
    let record = run.finish();
    assert_eq!((record.outcome, record.survivors), (Outcome::TimedOut, 0));
    assert_eq!(dirs.members(), 0);
}

#[test]
fn a_kill_for_memory_is_named() {
    let Some(dirs) = Dirs::make("oom", &["/sys/fs/cgroup/memory"]) else {
        return;
    };
    fs::write(dirs.0[0].join("memory.limit_in_bytes"), "33554432").unwrap();
    drop(fs::write(dirs.0[0].join("memory.memsw.limit_in_bytes"), "33554432"));
    // `tail` must keep what has no line end. The pipe's exit code is that of `cat`: 0.
    let mut run = Run::shell("head -c 200000000 /dev/zero | tail -n 1 | cat >/dev/null");
    run.order.cgroup = dirs.order();
    let record = run.finish();
    assert_eq!((record.outcome, record.code), (Outcome::OutOfMemory, Some(0)));
    assert_eq!(record.usage.oom_kills, 1);
    assert!(
        record.usage.memory_peak_bytes.is_some_and(|peak| peak > 16_000_000),
        "{:?}",
        record.usage
    );
}

#[test]
fn a_cgroup_that_cannot_be_joined_fails_the_run() {
    let mut run = Run::shell("echo free");
    let plain = run.root.join("scratch");
    run.order.cgroup = Some(CgroupOrder { dirs: vec![plain.clone()] });
    let Outcome::CannotRun { step, why } = run.finish().outcome else { panic!("it ran") };
    assert_eq!(
        (step.as_str(), why.as_str()),
        (
            "cgroup",
            format!("cannot join the cgroup {}: No such file or directory", plain.display())
                .as_str()
        )
    );
    assert_eq!(run.output(), "");
    assert_eq!(
        fs::read_dir(plain).unwrap().count(),
        0,
        "nothing was written into a directory that is no cgroup"
    );
}

#[test]
fn what_a_lost_keeper_leaves_in_its_cgroup_is_killed() {
    let Some(dirs) = Dirs::make("lost", &["/sys/fs/cgroup/pids"]) else {
        return;
    };
    let mut run =
        Run::shell("(setsid env -i /bin/sleep 1000 & echo $! >daemon); echo >ready; sleep 1000");
    run.order.cgroup = dirs.order();
    run.start();
    run.line_in("ready");
    let daemon: i32 = run.line_in("daemon").parse().unwrap();
    assert!(proc::stat(daemon).is_some());
    let mut keeper = run.keeper.take().unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    until("the cgroup to be empty", || (kill_cgroup(&dirs.0) == 0).then_some(()));
    assert!(!alive(daemon));
}

/// Whether the group stands still, in either version.
fn is_frozen(dir: &Path) -> bool {
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    read("cgroup.events").contains("frozen 1") || read("freezer.state").trim() == "FROZEN"
}

fn frozen_jobs(test: &str, parent: &str) {
    let Some(dirs) = Dirs::make(test, &[parent]) else {
        return;
    };
    let frozen = || is_frozen(&dirs.0[0]).then_some(());
    let started = |text: &str| {
        let mut run = Run::shell(text);
        run.order.cgroup = dirs.order();
        run.start();
        let pid: i32 = run.line_in("ready").parse().unwrap();
        send(&run.dir, &Command::Suspend).unwrap();
        until("the freeze", frozen);
        (run, pid)
    };
    let (mut run, pid) = started("echo $$ >ready; while ! [ -e go ]; do sleep 0.02; done; exit 6");
    fs::write(run.work("go"), "").unwrap();
    // Its user cannot wake it.
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    assert!(alive(pid) && is_frozen(&dirs.0[0]));
    send(&run.dir, &Command::Resume).unwrap();
    assert_eq!(run.wait().outcome, Outcome::Exited { code: 6 });

    let (mut run, _) = started("trap 'exit 4' TERM; echo $$ >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::End { grace_ms: 60_000, reason: "cancel".into() }).unwrap();
    assert_eq!(run.wait().code, Some(4));

    // Nobody is left to let them go on.
    let (mut run, pid) = started("echo $$ >ready; sleep 1000");
    let mut keeper = run.keeper.take().unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    until("the cgroup to be empty", || (kill_cgroup(&dirs.0) == 0).then_some(()));
    assert!(!alive(pid));
}

#[test]
fn a_suspended_job_is_frozen_by_version_1() {
    frozen_jobs("freezev1", "/sys/fs/cgroup/freezer");
}

#[test]
fn a_suspended_job_is_frozen_by_version_2() {
    frozen_jobs("freezev2", v2());
}
