//! Many tasks under many kills: nothing is lost, and nothing runs twice.
mod random;

use pcluster_tests::{Cluster, PATIENCE, Setup, procs, scripts};
use rustix::process::Signal;

const TASKS: usize = 60;

#[test]
fn an_array_is_done_once_each_although_head_and_agents_are_killed_again_and_again() {
    let cluster = Cluster::with("storm", Setup::compute("cpus = 4, memory = \"2 GB\", max = 2"));
    let array = format!("1-{TASKS}");
    let text = "echo \"$SLURM_ARRAY_TASK_ID $PCLUSTER_ATTEMPT\" >>starts; sleep 0.2; echo >>ends; exit $((SLURM_ARRAY_TASK_ID % 3))";
    let id = cluster.submit(&["--array", &array, "--mem", "50M"], text);
    for (round, starts) in [5, 20, 35, 50].into_iter().enumerate() {
        cluster.until_lines("starts", starts);
        if round % 2 == 0 {
            cluster.kill_head();
            cluster.up();
        } else {
            procs::signal(cluster.node_process("agent.json"), Signal::KILL);
        }
    }
    assert_eq!(cluster.wait(&id), 2, "the highest code");
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    starts.sort_by_key(|line| line.split(' ').next().and_then(|task| task.parse::<usize>().ok()));
    let once: Vec<String> = (1..=TASKS).map(|task| format!("{task} 1")).collect();
    assert_eq!(starts, once);
    let rows = cluster.tasks(&id);
    let mut wrong = rows.iter().filter(|row| {
        let code = row["task"].as_u64().map(|task| task % 3);
        row["state"] != "finished" || row["outcome"]["exit_code"].as_u64() != code
    });
    assert!(wrong.next().is_none(), "{rows:#?}");
    assert_eq!(rows.len(), TASKS, "{rows:#?}");
    cluster.until_no_nodes();
    cluster.down(&[]);
}

#[test]
fn tasks_on_machines_that_are_killed_run_again_and_never_twice_at_once() {
    let cluster = Cluster::with("wreck", Setup::compute("cpus = 3, memory = \"2 GB\", max = 2"));
    let alone = scripts::alone("lock-$SLURM_ARRAY_TASK_ID");
    let text = format!(
        "{alone}; echo \"$SLURM_ARRAY_TASK_ID $PCLUSTER_ATTEMPT\" >>starts; sleep 1; exit 0"
    );
    let id = cluster.submit(&["--array", "1-24", "--mem", "50M"], &text);
    for (round, starts) in [4, 12, 20].into_iter().enumerate() {
        cluster.until_lines("starts", starts);
        procs::signal(cluster.node_process("machine.json"), Signal::KILL);
        if round == 1 {
            cluster.kill_head();
            cluster.up();
        }
    }
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.file("twice"), "");
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    let all = starts.len();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), all, "an attempt starts once: {starts:#?}");
    let rows = cluster.tasks(&id);
    assert!(rows.iter().all(|row| row["outcome"]["word"] == "completed"), "{rows:#?}");
    assert!(all > 24, "some ran again");
    cluster.until_no_nodes();
    cluster.down(&[]);
}

#[test]
fn two_at_once_of_everything_is_one_of_it() {
    let cluster = Cluster::cold("at-once", Setup::default());
    let ups: Vec<_> = (0..3).map(|_| cluster.start(&mut cluster.command(&["up"]))).collect();
    for up in ups {
        up.ended(PATIENCE).expect_code(0);
    }
    assert_eq!(cluster.heads(), 1, "{:#?}", cluster.processes());
    cluster.script("job.sh", "echo ran >>ran");
    let words = ["submit", "--parsable", "--key", "the-same", "job.sh"];
    let submits: Vec<_> = (0..4).map(|_| cluster.start(&mut cluster.command(&words))).collect();
    let ids: Vec<String> =
        submits.into_iter().map(|one| one.ended(PATIENCE).expect_code(0).id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(cluster.wait(&ids[0]), 0);
    assert_eq!(cluster.file("ran"), "ran\n");
    cluster.down(&[]);
}
