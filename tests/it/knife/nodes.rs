//! Agent, keeper and step daemon under the knife, each alone, while the head goes on.
use super::{Row, Table, cut_all, head_under, leaked, may_cut, settle};
use pcluster_tests::clients::Face;
use pcluster_tests::knife::{Aim, Cut, Knife, Program};
use pcluster_tests::{Cluster, Setup, meter, procs, until};
use rustix::process::Signal;

/// How often each kind is tried.
const MOST: u32 = 5;

/// Nodes that go as soon as their job has ended: each job has a node of its own.
const COMPUTE: &str = "cpus = 1, memory = \"512 MB\", max = 1, idle_timeout = \"0\"";

/// One job with everything that must be seen of it.
#[derive(Debug)]
struct Seen {
    cut: Cut,
    code: i32,
    word: String,
    attempts: Vec<String>,
    twice: bool,
    leaked: u32,
}

/// A job that says each of its starts, and holds a lock with every process that it leaves behind.
fn job(label: &str, last: &str) -> String {
    format!(
        "exec 9>>lock-{label}; flock -n 9 || echo twice >>twice-{label}\n\
         echo $PCLUSTER_ATTEMPT >>starts-{label}\n\
         setsid sleep 1000 &\n{last}"
    )
}

/// From zero nodes to zero, one job, with the knife aimed.
fn scenario(cluster: &Cluster, knife: &Knife, label: &str, aim: Aim, last: &str) -> Seen {
    knife.aim(aim);
    let id = cluster.submit(&[], &job(label, last));
    let code = cluster.wait(&id);
    cluster.until_no_nodes();
    let cut = knife.cut();
    settle(&cut);
    Seen {
        cut,
        code,
        word: cluster.outcome_of(&id),
        attempts: cluster.file(&format!("starts-{label}")).lines().map(str::to_owned).collect(),
        twice: !cluster.file(&format!("twice-{label}")).is_empty(),
        leaked: leaked(cluster, knife.pid()),
    }
}

impl Row {
    /// Counts a scenario; `right` is whether the job ended as is promised.
    fn count(&mut self, seen: &Seen, right: bool) {
        self.lost += u32::from(!right || seen.attempts.is_empty());
        let mut once = seen.attempts.clone();
        once.dedup();
        self.doubled += u32::from(seen.twice || once != seen.attempts);
        self.leaked += seen.leaked;
        if !right {
            println!("code {} ({}), attempts {:?}", seen.code, seen.word, seen.attempts);
        }
    }
}

/// The head goes politely, with nothing left and the bill equal to the meter.
fn end(cluster: &Cluster, knife: Knife) {
    meter::check(cluster);
    let head = knife.pid();
    drop(knife);
    procs::end(head, Signal::TERM);
    cluster.up();
    cluster.verify();
    cluster.down(&[]);
}

/// A cluster with its head under the knife.
fn ready(cluster: &Cluster) -> Knife {
    let knife = head_under(cluster, None);
    until("the head's answer", || (cluster.run(&["status"]).code == 0).then_some(()));
    knife
}

/// Cuts a program at its calls while the head goes on, each time with a job that ends with 3 as is
/// `right` for it.
fn one_job_each(name: &str, program: Program, kills: u32, right: fn(&Seen) -> bool) {
    if !may_cut() {
        return;
    }
    let cluster = Cluster::cold(&format!("{name}-cut"), Setup::compute(COMPUTE));
    let knife = ready(&cluster);
    let mut table = Table::default();
    cut_all(name, program, MOST, &mut table, |label, aim, row| {
        let seen = scenario(&cluster, &knife, label, aim, "exit 3");
        row.count(&seen, seen.code == 3 && right(&seen));
        seen.cut
    });
    table.check(kills);
    end(&cluster, knife);
}

/// It was lost at most once: what counts is the first attempt, or the second.
fn at_most_again(seen: &Seen) -> bool {
    let newest = ["1", "2"].contains(&seen.attempts.last().map_or("", String::as_str));
    newest && seen.attempts.len() <= 2
}

#[test]
fn an_agent_killed_at_any_call_loses_nothing_and_doubles_nothing() {
    one_job_each("agent", Program::Agent, 12, |seen| seen.attempts == ["1"]);
}

/// A lost keeper takes its run along: what is left of it is ended first, then it goes back to the
/// queue. Only the newest attempt counts.
#[test]
fn a_keeper_killed_at_any_call_ends_its_attempt_and_the_next_one_alone_goes_on() {
    one_job_each("keeper", Program::Keeper, 6, at_most_again);
}

/// The end of a machine is the end of its node: what ran there runs again elsewhere.
#[test]
fn a_machine_killed_at_any_call_leaves_nothing_behind_and_its_job_runs_elsewhere() {
    one_job_each("machine", Program::Machine, 3, at_most_again);
}

/// A step has no second attempt: its `srun` says that it is gone, and the job goes on.
#[test]
fn a_step_daemon_killed_at_any_call_ends_its_step_and_not_its_job() {
    if !may_cut() {
        return;
    }
    let face = Face::with("stepd-cut", Setup::compute(COMPUTE));
    let cluster = face.cluster();
    procs::end(cluster.head_pid(), Signal::TERM);
    let knife = ready(cluster);
    let mut table = Table::default();
    let step = "echo step >>$0";
    let path = format!("PATH={}:$PATH", face.names().display());
    cut_all("step daemon", Program::StepDaemon, MOST, &mut table, |label, aim, row| {
        let file = format!("steps-{label}");
        let last = format!(
            "{path}\nsrun sh -c '{step}' {file}; echo $? >>codes-{label}; srun true; echo $? >>next-{label}; exit 3"
        );
        let seen = scenario(cluster, &knife, label, aim, &last);
        let (steps, code) = (cluster.file(&file), cluster.file(&format!("codes-{label}")));
        let told = if code == "0\n" { steps == "step\n" } else { steps.len() <= "step\n".len() };
        let next = cluster.file(&format!("next-{label}"));
        // One of the two may have gone with the daemon, and the other has another daemon.
        let told = told && (code == "0\n" || next == "0\n") && !code.is_empty() && !next.is_empty();
        let right = seen.code == 3 && seen.attempts == ["1"] && told;
        if !right {
            println!("step {steps:?}, srun {code:?}, the next {next:?}");
        }
        row.count(&seen, right);
        seen.cut
    });
    table.check(6);
    end(cluster, knife);
}
