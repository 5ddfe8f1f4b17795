//! The step daemon, beside a script and in its place. Here it is a shell.

use std::fs;

use pcluster_keeper::{Command, Notices, Outcome, Target, WarnSignal, send};
use rustix::process::Signal;

use crate::harness::{Run, alive, until};

/// A daemon with one task, which notes the signals it gets. It knows nothing of signals but TERM.
const DAEMON: &str = r#"
sh -c 'trap "echo task >>got" USR1; trap "exit 0" TERM; echo $$ >task; while :; do sleep 0.02; done' &
trap 'kill $!; wait; echo told >told; exit 0' TERM
echo $$ >daemon
while :; do sleep 0.02; done
"#;

const SCRIPT: &str = r#"
trap 'echo main >>got' USR1
echo ready >ready
while [ ! -e go ]; do sleep 0.02; done
exit 3
"#;

fn with_daemon(script: &str, daemon: &str) -> Run {
    let mut run = Run::shell(script);
    run.order.step_daemon = ["/bin/sh", "-c", daemon].map(String::from).to_vec();
    run
}

fn pid_in(run: &Run, name: &str) -> i32 {
    run.line_in(name).parse().unwrap()
}

#[test]
fn it_starts_on_demand_has_its_last_word_and_changes_no_outcome() {
    let mut run = with_daemon(SCRIPT, DAEMON);
    run.start();
    run.line_in("ready");
    assert!(!run.work("daemon").exists(), "nobody asked for it");
    send(&run.dir, &Command::Steps).unwrap();
    send(&run.dir, &Command::Steps).unwrap();
    let (daemon, task) = (pid_in(&run, "daemon"), pid_in(&run, "task"));
    fs::write(run.work("go"), "").unwrap();
    let record = run.wait();
    assert_eq!((record.outcome, record.survivors), (Outcome::Exited { code: 3 }, 0));
    assert!(run.work("told").exists());
    assert!(!alive(daemon) && !alive(task));
    assert_eq!(run.private_dirs(), 0);
}

#[test]
fn one_that_died_is_started_again_when_it_is_asked_for() {
    let mut run = with_daemon(SCRIPT, "echo $$ >>daemon; exit 1");
    run.start();
    run.line_in("ready");
    let times = || fs::read_to_string(run.work("daemon")).unwrap_or_default().lines().count();
    for wanted in 1..=2 {
        send(&run.dir, &Command::Steps).unwrap();
        until("the daemon", || (times() == wanted).then_some(()));
        until("its end", || {
            (run.log().matches("the step daemon has ended").count() == wanted).then_some(())
        });
    }
    fs::write(run.work("go"), "").unwrap();
    assert_eq!(run.wait().outcome, Outcome::Exited { code: 3 });
}

#[test]
fn signals_reach_whom_they_are_meant_for_and_spare_the_daemon() {
    let mut run = with_daemon(SCRIPT, DAEMON);
    run.start();
    run.line_in("ready");
    send(&run.dir, &Command::Steps).unwrap();
    let daemon = pid_in(&run, "daemon");
    pid_in(&run, "task");
    let got = || fs::read_to_string(run.work("got")).unwrap_or_default();
    let usr1 = |target| Command::Signal { signal: Signal::USR1.as_raw(), target };
    send(&run.dir, &usr1(Target::Steps)).unwrap();
    until("the task's", || (got() == "task\n").then_some(()));
    send(&run.dir, &usr1(Target::Batch)).unwrap();
    until("the script's", || (got() == "task\nmain\n").then_some(()));
    send(&run.dir, &usr1(Target::All)).unwrap();
    until("both", || (got().lines().count() == 4).then_some(()));
    assert!(alive(daemon));
    fs::write(run.work("go"), "").unwrap();
    assert_eq!(run.wait().outcome, Outcome::Exited { code: 3 });
}

#[test]
fn a_warning_for_steps_reaches_the_children_of_a_script_without_any() {
    let child =
        r#"sh -c 'trap "echo child >got; exit 0" USR1; echo >ready; while :; do sleep 0.02; done'"#;
    let mut run = with_daemon(child, DAEMON);
    // A shell with one command would become it.
    run.order.argv[2].push_str("\nexit 0");
    let signal = Signal::USR1.as_raw();
    run.order.time_limit_ms = Some(60_000);
    run.order.warn_signal = Some(WarnSignal { signal, before_ms: 59_000, target: Target::Steps });
    let record = run.finish();
    assert_eq!(record.outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.line_in("got"), "child");
}

#[test]
fn where_it_is_the_main_process_there_is_no_script_and_no_output() {
    let mut run = with_daemon("exit 9", DAEMON);
    run.order.only_steps = true;
    run.start();
    let (daemon, task) = (pid_in(&run, "daemon"), pid_in(&run, "task"));
    assert_eq!(run.alive().start_record().child_pid, Some(daemon));
    send(&run.dir, &Command::Signal { signal: Signal::USR1.as_raw(), target: Target::All })
        .unwrap();
    assert_eq!(run.line_in("got"), "task");
    assert!(!run.order.stdout.exists());
    send(&run.dir, &Command::End { grace_ms: 60_000, reason: "head".into() }).unwrap();
    let record = run.wait();
    assert_eq!(record.outcome, Outcome::Cancelled { reason: "head".into() });
    assert_eq!((record.code, record.usage.batch_user_cpu_ms), (Some(0), 0));
    assert!(run.work("told").exists() && !alive(task));
}

#[test]
fn without_a_program_for_it_the_run_says_so() {
    let mut run = Run::shell("exit 0");
    run.order.only_steps = true;
    run.order.step_daemon = vec!["/no/such/daemon".into()];
    let Outcome::CannotRun { step, why } = run.finish().outcome else { panic!("it ran") };
    assert!(step == "exec" && why.contains("/no/such/daemon"), "{why}");
}

#[test]
fn the_error_file_says_what_ended_the_job() {
    let notices = || Some(Notices { job: "157".into(), node: "c1".into(), utc_offset_s: 0 });
    let mut run = Run::shell("echo mine; exec sleep 1000");
    run.order.time_limit_ms = Some(300);
    run.order.notices = notices();
    assert_eq!(run.finish().outcome, Outcome::TimedOut);
    let out = run.output();
    assert!(
        out.starts_with("mine\nslurmstepd-c1: error: *** JOB 157 ON c1 CANCELLED AT 2"),
        "{out}"
    );
    assert!(out.ends_with(" DUE TO TIME LIMIT ***\n"), "{out}");

    let mut run = Run::shell("echo >ready; exec sleep 1000");
    run.order.stderr = Some(run.work("errors"));
    run.order.notices = notices();
    run.start();
    run.line_in("ready");
    send(&run.dir, &Command::End { grace_ms: 100, reason: "requeue".into() }).unwrap();
    run.wait();
    assert!(run.line_in("errors").ends_with(" DUE TO JOB REQUEUE ***"));
    assert_eq!(run.output(), "");
}

#[test]
fn the_batch_is_counted_apart_from_the_steps() {
    let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo >burnt; sleep 1000";
    let mut run = with_daemon(SCRIPT, burn);
    run.start();
    run.line_in("ready");
    send(&run.dir, &Command::Steps).unwrap();
    run.line_in("burnt");
    fs::write(run.work("go"), "").unwrap();
    let usage = run.wait().usage;
    assert!(usage.batch_max_rss_bytes > 0, "{usage:?}");
    assert!(usage.user_cpu_ms > usage.batch_user_cpu_ms + 10, "{usage:?}");
}
