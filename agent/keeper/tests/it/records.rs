//! Start once, find again, and what is left of a keeper that was lost.

use std::{fs, process::Command};

use pcluster_keeper::{
    Adopted, Durability, EXIT_ALREADY_STARTED, EXIT_OTHER_BOOT, KeeperHandle, Outcome, RunOrder,
    kill_leftovers, write_atomic,
};

use crate::harness::{BINARY, Run, alive, until};

fn start_again(run: &Run) -> Option<i32> {
    let mut keeper = Command::new(BINARY).arg("run").arg(run.dir.path()).spawn().unwrap();
    until("the second keeper", || keeper.try_wait().unwrap()).code()
}

#[test]
fn a_run_starts_once() {
    let mut run =
        Run::shell("echo started >>count; echo >ready; while ! [ -e go ]; do sleep 0.02; done");
    run.start();
    run.line_in("ready");
    assert_eq!(start_again(&run), Some(i32::from(EXIT_ALREADY_STARTED)));
    fs::write(run.work("go"), "").unwrap();
    run.wait();
    assert_eq!(start_again(&run), Some(i32::from(EXIT_ALREADY_STARTED)));
    assert_eq!(fs::read_to_string(run.work("count")).unwrap(), "started\n");
}

#[test]
fn of_many_keepers_at_once_one_starts() {
    let mut run = Run::shell("echo started >>count; while ! [ -e go ]; do sleep 0.02; done");
    run.dir.prepare(&run.order).unwrap();
    let spawn = || Command::new(BINARY).arg("run").arg(run.dir.path()).spawn().unwrap();
    let mut keepers: Vec<_> = (0..8).map(|_| spawn()).collect();
    until("seven refusals", || {
        let refused = keepers.iter_mut().filter_map(|keeper| keeper.try_wait().unwrap());
        (refused.filter(|status| status.code() == Some(i32::from(EXIT_ALREADY_STARTED))).count()
            == 7)
            .then_some(())
    });
    run.line_in("count");
    let winner = keepers
        .into_iter()
        .find_map(|mut keeper| keeper.try_wait().unwrap().is_none().then_some(keeper));
    run.keeper = winner;
    fs::write(run.work("go"), "").unwrap();
    run.wait();
    assert_eq!(fs::read_to_string(run.work("count")).unwrap(), "started\n");
}

#[test]
fn an_order_of_another_boot_is_refused() {
    let mut run = Run::shell("true");
    run.order.boot_id = Some("00000000-0000-0000-0000-000000000000".into());
    run.dir.prepare(&run.order).unwrap();
    assert_eq!(start_again(&run), Some(i32::from(EXIT_OTHER_BOOT)));
}

#[test]
fn a_start_record_of_another_boot_is_lost_and_does_not_count() {
    let mut run = Run::shell("exit 2");
    run.finish();
    let mut start = run.dir.read_start().unwrap().unwrap();
    start.boot_id = "before".into();
    write_atomic(&run.dir.start_record(), &serde_json::to_vec(&start).unwrap(), Durability::Cached)
        .unwrap();
    fs::remove_file(run.dir.exit_record()).unwrap();
    assert!(matches!(KeeperHandle::adopt(&run.dir).unwrap(), Adopted::Lost(_)));
    assert_eq!(kill_leftovers(&start), 0);
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 2 });
}

#[test]
fn nothing_has_started_in_a_fresh_directory() {
    let run = Run::shell("true");
    run.dir.prepare(&run.order).unwrap();
    assert!(matches!(KeeperHandle::adopt(&run.dir).unwrap(), Adopted::NotStarted));
}

#[test]
fn a_reused_number_is_not_the_keeper() {
    let mut run = Run::shell("true");
    run.finish();
    let mut start = run.dir.read_start().unwrap().unwrap();
    start.keeper_pid = i32::try_from(std::process::id()).unwrap();
    write_atomic(&run.dir.start_record(), &serde_json::to_vec(&start).unwrap(), Durability::Cached)
        .unwrap();
    fs::remove_file(run.dir.exit_record()).unwrap();
    assert!(matches!(KeeperHandle::adopt(&run.dir).unwrap(), Adopted::Lost(_)));
}

#[test]
fn what_a_lost_keeper_leaves_is_found_and_ended() {
    let script = "(setsid sh -c 'sleep 1000 & echo $! >daemon; wait' &); (env -i /bin/sleep 1000 & echo $! >bare; wait) & \
                  while ! [ -s daemon ]; do sleep 0.02; done; echo $$ >main; wait";
    let mut run = Run::shell(script);
    run.start();
    let pids = ["main", "daemon", "bare"].map(|name| run.line_in(name).parse::<i32>().unwrap());
    let mut keeper = run.keeper.take().unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    until("the main process to follow its keeper", || (!alive(pids[0])).then_some(()));
    let Adopted::Lost(start) = KeeperHandle::adopt(&run.dir).unwrap() else { panic!("not lost") };
    until("nothing to be left", || (kill_leftovers(&start) == 0).then_some(()));
    assert_eq!(pids.map(alive), [false; 3]);
    let mut keeper = Command::new(BINARY).arg("run").arg(run.dir.path()).spawn().unwrap();
    let code = until("the refusal", || keeper.try_wait().unwrap()).code();
    assert_eq!(
        code,
        Some(i32::from(EXIT_ALREADY_STARTED)),
        "a lost run is not started again by itself"
    );
}

#[test]
fn orders_of_other_versions_are_understood() {
    let text =
        r#"{"run":1,"argv":["true"],"work_dir":"/","stdout":"out","from_the_future":{"x":1}}"#;
    let order: RunOrder = serde_json::from_str(text).unwrap();
    assert_eq!(order, RunOrder::new(1, vec!["true".into()], "/", "out"));
}

#[test]
fn records_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut run = Run::shell("echo hi");
    run.finish();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = [
        run.dir.order(),
        run.dir.start_record(),
        run.dir.exit_record(),
        run.dir.tail(),
        run.dir.log(),
    ];
    assert_eq!(files.map(mode), [0o600; 5]);
    assert_eq!(mode(run.dir.path().to_owned()), 0o700);
    let left: Vec<_> =
        fs::read_dir(run.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "room for a record, and no temporary file stays: {left:?}");
}

#[test]
fn a_record_that_finds_no_room_goes_into_the_room_that_was_kept() {
    let mut run = Run::shell("exit 3");
    run.start();
    run.wait();
    let dir = &run.dir;
    let record = dir.read_exit().unwrap().unwrap();
    // Nobody can make a file in a folder's place: as on a disk without room for one.
    let temporary = format!("{}.{}.tmp", dir.exit_record().display(), std::process::id());
    fs::create_dir(&temporary).unwrap();
    fs::remove_file(dir.exit_record()).unwrap();
    dir.write_exit(&record).unwrap();
    assert_eq!(dir.read_exit().unwrap(), Some(record.clone()));
    // The room is used up.
    assert!(dir.write_exit(&record).is_err());
    fs::remove_dir(&temporary).unwrap();
    dir.write_exit(&record).unwrap();
}
