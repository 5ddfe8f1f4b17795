//! What tasks use, while they run and at the end.
use crate::fake::{Client, Node, PATIENCE};
use crate::run::order;
use pcluster_steps::message::{EVERY_TASK, PartUsage};
use std::process::{Command, Stdio};
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// More than a shell takes, and less than the step daemon does.
const SMALL: u64 = 5 * MIB;

/// The usage of a step once it is as wanted.
async fn until(node: &Node, step: Option<u32>, wanted: impl Fn(&PartUsage) -> bool) -> PartUsage {
    let started = Instant::now();
    loop {
        let usage = node.usage(step).await;
        if wanted(&usage) {
            return usage;
        }
        assert!(started.elapsed() < PATIENCE, "{usage:?}");
    }
}

/// A number of the report to the head.
fn told(node: &Node, name: &str) -> u64 {
    let ends = node.ends.lock().expect("nobody panicked with it");
    let wanted = format!("\"{name}\":");
    let found = ends.first().and_then(|line| line.split_once(&wanted));
    let (_, found) = found.unwrap_or_else(|| panic!("no {name} in {ends:?}"));
    let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("digits")
}

#[tokio::test]
async fn a_small_task_is_as_small_as_it_is() {
    let node = Node::start();
    let mut client = Client::launch(order(0, &["sleep 1000 & read x; kill $!", "read x"]));
    let stream = node.attach().await;
    let seen = {
        let listens = client.hear(stream, |heard| heard.done);
        tokio::pin!(listens);
        // Two processes take more than one, once both are their programs.
        let both = |usage: &PartUsage| {
            (usage.tasks, usage.pids.len(), usage.max_rss_bytes.task) == (2, 3, 0)
        };
        tokio::select! {
            seen = until(&node, Some(0), both) => seen,
            () = &mut listens => panic!("the tasks wait for input"),
        }
    };
    assert!(seen.rss_bytes > 0 && seen.vm_bytes > seen.rss_bytes, "{seen:?}");
    client.input(EVERY_TASK, b"go\n");
    client.hear(node.attach().await, |heard| heard.done).await;
    let rss = told(&node, "max_rss_bytes");
    assert!(rss > 0 && rss < SMALL, "{rss}");
    assert!(rss >= seen.max_rss_bytes.amount, "{rss}: {seen:?}");
    assert_eq!(told(&node, "max_rss_task"), 0);
    assert!(told(&node, "vm_bytes") > 0);
}

#[tokio::test]
async fn a_large_task_is_as_large_as_it_is_however_short() {
    let node = Node::start();
    // It holds all of it before it writes.
    let script = "head -c 50331648 /dev/zero | tail -c 50331648 | wc -c";
    let mut client = Client::launch(order(0, &[script]));
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.output[&0].trim(), "50331648");
    let rss = told(&node, "max_rss_bytes");
    assert!(rss > 48 * MIB && rss < 80 * MIB, "{rss}");
}

#[tokio::test]
async fn a_step_that_takes_more_than_it_may_is_ended_and_says_so() {
    let node = Node::start();
    // It leaves the group of its task, and its task waits for it.
    let hog = "setsid sh -c 'head -c 67108864 /dev/zero | tail -c 67108864 | { sleep 1000; cat; }'";
    let mut limited = order(0, &[hog, "read x"]);
    limited.memory_bytes = Some(32 * MIB);
    let mut client = Client::launch(limited);
    client.hear(node.attach().await, |heard| heard.done).await;
    let exits = &client.heard.exits;
    assert!(exits.len() == 2 && exits.values().all(|exit| exit.out_of_memory), "{exits:?}");
    let said = client.heard.notices.join("\n");
    assert!(said.contains("Detected 1 oom_kill event in StepId=1.0."), "{said}");
    let ends = node.ends.lock().expect("nobody panicked with it").clone();
    assert!(ends[0].contains("\"out_of_memory\":true"), "{ends:?}");
}

#[tokio::test]
async fn a_step_below_its_limit_is_left_alone() {
    let node = Node::start();
    let mut limited = order(0, &["echo up; read x", "read x; exit 3"]);
    limited.memory_bytes = Some(64 * MIB);
    let mut client = Client::launch(limited);
    client.hear(node.attach().await, |heard| !heard.output.is_empty()).await;
    until(&node, Some(0), |usage| usage.tasks == 2).await;
    client.input(EVERY_TASK, b"go\n");
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!((client.heard.exits[&0].code, client.heard.exits[&1].code), (0, 3));
    assert!(client.heard.notices.is_empty(), "{:?}", client.heard.notices);
}

#[tokio::test]
async fn what_runs_beside_the_daemon_is_the_script() {
    let node = Node::start();
    let mut script =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut client = Client::launch(order(0, &["echo up; read x"]));
    client.hear(node.attach().await, |heard| !heard.output.is_empty()).await;
    let of_step = until(&node, Some(0), |usage| !usage.pids.is_empty()).await;
    let pid = script.id();
    let seen = until(&node, None, |usage| usage.pids.contains(&pid)).await;
    assert!(seen.tasks == 1 && seen.max_rss_bytes.amount >= MIB / 2, "{seen:?}");
    assert!(!seen.pids.contains(&node.daemon_pid()), "{seen:?}");
    assert!(!seen.pids.iter().any(|pid| of_step.pids.contains(pid)), "{seen:?}: {of_step:?}");
    drop(script.stdin.take());
    script.wait().unwrap();
}
