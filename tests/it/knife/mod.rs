//! Under the knife: head, agent, keeper, step daemon and the commands, each killed with -9 just
//! before one call to the system after the other, in a short scenario from zero nodes to zero.
//!
//! Invariant: a job appends a line for each of its starts, so that "never twice" is read from the
//! disk and not asked of the head. `PCLUSTER_KNIFE=all` cuts at every call; without it at so many
//! of each kind as a test has time for, spread from the first to the last.
mod commands;
mod head;
mod nodes;

use pcluster_tests::knife::{Aim, Call, Cut, Knife, Program};
use pcluster_tests::{Cluster, procs, skip, within};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Longer than what was ended needs to go.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// What came of the kills of a program at calls of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    calls: u32,
    kills: u32,
    /// Accepted and not run, or with another end than its own.
    lost: u32,
    /// An attempt that began twice, or two at once.
    doubled: u32,
    /// Processes, control groups, scratch directories, machines that are billed on.
    leaked: u32,
}

/// The rows of one test, as they stand in `docs/reliability.md`.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<(String, Row)>,
}

impl Table {
    /// Nothing of a call that the program does not make.
    fn add(&mut self, program: &str, call: Call, row: Row) {
        if row == Row::default() {
            return;
        }
        println!(
            "| {program} | {} | {} | {} | {} | {} | {} |",
            call.words(),
            row.calls,
            row.kills,
            row.lost,
            row.doubled,
            row.leaked
        );
        self.rows.push((format!("{program}: {}", call.words()), row));
    }

    /// Everything is as promised, and the knife was sharp.
    #[track_caller]
    fn check(&self, kills: u32) {
        let wrong = |row: &Row| (row.lost, row.doubled, row.leaked) != (0, 0, 0);
        let bad: Vec<_> = self.rows.iter().filter(|(_, row)| wrong(row)).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let all: u32 = self.rows.iter().map(|(_, row)| row.kills).sum();
        assert!(all >= kills, "a blunt knife: {all} kills: {:#?}", self.rows);
    }
}

/// Whether somebody may be traced here; said so where not.
fn may_cut() -> bool {
    let may = Knife::cuts_here();
    if !may {
        skip("the knife: nobody may be traced here");
    }
    may
}

/// At which of so many calls to cut: all of them, or as many as are asked for, the first and the
/// last among them.
fn picks(calls: u32, most: u32) -> BTreeSet<u32> {
    let all = std::env::var_os("PCLUSTER_KNIFE").is_some_and(|value| value == "all");
    if all || calls <= most {
        return (1..=calls).collect();
    }
    (0..most).map(|at| 1 + at * (calls - 1) / (most - 1).max(1)).collect()
}

/// A head under a knife, just started.
fn head_under(cluster: &Cluster, aim: Option<Aim>) -> Knife {
    let mut command = Command::new(cluster.bin().join("pcluster-headnode"));
    cluster.dress(&mut command);
    command.arg("--config").arg(cluster.work().join("cluster.toml"));
    let out = cluster.root().join("said/head-under-the-knife");
    Knife::start(command, &out, aim).expect("a head can be started under the knife")
}

/// Cuts a program at calls of every kind that it makes, `most` of each. `once` does it and everything
/// after it, and counts what came of it.
fn cut_all(
    name: &str,
    program: Program,
    most: u32,
    table: &mut Table,
    mut once: impl FnMut(&str, Aim, &mut Row) -> Cut,
) {
    let word = name.rsplit(' ').next().unwrap_or(name);
    let mut whole = Row::default();
    let made = once(&format!("{word}-whole"), Aim::counting(program), &mut whole);
    assert!(whole == Row::default() && made.victim.is_some(), "without a kill: {whole:?} {made:?}");
    for call in Call::ALL {
        let mut row = Row { calls: made.calls(call), ..Row::default() };
        for nth in picks(row.calls, most) {
            let label = format!("{word}-{call:?}-{nth}");
            row.kills += u32::from(once(&label, Aim { program, call, nth }, &mut row).killed);
        }
        table.add(name, call, row);
    }
}

/// What is left although no node is, beside the head.
fn leaked(cluster: &Cluster, head: i32) -> u32 {
    let found = || {
        let mut found: Vec<String> = cluster
            .processes()
            .into_iter()
            .filter(|process| process.pid != head)
            .map(|process| format!("{process:?}"))
            .collect();
        let traces = cluster.ids().into_iter().flat_map(|id| procs::traces_of(&id));
        found.extend(traces.map(|trace| trace.display().to_string()));
        let instances = cluster.instances().into_iter();
        let unended = instances.filter(|folder| !folder.join("ended.json").exists());
        found.extend(unended.map(|folder| folder.display().to_string()));
        found
    };
    if within(GONE_WITHIN, || found().is_empty().then_some(())).is_some() {
        return 0;
    }
    let left = found();
    println!("left: {left:#?}");
    u32::try_from(left.len()).unwrap_or(u32::MAX)
}

/// Waits until the victim is dead, if it was cut at all.
fn settle(cut: &Cut) {
    if let (true, Some(victim)) = (cut.killed, cut.victim) {
        pcluster_tests::until("the victim's end", || (!procs::is_alive(victim)).then_some(()));
    }
}
