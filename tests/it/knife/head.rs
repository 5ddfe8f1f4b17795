//! The head under the knife, while it starts, takes a submission, launches a node, runs a job there
//! and ends the node.
use super::{Row, Table, counting, end_head, head_under, leaked, may_cut, picks, settle};
use pcluster_tests::knife::{Aim, Call, Cut, Program};
use pcluster_tests::{Cluster, PATIENCE, Setup, meter, within};
use rustix::process::Signal;

/// How often each kind is tried.
const MOST: u32 = 9;

/// Nodes that go as soon as their job has ended, so that a scenario ends at zero too.
const COMPUTE: &str = "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"0\"";

/// One cut: a job is submitted with a key of its own, again and again until somebody has taken it;
/// it writes down each of its starts.
fn cut(cluster: &Cluster, label: &str, aim: Aim, row: &mut Row) -> Cut {
    cluster.script("job.sh", &format!("echo start >>starts-{label}; exit 3"));
    let submit = ["submit", "--key", label, "-t", "5", "--parsable", "job.sh"];
    let knife = head_under(cluster, Some(aim));
    let mut taken = None;
    // Until the head is dead, or has done all that there is to do.
    let done = within(PATIENCE, || {
        if knife.ended().is_some() {
            return Some(());
        }
        match &taken {
            None => taken = Some(cluster.run(&submit)).filter(|said| said.code == 0),
            Some(said) => {
                let shown = cluster.run(&["wait", &said.id(), "--timeout", "50ms"]);
                let nodes = cluster.run(&["nodes", "--json"]);
                let busy =
                    ["\"booting\"", "\"ready\"", "\"draining\"", "\"stopping\"", "\"wanted\""];
                let none = nodes.code == 0 && !busy.iter().any(|word| nodes.out.contains(word));
                return (shown.code == 3 && none).then_some(());
            }
        }
        None
    });
    let (cut, pid) = (knife.cut(), knife.pid());
    drop(knife);
    settle(&cut);
    end_head(pid, Signal::KILL);
    cluster.up();
    // Accepted before or not: with its key it is one job.
    let id = cluster.ok(&submit).id();
    let same = taken.is_none_or(|said| said.id() == id);
    let code = cluster.wait(&id);
    cluster.until_no_nodes();
    let starts = cluster.file(&format!("starts-{label}")).lines().count();
    row.kills += u32::from(cut.killed);
    row.lost += u32::from(code != 3 || starts == 0 || !same || done.is_none());
    row.doubled += u32::from(starts > 1);
    row.leaked += leaked(cluster, cluster.head_pid());
    end_head(cluster.head_pid(), Signal::TERM);
    cut
}

#[test]
fn a_head_killed_at_any_call_loses_nothing_and_doubles_nothing() {
    if !may_cut() {
        return;
    }
    let cluster = Cluster::cold("head-cut", Setup::compute(COMPUTE));
    let mut table = Table::default();
    // Files that are made once are there in every scenario.
    cluster.up();
    end_head(cluster.head_pid(), Signal::TERM);
    let mut whole = Row::default();
    let made = cut(&cluster, "whole", counting(Program::Head), &mut whole);
    assert_eq!(whole, Row::default(), "without a kill");
    for call in Call::ALL {
        let mut row = Row { calls: made.calls(call), ..Row::default() };
        for nth in picks(row.calls, MOST) {
            let aim = Aim { program: Program::Head, call, nth };
            cut(&cluster, &format!("{call:?}-{nth}"), aim, &mut row);
        }
        table.add("head", call, row);
    }
    table.check(15);
    cluster.up();
    meter::check(&cluster);
    assert_eq!(cluster.json(&["admin", "verify"])["wrong"], serde_json::json!([]));
    cluster.down(&[]);
}
