use super::*;
use pcluster_core::Cluster;
use pcluster_model::{ClusterId, LaunchId};
use pcluster_wire::PROTOCOL;

const NODE: NodeId = NodeId { launch: LaunchId(1), index: 0 };

fn hub() -> Hub {
    Hub::new(Mirror::new(Cluster::new(ClusterId::from("0123456789abcdef"))))
}

fn welcome(hub: &Hub, link: LinkId) {
    let reply = Reply::Welcome {
        node: NODE,
        node_name: "n".into(),
        shares: Vec::new(),
        forget: Vec::new(),
    };
    hub.answer(link, reply);
}

fn drained(orders: &mut mpsc::Receiver<Out>) -> Vec<&'static str> {
    let mut words = Vec::new();
    while let Ok(out) = orders.try_recv() {
        words.push(match out {
            Out::Frame(HeadFrame::Welcome { .. }) => "welcome",
            Out::Frame(HeadFrame::Refused { .. }) => "refused",
            Out::Frame(HeadFrame::Leave { .. }) => "leave",
            Out::Frame(_) => "frame",
            Out::Start(_) => "start",
            Out::Close => "close",
        });
    }
    words
}

#[test]
fn a_connection_is_heard_from_its_welcome_on() {
    let hub = hub();
    let (link, mut orders) = hub.enter(PROTOCOL);
    assert!(!hub.admits(link, NODE, &AgentSaid::Heartbeat));
    welcome(&hub, link);
    assert!(hub.admits(link, NODE, &AgentSaid::Heartbeat));
    hub.order(NODE, Order::Leave { why: "idle".into() });
    assert_eq!(drained(&mut orders), ["welcome", "leave"]);
}

#[test]
fn the_newest_connection_wins_and_the_end_of_the_older_one_says_nothing() {
    let hub = hub();
    let ((old, mut old_orders), (new, mut new_orders)) = (hub.enter(PROTOCOL), hub.enter(PROTOCOL));
    welcome(&hub, old);
    welcome(&hub, new);
    assert!(!hub.admits(old, NODE, &AgentSaid::Heartbeat));
    assert!(!hub.admits(old, NODE, &AgentSaid::Disconnected));
    assert!(hub.admits(new, NODE, &AgentSaid::Heartbeat));
    hub.order(NODE, Order::Leave { why: "idle".into() });
    assert_eq!(drained(&mut old_orders), ["welcome", "close"]);
    assert_eq!(drained(&mut new_orders), ["welcome", "leave"]);
}

#[test]
fn the_end_of_the_newest_connection_is_said_once() {
    let hub = hub();
    let (link, _orders) = hub.enter(PROTOCOL);
    welcome(&hub, link);
    hub.leave(link);
    assert!(hub.admits(link, NODE, &AgentSaid::Disconnected));
    assert!(!hub.admits(link, NODE, &AgentSaid::Disconnected));
}

#[test]
fn a_refused_agent_hears_why_and_replaces_nobody() {
    let hub = hub();
    let ((good, _orders), (bad, mut bad_orders)) = (hub.enter(PROTOCOL), hub.enter(PROTOCOL));
    welcome(&hub, good);
    hub.answer(bad, Reply::AgentRefused { node: NODE, why: "no".into(), last: true });
    assert_eq!(drained(&mut bad_orders), ["refused", "close"]);
    assert!(hub.admits(good, NODE, &AgentSaid::Heartbeat));
}

#[test]
fn an_agent_that_does_not_read_loses_its_connection() {
    let hub = hub();
    let (link, orders) = hub.enter(PROTOCOL);
    welcome(&hub, link);
    for _ in 0..=limits::LINK_QUEUE {
        hub.order(NODE, Order::Leave { why: "idle".into() });
    }
    assert_eq!(orders.len(), limits::LINK_QUEUE);
    assert!(orders.is_closed());
}

#[test]
fn the_welcome_names_the_protocol_that_the_connection_agreed_on() {
    let hub = hub();
    let (link, mut orders) = hub.enter(PROTOCOL + 7);
    welcome(&hub, link);
    let Ok(Out::Frame(HeadFrame::Welcome { protocol, .. })) = orders.try_recv() else {
        panic!("no welcome")
    };
    assert_eq!(protocol, PROTOCOL + 7);
}
