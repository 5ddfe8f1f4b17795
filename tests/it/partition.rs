//! Nodes that are cut off from their head, for all the times that the head tells apart.
use pcluster_tests::net::Network;
use pcluster_tests::{Cluster, Setup, meter, scripts, until};
use std::time::Duration;

/// Shorter than `silent_after`: nothing to wait for, the pause itself is what is tested.
const BLINK: Duration = Duration::from_millis(700);

fn timers(network: &Network, max: u32, lost_grace: &str) -> Setup {
    network.setup(Setup {
        compute: format!(
            "cpus = 1, memory = \"512 MB\", max = {max}, lost_grace = \"{lost_grace}\""
        ),
        head: "heartbeat = \"200 ms\"\nsilent_after = \"2 s\"\n".to_owned(),
        ..Setup::default()
    })
}

/// An array of `tasks` that run until their gates open, one on each node: the task and the number of
/// its node.
fn on_all_nodes(cluster: &Cluster, tasks: u32) -> (String, Vec<(u32, u32)>) {
    let (alone, gate) = (scripts::alone("lock-$task"), scripts::gate("go-$task"));
    let text = format!(
        "task=$SLURM_ARRAY_TASK_ID\n{alone}\n\
         echo \"$task ${{PCLUSTER_NODE##*-}} $PCLUSTER_ATTEMPT\" >>starts\n\
         {gate}; echo $task >>ends; exit $task"
    );
    let array = format!("1-{tasks}");
    let id = cluster.submit(&["--array", &array], &text);
    cluster.until_lines("starts", tasks as usize);
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap();
    let starts = cluster.file("starts");
    let places = starts.lines().map(|line| {
        let mut words = line.split(' ');
        (number(words.next()), number(words.next()))
    });
    (id, places.collect())
}

fn states(cluster: &Cluster, wanted: &str) -> usize {
    cluster.live_nodes().iter().filter(|node| node["state"] == wanted).count()
}

fn until_states(cluster: &Cluster, wanted: &str, count: usize) {
    let what = format!("{count} nodes {wanted}");
    until(&what, || (states(cluster, wanted) == count).then_some(()));
}

fn lost_events(cluster: &Cluster) -> usize {
    cluster.log().matches("\"kind\":\"node_lost\"").count()
}

#[test]
fn cuts_that_end_in_time_cost_nothing_whatever_they_cut() {
    let Some(network) = Network::new("compute") else { return };
    let cluster = Cluster::with("cuts", timers(&network, 3, "30 s"));
    let (id, places) = on_all_nodes(&cluster, 3);
    let (first, second) = (places[0], places[1]);

    // Shorter than the head's patience: nobody notices.
    network.cable(first.1, false);
    std::thread::sleep(BLINK);
    network.cable(first.1, true);
    assert_eq!((states(&cluster, "busy"), lost_events(&cluster)), (3, 0));

    // Longer than that, shorter than the grace: it is called lost, and is back.
    network.cable(first.1, false);
    until_states(&cluster, "lost", 1);
    network.cable(first.1, true);
    until_states(&cluster, "busy", 3);

    // One direction only: what the node says.
    network.mute_node(first.1);
    until_states(&cluster, "lost", 1);
    network.unmute_node(first.1);
    until_states(&cluster, "busy", 3);

    // The other one: a cancel that the node does not hear waits for it.
    network.deafen_node(second.1);
    cluster.ok(&["cancel", &format!("{id}_{}", second.0)]);
    until_states(&cluster, "lost", 1);
    assert_eq!(cluster.file("ends"), "");
    network.undeafen_node(second.1);
    until_states(&cluster, "lost", 0);
    let ended = || {
        let rows = cluster.tasks(&id);
        let row = rows.into_iter().find(|row| row["task"] == second.0)?;
        (row["state"] == "finished").then(|| row["outcome"]["word"].clone())
    };
    assert_eq!(until("the end of the cancelled task", ended), "cancelled");

    // All at once: the head suspects itself, and all come back together.
    network.all_cables(false);
    until("silence", || (states(&cluster, "busy") == 0).then_some(()));
    network.all_cables(true);
    until_states(&cluster, "busy", 2);
    let lost = lost_events(&cluster);
    assert!(lost >= 5, "{lost} nodes were called lost");

    for task in 1..=3 {
        cluster.touch(&format!("go-{task}"));
    }
    cluster.wait(&id);
    assert_eq!(cluster.file("starts").lines().count(), 3, "{}", cluster.file("starts"));
    assert_eq!((cluster.file("ends").lines().count(), cluster.file("twice")), (2, String::new()));
    assert_eq!(cluster.log().matches("\"kind\":\"run_ended\"").count(), 0);
    meter::ends_even(&cluster);
}

#[test]
fn a_node_cut_off_for_too_long_is_ended_before_its_job_runs_again() {
    let Some(network) = Network::new("compute") else { return };
    let cluster = Cluster::with("cut-off", timers(&network, 2, "3 s"));
    let (id, places) = on_all_nodes(&cluster, 2);
    let (task, node) = places[0];
    network.cable(node, false);
    // The gate of the other one: it must not feel anything of it.
    cluster.touch(&format!("go-{}", places[1].0));
    cluster.until_lines("starts", 3);
    let again = cluster.file("starts").lines().last().unwrap_or_default().to_owned();
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!((words[0], words[2]), (task.to_string().as_str(), "2"), "{again}");
    assert_ne!(words[1], node.to_string(), "{again}");
    cluster.touch(&format!("go-{task}"));
    assert_eq!(cluster.wait(&id), 2, "the highest code");
    assert_eq!((cluster.file("ends").lines().count(), cluster.file("twice")), (2, String::new()));
    assert_eq!(lost_events(&cluster), 1);
    meter::ends_even(&cluster);
}
