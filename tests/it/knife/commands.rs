//! The commands under the knife: a submission that is killed before its answer is one job or none,
//! and asked for again with its key it is one.
use super::{Row, Table, cut_all, leaked, may_cut};
use pcluster_tests::clients::Face;
use pcluster_tests::knife::{Aim, Cut, Knife, Program};
use pcluster_tests::{Cluster, Setup, meter, procs, until};
use rustix::process::Signal;
use std::fs;
use std::process::Command;

/// How often each kind is tried.
const MOST: u32 = 10;

/// Runs a command under the knife to its end; its code.
fn ended(cluster: &Cluster, command: Command, aim: Aim) -> (Cut, i32) {
    let out = cluster.root().join("said/under-the-knife");
    let knife = Knife::start(command, &out, Some(aim)).expect("a command can be traced");
    let code = until("the end of the command", || knife.ended());
    (knife.cut(), code)
}

/// Jobs of this name that the head knows, ended ones too.
fn jobs(cluster: &Cluster, name: &str) -> Vec<String> {
    let list = cluster.json(&["queue", "-t", "all"]);
    let rows = list["jobs"].as_array().cloned().unwrap_or_default();
    let named = rows.iter().filter(|row| row["name"] == name);
    named.map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What a job of this label must have left: one start, of one job.
fn count(cluster: &Cluster, label: &str, row: &mut Row) {
    let starts = cluster.file(&format!("starts-{label}")).lines().count();
    row.lost += u32::from(starts == 0);
    row.doubled += u32::from(starts > 1 || jobs(cluster, label).len() > 1);
}

#[test]
fn a_submission_killed_at_any_call_is_one_job_when_it_is_asked_for_again() {
    if !may_cut() {
        return;
    }
    let face = Face::with("cli-cut", Setup::compute("cpus = 2, memory = \"1 GB\", max = 1"));
    let cluster = face.cluster();
    let mut table = Table::default();
    cut_all("pcluster submit", Program::Command, MOST, &mut table, |label, aim, row| {
        cluster.script("job.sh", &format!("echo start >>starts-{label}; exit 3"));
        let words = ["submit", "--key", label, "-J", label, "--parsable", "job.sh"];
        let (cut, code) = ended(cluster, cluster.command(&words), aim);
        let told = jobs(cluster, label);
        // What was answered is there before anybody asks again.
        row.lost += u32::from(code == 0 && told.is_empty());
        let id = cluster.ok(&words).id();
        row.lost += u32::from(cluster.wait(&id) != 3 || told.first().is_some_and(|one| *one != id));
        count(cluster, label, row);
        cut
    });
    cut_all("pcluster run", Program::Command, MOST, &mut table, |label, aim, row| {
        let text = format!("echo start >>starts-{label}; echo one; echo two; exit 3");
        let words = ["run", "-q", "--key", label, "-J", label, "--", "sh", "-c", &text];
        let (cut, _) = ended(cluster, cluster.command(&words), aim);
        // The job of a killed `run` goes on as one that was submitted; asked for again, it is shown.
        let again = cluster.run(&words);
        row.lost += u32::from((again.code, again.out.as_str()) != (3, "one\ntwo\n"));
        count(cluster, label, row);
        row.leaked += u32::try_from(hidden(cluster)).unwrap_or(u32::MAX);
        cut
    });
    cut_all("sbatch", Program::Command, MOST, &mut table, |label, aim, row| {
        cluster.script("job.sh", &format!("echo start >>starts-{label}; exit 3"));
        let mut command = face.command(&face.names().join("sbatch"), None, &cluster.work());
        command.args(["-J", label, "job.sh"]);
        let (cut, code) = ended(cluster, command, aim);
        // Slurm has no key: whoever is not answered looks, and finds one job or none.
        match jobs(cluster, label).as_slice() {
            [] => row.lost += u32::from(code == 0),
            [id, ..] => {
                row.lost += u32::from(cluster.wait(id) != 3);
                count(cluster, label, row);
            }
        }
        cut
    });
    table.check(20);
    cluster.until_no_nodes();
    assert_eq!(leaked(cluster, cluster.head_pid()), 0);
    meter::check(cluster);
    cluster.down(&[]);
}

#[test]
fn a_head_is_started_once_however_often_the_command_that_starts_it_is_killed() {
    if !may_cut() {
        return;
    }
    let cluster = Cluster::cold("up-cut", Setup::default());
    let mut table = Table::default();
    cut_all("pcluster up", Program::Command, MOST, &mut table, |_, aim, row| {
        let (cut, _) = ended(&cluster, cluster.command(&["up"]), aim);
        cluster.up();
        row.lost += u32::from(cluster.heads() == 0);
        row.doubled += u32::from(cluster.heads() > 1);
        procs::end(cluster.head_pid(), Signal::TERM);
        row.leaked += u32::try_from(cluster.heads()).unwrap_or(u32::MAX);
        cut
    });
    table.check(3);
    cluster.up();
    cluster.down(&[]);
}

/// Files that `run` keeps its stream in.
fn hidden(cluster: &Cluster) -> usize {
    let entries = fs::read_dir(cluster.work()).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".pcluster-run-"))
        .count()
}
