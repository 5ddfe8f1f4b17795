//! A node that holds a valid key and talks nonsense: nothing of it reaches others, memory and logs stay
//! bounded, and the head answers everybody meanwhile.
use crate::head::{Head, Site, until};
use crate::nodes::{Key, link};
use futures_util::{SinkExt, StreamExt};
use pcluster_headnode::agents::token::ClusterSecret;
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId, Resources, Timestamp};
use pcluster_wire::{AgentFrame, Facts, MAX_FRAME_BYTES, PROTOCOL};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// What the head may take more for it: one frame of 1 MB in each of a few forms, and the last lines of a
/// boot log.
const MORE_BYTES: u64 = 48 << 20;
/// Of its own log, and of what it keeps of a node's.
const LOG_BYTES: u64 = 1 << 20;
const FRAMES: usize = 3000;

/// The machine of the only node: a process that does nothing.
struct Machine<'a>(&'a Site);

impl Machine<'_> {
    fn beside(site: &Site) -> Machine<'_> {
        let program = site.root().join("pcluster-agent");
        fs::write(&program, "#!/bin/sh\necho $$ >\"$2/fake\"\nexec sleep 300\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Machine(site)
    }

    fn pids(&self) -> Vec<i32> {
        let nodes = fs::read_dir(self.0.state().join("nodes")).into_iter().flatten().flatten();
        let files = nodes.map(|node| node.path().join("fake"));
        files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        for pid in self.pids() {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

fn hello(site: &Site, boot_id: &str) -> String {
    let cluster =
        ClusterId::from(fs::read_to_string(site.state().join("cluster-id")).unwrap().trim());
    let secret = fs::read(site.state().join("secret")).unwrap();
    let node = NodeId { launch: LaunchId(1), index: 0 };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let frame = AgentFrame::Hello {
        protocol: PROTOCOL,
        oldest_protocol: None,
        token: Some(ClusterSecret(secret.try_into().unwrap()).token(&cluster, node.launch)),
        cluster,
        node,
        instance: InstanceRef::default(),
        boot_id: boot_id.into(),
        facts: Facts {
            usable: Resources { cpus: 64, memory_bytes: 1 << 40, gpus: 0, tmp_bytes: 1 << 40 },
            clock: Timestamp(i64::try_from(now.as_millis()).unwrap()),
            ..Facts::default()
        },
        runs: Vec::new(),
    };
    serde_json::to_string(&frame).unwrap()
}

/// What is understood and of no use, with some of it too long.
fn nonsense(number: usize) -> String {
    let long = "\u{1b}[2Jx".repeat(60_000);
    let run = number % 500;
    match number % 12 {
        0 => format!(
            r#"{{"say":"run_ended","run":{run},"exit":{{"code":0}},"started_at":1,"ended_at":2}}"#
        ),
        1 => format!(r#"{{"say":"not_started","run":{run},"why":"no"}}"#),
        2 => format!(r#"{{"say":"run_started","run":{run},"started_at":{number}}}"#),
        3 => format!(
            r#"{{"say":"output","run":{run},"offset":{},"data_base64":"AAAA"}}"#,
            u64::MAX - 3
        ),
        4 if number % 240 == 4 => {
            serde_json::json!({"say": "boot_log", "lines": [long, "y"]}).to_string()
        }
        5 if number % 240 == 5 => {
            serde_json::json!({"say": "boot_phase", "phase": long}).to_string()
        }
        6 => serde_json::json!({"say": "boot_log", "lines": vec!["z"; 500]}).to_string(),
        _ => r#"{"say":"heartbeat","clock":1,"load_milli":0}"#.to_owned(),
    }
}

async fn talk(head: &Head<'_>, site: &Site, key: &Key) {
    let mut socket = link(head, key).await;
    socket.send(Message::text(hello(site, "b"))).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let reads = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    for number in 0..FRAMES {
        let sent = sink.send(Message::text(nonsense(number))).await;
        sent.unwrap_or_else(|error| panic!("frame {number} ended it: {error}"));
    }
    // What ends a connection, each on one of its own.
    reads.abort();
    for bad in [
        Message::text("{"),
        Message::text(r#"{"say":"hello"}"#),
        Message::binary(vec![7; 100]),
        Message::text("x".repeat(2 * MAX_FRAME_BYTES)),
        Message::text(r#"{"say":"output","run":1,"offset":0,"data_base64":"%%%"}"#),
    ] {
        let mut socket = link(head, key).await;
        socket.send(Message::text(hello(site, "b"))).await.unwrap();
        let _ = socket.send(bad).await;
        let ended = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::time::timeout(crate::head::PATIENCE, ended).await.expect("the head hangs up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_talks_nonsense_is_heard_for_nothing_and_costs_nothing() {
    let site = Site::new(
        "provider = \"process\"\ncompute = { cpus = 1, memory = \"512 MB\", min = 1, max = 1 }\n",
    );
    let machine = Machine::beside(&site);
    let head = site.start();
    until("the machine", || (!machine.pids().is_empty()).then_some(()));
    let key = Key::new();
    // Once, so that everything that is made once is there.
    let mut socket = link(&head, &key).await;
    socket.send(Message::text(hello(&site, "a"))).await.unwrap();
    until("the node", || site.log().contains("node_ready").then_some(()));
    let (before, log) = (peak(head.pid()), site.log().len() as u64);
    let store = pcluster_store::Reader::open(&site.state().join("events.db")).unwrap();
    let first = store.events(0, 10_000).unwrap().len();
    let talking = talk(&head, &site, &key);
    tokio::pin!(talking);
    loop {
        tokio::select! {
            () = &mut talking => break,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                let answer = tokio::task::block_in_place(|| head.try_get("/v1/status"));
                assert_eq!(answer.expect("others are served").0, 200);
            }
        }
    }
    let more = peak(head.pid()) - before;
    let told = site.log().len() as u64 - log;
    println!("{more} bytes of memory and {told} of the log more");
    assert!(more <= MORE_BYTES, "{more}");
    assert!(told <= LOG_BYTES, "{told}");
    let events = store.events(0, 10_000).unwrap().len() - first;
    assert!(events < 20, "{events} events of nonsense");
    let boot_log = fs::metadata(site.state().join("nodes-log/1.0.log")).unwrap().len();
    assert!((1..=LOG_BYTES).contains(&boot_log), "{boot_log}");
    assert_eq!(fs::read_dir(site.state().join("output")).unwrap().count(), 0);
    // Its words are cut and without what terminals obey.
    let nodes = head.text("/v1/nodes");
    assert!(nodes.len() < 32_000 && !nodes.contains("\\u001b"), "{nodes}");
    // A node that is restarted again and again is an event each time, but not as often as it likes.
    let mut heard = 0;
    for number in 0..100 {
        let mut socket = link(&head, &key).await;
        socket.send(Message::text(hello(&site, &format!("boot-{number}")))).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            heard += usize::from(text.contains("welcome"));
            break;
        }
    }
    println!("{heard} of 100 hellos were taken");
    assert!((10..60).contains(&heard), "{heard}");
}
