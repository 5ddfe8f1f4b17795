//! The head under the knife, while it starts, takes a submission, launches a node, runs a job there
//! and ends the node.
use super::{Row, Table, cut_all, head_under, leaked, may_cut, settle};
use pcluster_tests::knife::{Aim, Cut, Knife, Program};
use pcluster_tests::said::Started;
use pcluster_tests::{Cluster, PATIENCE, Setup, meter, procs, until, within};
use rustix::process::Signal;
use std::os::unix::net::UnixStream;

/// How often each kind is tried.
const MOST: u32 = 7;

/// Nodes that go as soon as their job has ended, so that a scenario ends at zero too.
const COMPUTE: &str = "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"0\"";

/// Until the head is dead, or has done all that there is to do: the answer is here, the job has ended
/// and its node is gone. False when neither comes.
fn lived(cluster: &Cluster, knife: &Knife, submit: &Started) -> bool {
    let busy = ["\"booting\"", "\"ready\"", "\"draining\"", "\"stopping\"", "\"wanted\""];
    let done = within(PATIENCE, || {
        if knife.ended().is_some() {
            return Some(());
        }
        let said = submit.out();
        let id = said.strip_suffix('\n')?;
        let ended = cluster.run(&["wait", id, "--timeout", "50ms"]).code == 3;
        let nodes = cluster.run(&["nodes", "--json"]);
        let none = nodes.code == 0 && !busy.iter().any(|word| nodes.out.contains(word));
        (ended && none).then_some(())
    });
    done.is_some()
}

/// One cut: a job is submitted with a key of its own and writes down each of its starts. Who submits
/// waits over the death of the head.
fn cut(cluster: &Cluster, label: &str, aim: Aim, row: &mut Row) -> Cut {
    cluster.script("job.sh", &format!("echo start >>starts-{label}; exit 3"));
    let submit = ["submit", "--key", label, "-t", "5", "--parsable", "job.sh"];
    let knife = head_under(cluster, Some(aim));
    let socket = cluster.socket();
    let listens = || UnixStream::connect(&socket).is_ok() || knife.ended().is_some();
    until("a head that listens, or is dead", || listens().then_some(()));
    let first = cluster.start(&mut cluster.command(&submit));
    let done = lived(cluster, &knife, &first);
    let (cut, pid) = (knife.cut(), knife.pid());
    drop(knife);
    settle(&cut);
    procs::end(pid, Signal::KILL);
    cluster.up();
    // Accepted before or not: with its key it is one job.
    let id = cluster.ok(&submit).id();
    let first = first.ended(PATIENCE);
    let same = first.code != 0 || first.id() == id;
    let code = cluster.wait(&id);
    cluster.until_no_nodes();
    let starts = cluster.file(&format!("starts-{label}")).lines().count();
    row.lost += u32::from(code != 3 || starts == 0 || !same || !done);
    row.doubled += u32::from(starts > 1);
    row.leaked += leaked(cluster, cluster.head_pid());
    procs::end(cluster.head_pid(), Signal::TERM);
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
    procs::end(cluster.head_pid(), Signal::TERM);
    cut_all("head", Program::Head, MOST, &mut table, |label, aim, row| {
        cut(&cluster, label, aim, row)
    });
    table.check(15);
    cluster.up();
    meter::check(&cluster);
    cluster.verify();
    cluster.down(&[]);
}
