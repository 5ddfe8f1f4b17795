//! The daemon holds against what users do to it: files that wait, and starts that fail.
use crate::fake::{Client, Node};
use crate::run::order;
use pcluster_steps::message::{Bind, Input, Output, ToNode};
use std::process::Command;

fn fifo(node: &Node, name: &str) -> String {
    let path = node.folder.join(name).display().to_string();
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is everywhere");
    assert!(made.success());
    path
}

#[tokio::test]
async fn a_named_pipe_holds_up_its_task_and_nobody_else() {
    let node = Node::start();
    let (from, to) = (fifo(&node, "from"), fifo(&node, "to"));
    let mut waits = order(0, &["cat; echo bad >&2"]);
    waits.tasks[0].input = Input::File(from.clone());
    waits.tasks[0].output = Output::File { path: to.clone(), append: false };
    waits.tasks[0].error = Output::WithOutput;
    let mut waiting = Client::launch(waits);
    let stream = node.attach().await;
    let mut other = Client::launch(order(1, &["echo done"]));
    other.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(other.heard.output[&0], "done\n");
    let reads = tokio::task::spawn_blocking(move || std::fs::read_to_string(to).unwrap());
    let writes = tokio::task::spawn_blocking(move || std::fs::write(from, "word\n").unwrap());
    waiting.hear(stream, |heard| heard.done).await;
    writes.await.unwrap();
    assert_eq!(reads.await.unwrap(), "word\nbad\n");
}

#[tokio::test]
async fn a_task_that_waits_for_a_named_pipe_ends_with_its_step() {
    let node = Node::start();
    let mut waits = order(0, &["cat"]);
    waits.tasks[0].input = Input::File(fifo(&node, "never"));
    let mut client = Client::launch(waits);
    client.tell(ToNode::End { grace_ms: 60_000 });
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.exits[&0].signal, 15);
}

#[tokio::test]
async fn the_daemon_takes_more_open_files_than_it_gives() {
    let node = Node::start();
    let mut limits = order(0, &["ulimit -Sn"]);
    let mut client = Client::launch(limits.clone());
    client.hear(node.attach().await, |heard| heard.done).await;
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let given = own.current.map_or("unlimited".to_owned(), |files| files.to_string());
    assert_eq!(client.heard.output[&0].trim(), given);
    let status = std::fs::read_to_string(format!("/proc/{}/limits", node.daemon_pid()));
    let status = status.expect("the daemon lives");
    let line = status.lines().find(|line| line.starts_with("Max open files"));
    let taken = line.and_then(|line| line.split_whitespace().nth(3)).expect("a number");
    let most = own.maximum.unwrap_or(u64::MAX).min(1 << 16);
    let least = own.current.unwrap_or(u64::MAX).max(most);
    assert!(taken.parse().map_or(true, |taken: u64| taken >= least), "{taken} {least}");
    limits.step = 1;
    limits.soft_limits = vec![("nofile".into(), Some(88))];
    let mut client = Client::launch(limits);
    client.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(client.heard.output[&0].trim(), "88");
}

/// The CPU that a task has named as its own.
fn own(client: &Client) -> u32 {
    let last = client.heard.output[&0].split_whitespace().last().expect("a CPU");
    last.parse().expect("one CPU")
}

/// Processes that the daemon has made and not reaped.
fn children(of: u32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("it is there").flatten();
    let stats = all.filter_map(|one| std::fs::read_to_string(one.path().join("stat")).ok());
    let mine = |stat: &String| {
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(of.to_string().as_str())
    };
    stats.filter(mine).collect()
}

#[tokio::test]
async fn a_start_that_fails_half_way_leaves_nothing() {
    let node = Node::start();
    // Which CPU is a lone task's: that with the fewest tasks on it.
    let mut bound = order(1, &["grep Cpus_allowed_list /proc/self/status"]);
    (bound.bind, bound.cpus_per_task, bound.node_cpus) = (Bind::Tasks, 1, 1024);
    let mut client = Client::launch(bound.clone());
    client.hear(node.attach().await, |heard| heard.done).await;
    let mut half = order(0, &["sleep 1000", "sleep 1000", "echo never"]);
    (half.bind, half.cpus_per_task, half.node_cpus) =
        (Bind::Sets(vec![vec![own(&client)]]), 1, 1024);
    half.tasks[2].output = Output::File { path: "/no/such/place".into(), append: false };
    let mut fails = Client::launch(half);
    fails.hear(node.attach().await, |heard| heard.done).await;
    assert!(fails.heard.refused.is_some());
    assert_eq!(children(node.daemon_pid()), Vec::<String>::new());
    bound.step = 2;
    let mut again = Client::launch(bound);
    again.hear(node.attach().await, |heard| heard.done).await;
    assert_eq!(own(&again), own(&client));
}
