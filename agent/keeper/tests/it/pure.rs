//! The parts that touch nothing: the clock of a limit, and the making of a command line.

use std::time::{Duration, Instant};

use pcluster_keeper::{
    RunOrder,
    clock::{Clock, Due},
    line::{Interpreter, environment, interpreter, words},
};

fn at(began: Instant, seconds: u64) -> Instant {
    began + Duration::from_secs(seconds)
}

#[test]
fn warning_and_limit_come_in_turn() {
    let began = Instant::now();
    let mut clock = Clock::new(began, Some(100_000), Some(10_000));
    assert_eq!(clock.next(), Some(at(began, 90)));
    let said: Vec<Due> =
        [89, 90, 91, 100, 3_600].iter().map(|second| clock.due(at(began, *second))).collect();
    assert_eq!(said, [Due::Nothing, Due::Warning, Due::Nothing, Due::Limit, Due::Limit]);
}

#[test]
fn suspended_time_does_not_count() {
    let began = Instant::now();
    let mut clock = Clock::new(began, Some(100_000), None);
    clock.suspend(at(began, 50));
    clock.suspend(at(began, 60));
    assert_eq!((clock.next(), clock.due(at(began, 4_000))), (None, Due::Nothing));
    clock.resume(at(began, 3_650));
    clock.resume(at(began, 3_660));
    assert_eq!(clock.next(), Some(at(began, 3_700)));
    assert_eq!(clock.due(at(began, 3_700)), Due::Limit);
}

#[test]
fn a_longer_limit_brings_the_warning_again() {
    let began = Instant::now();
    let mut clock = Clock::new(began, Some(100_000), Some(10_000));
    assert_eq!(clock.due(at(began, 95)), Due::Warning);
    clock.set_limit(at(began, 96), Some(101_000));
    assert_eq!(clock.due(at(began, 97)), Due::Nothing, "the moment of the warning is past");
    clock.set_limit(at(began, 98), Some(200_000));
    assert_eq!(clock.due(at(began, 190)), Due::Warning);
    clock.set_limit(at(began, 191), None);
    assert_eq!(clock.next(), None);
}

#[test]
fn an_endless_limit_does_not_overflow() {
    let mut clock = Clock::new(Instant::now(), Some(u64::MAX), Some(1));
    assert_eq!(clock.due(Instant::now()), Due::Nothing);
}

#[test]
fn first_lines_are_read_as_the_kernel_reads_them() {
    let read =
        |text: &str| interpreter(text.as_bytes()).map(|found| (found.program, found.argument));
    assert_eq!(read("#!/bin/sh\nx"), Some(("/bin/sh".into(), None)));
    assert_eq!(
        read("#! \t/usr/bin/env  -S python3 -u \nx"),
        Some(("/usr/bin/env".into(), Some("-S python3 -u".into())))
    );
    assert_eq!(read("#!/bin/sh -p"), Some(("/bin/sh".into(), Some("-p".into()))));
    assert_eq!([read("#!\n"), read("echo"), read(""), read("\u{7f}ELF")], [None, None, None, None]);
}

#[test]
fn words_keep_their_order_and_their_content() {
    let mut order = RunOrder::new(1, vec!["job.sh".into(), "$(id)".into()], "/", "out");
    let shell = Interpreter { program: "/bin/sh".into(), argument: Some("-e".into()) };
    assert_eq!(
        words(&order, Some("/p/script".as_ref()), Some(shell)),
        ["/bin/sh", "-e", "/p/script", "$(id)"]
    );
    order.profile = Some("/image/profile".into());
    assert_eq!(
        words(&order, None, None)[2..],
        [". \"$0\"; exec \"$@\"", "/image/profile", "job.sh", "$(id)"]
    );
}

#[test]
fn the_path_has_a_default_only_when_something_is_put_before_it() {
    let mut order = RunOrder::new(1, vec!["x".into()], "/", "out");
    assert_eq!(environment(&order, None), []);
    order.path_prepend = vec!["/a".into(), "/b".into()];
    assert_eq!(
        environment(&order, None),
        [("PATH".into(), "/a:/b:/usr/local/bin:/usr/bin:/bin".into())]
    );
}
