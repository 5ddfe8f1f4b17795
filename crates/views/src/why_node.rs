//! `why NODE`: what a node does, and why it is here or goes.
use super::why::Frame;
use super::why_room::booting_facts;
use super::{Cx, node as nodes, words};
use pcluster_api::WhyView;
use pcluster_core::event::StopCause;
use pcluster_core::node::{Node, NodeState};

/// `GET /v1/nodes/{id}/why`.
#[must_use]
pub fn node(cx: &Cx<'_>, node: &Node) -> WhyView {
    let frame = match &node.state {
        NodeState::Wanted | NodeState::Booting => {
            let frame = Frame::new("booting", format!("node {} is booting", node.name));
            booting_facts(cx, node)
                .into_iter()
                .fold(frame, |frame, (label, text)| frame.fact(&label, text))
        }
        NodeState::Ready => ready(cx, node),
        NodeState::Draining { cause } => {
            let because = nodes::cause_words(cx, cause);
            let frame =
                Frame::new("draining", format!("node {} takes no new jobs: {because}", node.name));
            let frame = frame.fact("jobs", words::counted(node.runs.len() as u64, "run"));
            match cause {
                StopCause::Asked { .. } => {
                    frame.change(format!("pcluster node resume {} (admin)", node.name))
                }
                _ => frame,
            }
        }
        NodeState::Lost { since, .. } => {
            let at = cx.clock_seconds(cx.wall(*since));
            Frame::new("lost", format!("node {} is silent since {at}", node.name))
                .fact("jobs", words::counted(node.runs.len() as u64, "run"))
                .hint(format!("pcluster node log {}", node.name))
        }
        NodeState::Stopping { cause, since } => {
            let at = cx.clock_seconds(cx.wall(*since));
            let frame =
                Frame::new("stopping", format!("node {} is stopping since {at}", node.name))
                    .fact("because", nodes::cause_words(cx, cause));
            match cx.cluster.volatile.ending_trouble.get(&node.id) {
                Some(trouble) => frame.fact("trouble", trouble.clone()),
                None => frame,
            }
        }
        NodeState::Refused { message, .. } => Frame::new(
            "failed",
            format!("node {} never existed: the launch was refused", node.name),
        )
        .fact("answer", message.clone()),
        NodeState::Gone { cause, at } => gone(cx, node, cause, cx.wall(*at)),
    };
    let frame =
        if node.why.is_empty() { frame } else { frame.fact("wanted for", node.why.clone()) };
    frame.done()
}

fn ready(cx: &Cx<'_>, node: &Node) -> Frame {
    if !cx.cluster.is_connected(node.id) {
        return Frame::new(
            "silent",
            format!("node {} is not connected: nothing is placed on it", node.name),
        )
        .hint(format!("pcluster node log {}", node.name));
    }
    if let Some(trouble) = cx.cluster.share_trouble(node) {
        let headline = format!("node {} takes no new jobs: {trouble}", node.name);
        return Frame::new("unfit", headline)
            .fact("jobs", format!("{}, they go on", words::counted(node.runs.len() as u64, "run")))
            .fact("then", "it takes jobs again by itself when the path is well")
            .hint(format!("pcluster node log {}", node.name));
    }
    if !node.runs.is_empty() {
        let free = words::resources(&node.free());
        return Frame::new("busy", format!("node {} works", node.name))
            .fact("jobs", nodes::view(cx, node).jobs.join(", "))
            .fact("free", free);
    }
    match cx.cluster.idle_stop_at(node) {
        Some(at) => {
            let at = cx.clock_seconds(cx.wall(at));
            Frame::new(
                "idle",
                format!("node {} is idle and stops at {at} unless work comes", node.name),
            )
            .change(format!("idle_timeout in [pools.{}] (admin)", node.offering.pool))
        }
        None => Frame::new("idle", format!("node {} is idle and is kept", node.name))
            .fact("because", format!("pool {} keeps its minimum", node.offering.pool)),
    }
}

fn gone(cx: &Cx<'_>, node: &Node, cause: &StopCause, at_ms: i64) -> Frame {
    let because = nodes::cause_words(cx, cause);
    let at = cx.clock_seconds(at_ms);
    let cost = super::money::node_cost(cx.cluster, node, cx.now);
    let (word, headline) = match cause {
        StopCause::BootFailed { .. } => {
            ("failed", format!("node {} did not boot: {because}", node.name))
        }
        _ => ("gone", format!("node {} is gone: {because}", node.name)),
    };
    Frame::new(word, headline)
        .fact("gone", format!("{at}, cost {cost}"))
        .hint(format!("pcluster node log {}", node.name))
}
