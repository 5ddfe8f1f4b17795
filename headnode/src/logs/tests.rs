use super::*;
use crate::scratch::Scratch;
use pcluster_model::LaunchId;

const RUN: RunId = RunId(7);

fn all(tails: &OutputTails) -> Piece {
    tails.read(RUN, 0, usize::MAX).unwrap().unwrap()
}

#[test]
fn repeated_and_overlapping_pieces_are_kept_once() {
    let scratch = Scratch::new("logs");
    let tails = OutputTails::open(scratch.path()).unwrap();
    tails.append(RUN, 0, b"hello ").unwrap();
    tails.append(RUN, 0, b"hello ").unwrap();
    tails.append(RUN, 3, b"lo world").unwrap();
    assert_eq!(all(&tails), Piece { offset: 0, bytes: b"hello world".into(), end: 11 });
}

#[test]
fn output_survives_a_restart_of_the_head() {
    let scratch = Scratch::new("logs");
    OutputTails::open(scratch.path()).unwrap().append(RUN, 0, b"one ").unwrap();
    let tails = OutputTails::open(scratch.path()).unwrap();
    tails.append(RUN, 4, b"two").unwrap();
    assert_eq!(all(&tails).bytes, b"one two");
}

#[test]
fn only_the_end_of_long_output_is_kept_and_its_place_is_known() {
    let scratch = Scratch::new("logs");
    let tails = OutputTails::open(scratch.path()).unwrap();
    let line = [b'x'; 64 << 10];
    for number in 0..64_u64 {
        tails.append(RUN, number * line.len() as u64, &line).unwrap();
    }
    let kept = all(&tails);
    assert_eq!(kept.end, 4 << 20);
    assert_eq!(kept.offset + kept.bytes.len() as u64, kept.end);
    assert!(kept.bytes.len() as u64 >= LOG_TAIL_BYTES);
    assert!(kept.bytes.len() as u64 <= 2 * LOG_TAIL_BYTES + line.len() as u64);
}

#[test]
fn after_a_gap_the_newer_part_is_kept() {
    let scratch = Scratch::new("logs");
    let tails = OutputTails::open(scratch.path()).unwrap();
    tails.append(RUN, 0, b"lost").unwrap();
    tails.append(RUN, 100, b"new").unwrap();
    assert_eq!(all(&tails), Piece { offset: 100, bytes: b"new".into(), end: 103 });
}

#[test]
fn followers_hear_of_more_even_when_they_came_first() {
    let scratch = Scratch::new("logs");
    let tails = OutputTails::open(scratch.path()).unwrap();
    let mut grown = tails.follow(RUN).unwrap();
    assert_eq!(*grown.borrow_and_update(), 0);
    tails.append(RUN, 0, b"abc").unwrap();
    assert!(grown.has_changed().unwrap());
    assert_eq!(*grown.borrow_and_update(), 3);
}

#[test]
fn a_run_that_never_printed_has_no_output() {
    let scratch = Scratch::new("logs");
    assert_eq!(OutputTails::open(scratch.path()).unwrap().read(RUN, 0, 1).unwrap(), None);
}

#[test]
fn boot_lines_are_bounded_inert_and_survive() {
    let scratch = Scratch::new("boot");
    let node = NodeId { launch: LaunchId(3), index: 0 };
    let logs = BootLogs::open(scratch.path()).unwrap();
    let lines: Vec<String> = (0..300).map(|number| format!("line {number}\u{1b}[31m")).collect();
    logs.add(node, &lines).unwrap();
    let last = logs.last(node);
    assert_eq!(last.len(), limits::BOOT_LINES);
    assert_eq!(last.last().unwrap(), "line 299\u{fffd}[31m");
    assert_eq!(BootLogs::open(scratch.path()).unwrap().last(node), last);
}

#[test]
fn what_is_not_to_be_kept_is_removed_by_the_number_in_its_name() {
    let scratch = Scratch::new("logs");
    let tails = OutputTails::open(scratch.path()).unwrap();
    for run in 7..=9 {
        tails.append(RunId(run), 0, b"x").unwrap();
    }
    tails.close_except(&BTreeSet::from([RunId(9)]));
    std::fs::write(scratch.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(scratch.path().join("x.log"), "mine").unwrap();
    // 9 is open: somebody writes or follows it.
    assert_eq!(tails.sweep(|run| run == RunId(8)).unwrap(), 1);
    assert_eq!(tails.read(RUN, 0, 1).unwrap(), None);
    assert!(tails.read(RunId(8), 0, 1).unwrap().is_some());
    assert!(tails.read(RunId(9), 0, 1).unwrap().is_some());
    assert!(scratch.path().join("notes.txt").exists() && scratch.path().join("x.log").exists());

    let nodes = Scratch::new("nodes");
    let logs = BootLogs::open(nodes.path()).unwrap();
    let (kept, gone) = (LaunchId(1), LaunchId(2));
    for launch in [kept, gone] {
        logs.add(NodeId { launch, index: 0 }, &["hello".into()]).unwrap();
    }
    let keep = |node: NodeId| node.launch == kept;
    let young = SystemTime::now().checked_sub(std::time::Duration::from_secs(3600));
    assert_eq!(logs.sweep(young, keep).unwrap(), 0);
    let later = SystemTime::now().checked_add(std::time::Duration::from_secs(3600));
    assert_eq!(logs.sweep(later, keep).unwrap(), 1);
}
