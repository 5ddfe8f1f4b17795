//! How runs end: by themselves, by their limit, and with everything they started.

use std::fs;

use pcluster_keeper::{
    Adopted, KeeperHandle, Outcome, TAIL_BYTES, Target, WarnSignal, signal_number,
};

use crate::harness::{Run, alive, until};

#[test]
fn an_exit_code_is_kept() {
    let record = Run::shell("exit 3").finish();
    assert_eq!(
        (record.outcome, record.code, record.signal),
        (Outcome::Exited { code: 3 }, Some(3), None)
    );
    assert_eq!((record.run, record.survivors), (7, 0));
}

#[test]
fn a_deadly_signal_is_kept() {
    let record = Run::shell("kill -KILL $$").finish();
    assert_eq!(
        (record.outcome, record.code, record.signal),
        (Outcome::Signaled { signal: 9, core: false }, None, Some(9))
    );
}

#[test]
fn a_job_that_ignores_term_dies_of_its_limit() {
    let mut run = Run::shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    run.order.time_limit_ms = Some(300);
    let record = run.finish();
    assert_eq!((record.outcome, record.signal), (Outcome::TimedOut, Some(9)));
    assert!(record.elapsed_ms >= 500, "limit and grace are given in full: {}", record.elapsed_ms);
}

#[test]
fn a_job_that_answers_the_term_of_its_limit_is_timed_out_all_the_same() {
    let mut run = Run::shell("trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done");
    run.order.time_limit_ms = Some(300);
    run.order.term_grace_ms = 60_000;
    let record = run.finish();
    assert_eq!((record.outcome, record.code), (Outcome::TimedOut, Some(0)));
    // The shell may also say that its `sleep` was terminated.
    assert!(run.output().ends_with("saved\n"), "{}", run.output());
}

#[test]
fn a_job_that_stops_itself_does_not_outlive_its_limit() {
    let mut run = Run::shell("trap '' TERM; kill -STOP $$; while :; do kill -STOP $$; done");
    run.order.time_limit_ms = Some(200);
    assert_eq!(run.finish().outcome, Outcome::TimedOut);
}

#[test]
fn a_warning_comes_before_the_limit() {
    let mut run = Run::shell("trap 'echo warned; exit 5' USR1; while :; do sleep 0.05; done");
    run.order.time_limit_ms = Some(60_000);
    let signal = signal_number("SIGUSR1").unwrap();
    run.order.warn_signal = Some(WarnSignal { signal, before_ms: 59_700, target: Target::Batch });
    let record = run.finish();
    assert_eq!(record.outcome, Outcome::Exited { code: 5 });
    assert_eq!(run.output(), "warned\n");
}

#[test]
fn daemons_of_a_job_end_with_it() {
    // A session of its own, then a double fork, deaf to everything that can be ignored.
    let daemon = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM HUP; (sleep 1000 & echo $! >daemon; wait) &' &); \
                  while ! [ -s daemon ]; do sleep 0.02; done; exit 0";
    let mut run = Run::shell(daemon);
    let record = run.finish();
    assert_eq!(record.outcome, Outcome::Exited { code: 0 });
    let pid: i32 = run.line_in("daemon").parse().unwrap();
    assert!(!alive(pid), "the daemon outlived the job");
    assert_eq!(record.survivors, 0);
}

#[test]
fn a_job_that_forks_faster_than_it_is_killed_ends() {
    // Eight sessions that fork without pause; bounded, so that a failing test hurts nobody.
    let mut run = Run::shell(
        "for i in 1 2 3 4 5 6 7 8; do \
           (setsid sh -c 'echo >>ready; n=0; while [ $n -lt 20000 ]; do n=$((n+1)); (sleep 0.01) & done; wait' &); \
         done; while [ \"$(wc -l <ready)\" -lt 8 ]; do sleep 0.02; done; exit 0",
    );
    let record = run.finish();
    assert_eq!((record.outcome, record.survivors), (Outcome::Exited { code: 0 }, 0));
}

#[test]
fn usage_counts_children_and_orphans() {
    let mut run = Run::shell(
        "(sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo >done' &); while ! [ -s done ]; do sleep 0.02; done; sleep 1.2",
    );
    let record = run.finish();
    assert!(record.usage.user_cpu_ms > 0, "{:?}", record.usage);
    assert!(record.usage.max_rss_bytes > 100_000, "{:?}", record.usage);
}

#[test]
fn a_line_of_a_gigabyte_leaves_the_keeper_small() {
    let mut run = Run::shell(
        "head -c 30000000 /dev/zero; truncate -s 1000000000 /proc/self/fd/1; printf end; echo >full; while ! [ -e go ]; do sleep 0.02; done",
    );
    run.start();
    run.line_in("full");
    let handle = run.alive();
    let status = fs::read_to_string(format!("/proc/{}/status", handle.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 16 * 1024, "the keeper grew to {peak_kib} KiB");
    fs::write(run.work("go"), "").unwrap();
    let record = run.wait();
    assert_eq!(record.usage.output_bytes, 1_000_000_003);
    let tail = run.dir.read_tail().unwrap();
    assert_eq!(tail.len() as u64, TAIL_BYTES);
    assert!(tail.ends_with(b"\0end"));
}

#[test]
fn output_is_read_through_the_keeper_and_not_by_its_path() {
    use std::os::unix::fs::FileExt as _;
    let mut run = Run::shell(
        "echo first; rm out; ln -s /etc/passwd out; echo >swapped; while ! [ -e go ]; do sleep 0.02; done; echo last",
    );
    run.start();
    run.line_in("swapped");
    let handle = run.alive();
    let output = handle.open_output().unwrap().unwrap();
    let mut bytes = [0; 64];
    let read = output.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..read], b"first\n");
    assert_eq!(fs::read(handle.output_fd_path().unwrap()).unwrap(), b"first\n");
    fs::write(run.work("go"), "").unwrap();
    run.wait();
    assert!(!handle.is_alive());
    assert_eq!(run.dir.read_tail().unwrap(), b"first\nlast\n");
    assert!(matches!(KeeperHandle::adopt(&run.dir).unwrap(), Adopted::Ended(_)));
}

#[test]
fn a_keeper_outlives_whoever_started_it() {
    let run = Run::shell("echo $PPID >parent; while ! [ -e go ]; do sleep 0.02; done; exit 9");
    run.dir.prepare(&run.order).unwrap();
    let script = "\"$0\" run \"$1\" 2>/dev/null & echo $! >\"$2\"; kill -KILL $$";
    let mut agent = std::process::Command::new("/bin/sh")
        .args(["-c", script, crate::harness::BINARY])
        .arg(run.dir.path())
        .arg(run.work("keeper"))
        .spawn()
        .unwrap();
    agent.wait().unwrap();
    run.line_in("parent");
    let handle = run.alive();
    assert!(handle.is_alive());
    fs::write(run.work("go"), "").unwrap();
    let record = until("the exit record", || run.dir.read_exit().unwrap());
    assert_eq!(record.outcome, Outcome::Exited { code: 9 });
    until("the keeper to leave", || (!handle.is_alive()).then_some(()));
}
