//! The program itself, for readers who leave early.
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn a_reader_who_has_seen_enough_ends_it_without_a_word() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pcluster-sim"))
        .args(["replay", "--seed", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    assert!(first.starts_with("seed 5, safety:"), "{first}");
    drop(lines);
    let mut words = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut words).expect("text");
    assert_eq!((child.wait().expect("it ends").code(), words.as_str()), (Some(141), ""));
}
