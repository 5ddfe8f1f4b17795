//! The words on the control FIFO.

use std::fs;

use pcluster_keeper::{Command, Outcome, SendError, Target, send};

use crate::harness::{Run, until};

fn started(script: &str) -> Run {
    let mut run = Run::shell(script);
    run.start();
    run.line_in("ready");
    run
}

#[test]
fn every_command_survives_its_line() {
    let commands = [
        Command::Signal { signal: 10, target: Target::Batch },
        Command::Signal { signal: 12, target: Target::All },
        Command::Signal { signal: 18, target: Target::Children },
        Command::Signal { signal: 15, target: Target::Steps },
        Command::Steps,
        Command::End { grace_ms: 5_000, reason: "cancel by ana".into() },
        Command::Kill,
        Command::Suspend,
        Command::Resume,
        Command::Extend { limit_ms: Some(5) },
        Command::Extend { limit_ms: None },
        Command::Done,
    ];
    for command in commands {
        assert_eq!(command.to_string().parse(), Ok(command));
    }
}

#[test]
fn a_reason_cannot_smuggle_a_second_command() {
    let line = Command::End { grace_ms: 1, reason: "a\nkill\x1b[2J".into() }.to_string();
    assert_eq!(line, "end 1 a kill [2J");
}

#[test]
fn signals_are_known_by_name_and_number() {
    use pcluster_keeper::signal_number;
    assert_eq!(
        [signal_number("TERM"), signal_number("sigterm"), signal_number("15")],
        [Some(15); 3]
    );
    assert_eq!(
        [signal_number("0"), signal_number("-9"), signal_number("99"), signal_number("")],
        [None; 4]
    );
}

#[test]
fn an_end_cancels_and_keeps_the_code() {
    let mut run = started("trap 'exit 4' TERM; echo >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::End { grace_ms: 60_000, reason: "cancel".into() }).unwrap();
    let record = run.wait();
    assert_eq!(
        (record.outcome, record.code),
        (Outcome::Cancelled { reason: "cancel".into() }, Some(4))
    );
}

#[test]
fn an_end_kills_after_its_grace() {
    let mut run = started("trap '' TERM; echo >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::End { grace_ms: 50, reason: "drain".into() }).unwrap();
    let record = run.wait();
    assert_eq!(
        (record.outcome, record.signal),
        (Outcome::Cancelled { reason: "drain".into() }, Some(9))
    );
}

#[test]
fn a_second_end_shortens_the_grace_and_the_first_reason_stays() {
    let mut run = started("trap '' TERM; echo >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::End { grace_ms: u64::MAX, reason: "drain".into() }).unwrap();
    send(&run.dir, &Command::Kill).unwrap();
    assert_eq!(run.wait().outcome, Outcome::Cancelled { reason: "drain".into() });
}

#[test]
fn a_signal_reaches_the_batch_shell_or_its_children_as_told() {
    let script = "trap 'echo batch >>who' USR1; sh -c 'trap \"echo child >>who; exit\" USR1; echo >ready; while :; do sleep 0.02; done' & \
                  while ! grep -q child who 2>/dev/null; do wait $!; done; echo end";
    let mut run = started(script);
    let usr1 = |target| Command::Signal { signal: 10, target };
    send(&run.dir, &usr1(Target::Batch)).unwrap();
    assert_eq!(run.line_in("who"), "batch");
    send(&run.dir, &usr1(Target::Children)).unwrap();
    run.wait();
    assert_eq!(fs::read_to_string(run.work("who")).unwrap(), "batch\nchild\n");
}

#[test]
fn a_suspended_job_stands_still_and_so_does_its_limit() {
    let mut run = Run::shell("echo $$ >ready; while ! [ -e go ]; do sleep 0.02; done; exit 6");
    run.order.time_limit_ms = Some(60_000);
    run.start();
    let pid: i32 = run.line_in("ready").parse().unwrap();
    let state = || pcluster_keeper::proc::stat(pid).map(|stat| stat.state);
    send(&run.dir, &Command::Suspend).unwrap();
    until("the stop", || (state() == Some(b'T')).then_some(()));
    // A limit that has passed by the clock on the wall, but hardly by running time.
    send(&run.dir, &Command::Extend { limit_ms: Some(30_000) }).unwrap();
    fs::write(run.work("go"), "").unwrap();
    assert_eq!(state(), Some(b'T'));
    send(&run.dir, &Command::Resume).unwrap();
    assert_eq!(run.wait().outcome, Outcome::Exited { code: 6 });
}

#[test]
fn a_suspended_job_can_be_cancelled() {
    let mut run = started("trap 'exit 4' TERM; echo >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::Suspend).unwrap();
    send(&run.dir, &Command::End { grace_ms: 60_000, reason: "cancel".into() }).unwrap();
    let record = run.wait();
    assert_eq!(
        (record.outcome, record.code),
        (Outcome::Cancelled { reason: "cancel".into() }, Some(4))
    );
}

#[test]
fn a_limit_can_be_set_later_and_counts_from_the_start() {
    let mut run = started("echo >ready; while :; do sleep 0.05; done");
    send(&run.dir, &Command::Extend { limit_ms: Some(1) }).unwrap();
    assert_eq!(run.wait().outcome, Outcome::TimedOut);
}

#[test]
fn nonsense_is_noted_and_ignored() {
    use std::io::Write as _;
    let mut run = started("echo >ready; while ! [ -e go ]; do sleep 0.02; done");
    let mut fifo = fs::OpenOptions::new().write(true).open(run.dir.control()).unwrap();
    fifo.write_all(b"dance\nsignal NOPE\nend soon\n\xff\xfe\n").unwrap();
    fifo.write_all(&vec![b'x'; 60_000]).unwrap();
    fifo.write_all(b"\n").unwrap();
    fs::write(run.work("go"), "").unwrap();
    assert_eq!(run.wait().outcome, Outcome::Exited { code: 0 });
    for said in [
        "unknown command \"dance\"",
        "unknown signal \"NOPE\"",
        "\"soon\" is not a number of milliseconds",
    ] {
        assert!(run.log().contains(said), "{}", run.log());
    }
}

#[test]
fn nobody_listens_before_and_after() {
    let mut run = Run::shell("true");
    assert!(matches!(send(&run.dir, &Command::Kill), Err(SendError::NobodyListens(_))));
    run.finish();
    assert!(matches!(send(&run.dir, &Command::Kill), Err(SendError::NobodyListens(_))));
}
