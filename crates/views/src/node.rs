//! Nodes: rows, and one node with its boot timeline.
use super::money::{has_open_bill, node_cost};
use super::{Cx, schema, words};
use pcluster_api::{NodeDetail, NodeList, NodeView};
use pcluster_core::event::StopCause;
use pcluster_core::node::{Node, NodeState};

/// The state as users see it.
#[must_use]
pub fn state_word(node: &Node) -> &'static str {
    match &node.state {
        NodeState::Ready if node.runs.is_empty() => "idle",
        NodeState::Ready => "busy",
        NodeState::Refused { .. } => "failed",
        NodeState::Gone { cause: StopCause::BootFailed { .. }, .. } => "failed",
        other => other.word(),
    }
}

/// A cause in words.
#[must_use]
pub fn cause_words(cx: &Cx<'_>, cause: &StopCause) -> String {
    match cause {
        StopCause::Idle => "nothing needed it".into(),
        StopCause::BootFailed { phase, why } if phase.is_empty() => why.clone(),
        StopCause::BootFailed { phase, why } => format!("{why} in \"{phase}\""),
        StopCause::Lost => "it was silent for too long".into(),
        StopCause::Unneeded => "the work it was for went away while it booted".into(),
        StopCause::Asked { by } => format!("asked by {}", cx.name_of(by)),
        StopCause::Down => "the cluster goes down".into(),
        StopCause::Reclaimed { until: None } => {
            "taken back by its provider without a notice".into()
        }
        StopCause::Reclaimed { until: Some(until) } => {
            let at = cx.clock_seconds(cx.wall(*until));
            format!("taken back by its provider at {at}")
        }
        StopCause::Rebalance => "its provider may take it back soon: it gets no new jobs".into(),
        StopCause::RunsUnknown => "what runs there is not in this log".into(),
        StopCause::Unfit { why } | StopCause::Left { why } => why.clone(),
    }
}

pub(super) fn why_words(cx: &Cx<'_>, node: &Node) -> Option<String> {
    match &node.state {
        NodeState::Draining { cause }
        | NodeState::Stopping { cause, .. }
        | NodeState::Gone { cause, .. } => {
            let trouble = cx.cluster.volatile.ending_trouble.get(&node.id);
            let trouble =
                trouble.map_or_else(String::new, |text| format!("; it does not end: {text}"));
            Some(cause_words(cx, cause) + &trouble)
        }
        NodeState::Refused { message, .. } => Some(message.clone()),
        NodeState::Lost { since, .. } => {
            Some(format!("silent since {}", cx.clock_seconds(cx.wall(*since))))
        }
        NodeState::Ready => {
            let trouble = cx.cluster.share_trouble(node);
            trouble.map(|trouble| format!("takes no new jobs: {trouble}"))
        }
        NodeState::Wanted | NodeState::Booting => None,
    }
}

/// One row of `nodes`.
#[must_use]
pub fn view(cx: &Cx<'_>, node: &Node) -> NodeView {
    let wall = |at: Option<pcluster_model::Timestamp>| at.map(|at| cx.wall(at));
    let link = cx.cluster.volatile.links.get(&node.id);
    let phase = match &node.state {
        NodeState::Wanted => Some(("launch asked".to_owned(), node.wanted_at)),
        NodeState::Booting => Some(match link.filter(|link| !link.phase.is_empty()) {
            Some(link) => (link.phase.clone(), link.phase_since),
            None => ("accepted".to_owned(), node.seen_at.unwrap_or(node.wanted_at)),
        }),
        _ => None,
    };
    let gone_at = match &node.state {
        NodeState::Gone { at, .. } | NodeState::Refused { at, .. } => Some(*at),
        _ => None,
    };
    let jobs = node.runs.iter().filter_map(|run| {
        let run = cx.cluster.runs.get(run)?;
        Some(cx.cluster.jobs.get(&run.job)?.task_label(run.task))
    });
    NodeView {
        name: node.name.clone(),
        id: node.id.to_string(),
        pool: node.offering.pool.to_string(),
        state: state_word(node).into(),
        shape: node.shape.name.clone(),
        image: node.image.clone(),
        spot: node.offering.spot,
        instance: node.instance.as_ref().map(ToString::to_string),
        cpus_used: node.held.cpus,
        cpus: node.usable.cpus,
        memory_used_bytes: node.held.memory_bytes,
        memory_bytes: node.usable.memory_bytes,
        gpus_used: node.held.gpus,
        gpus: node.usable.gpus,
        price_per_hour_micro_usd: node.price.map(|price| price.0),
        wanted_at_ms: cx.wall(node.wanted_at),
        launched_at_ms: node.launched_at.map(|at| at.0),
        ready_at_ms: wall(node.ready_at),
        gone_at_ms: wall(gone_at),
        phase_since_ms: phase.as_ref().map(|(_, since)| cx.wall(*since)),
        phase: phase.map(|(phase, _)| phase),
        stops_at_ms: wall(cx.cluster.idle_stop_at(node)),
        jobs: jobs.collect(),
        why: why_words(cx, node),
        cost_micro_usd: node_cost(cx.cluster, node, cx.now).0,
        connected: cx.cluster.is_connected(node.id),
        last_line: None,
    }
}

/// `GET /v1/nodes`: living nodes, and failed ones for an hour.
#[must_use]
pub fn list(cx: &Cx<'_>) -> NodeList {
    let failed_lately = |node: &Node| {
        let at = match &node.state {
            NodeState::Gone { at, .. } | NodeState::Refused { at, .. } => *at,
            _ => return false,
        };
        let kept = pcluster_core::limits::GONE_NODES_KEPT;
        state_word(node) == "failed" && cx.now.since(at) <= kept
    };
    let shown =
        cx.cluster.nodes.values().filter(|node| node.state.is_alive() || failed_lately(node));
    NodeList {
        schema: schema("nodes"),
        now_ms: cx.wall_now(),
        nodes: shown.map(|node| view(cx, node)).collect(),
        price_per_hour_micro_usd: price_per_hour(cx),
        standing_per_hour_micro_usd: super::standing::price_per_hour(cx),
        unknown_prices: u32::try_from(billing(cx).filter(|node| node.price.is_none()).count())
            .unwrap_or(u32::MAX),
    }
}

fn billing<'a>(cx: &Cx<'a>) -> impl Iterator<Item = &'a Node> {
    let cluster = cx.cluster;
    cluster.nodes.values().filter(|node| has_open_bill(cluster, node))
}

/// What all nodes that bill cost in an hour, in micro-dollars.
#[must_use]
pub fn price_per_hour(cx: &Cx<'_>) -> i64 {
    billing(cx).filter_map(|node| node.price).map(|price| price.0).sum()
}

/// `GET /v1/nodes/{id}`; `log` is the end of its boot log, for readers who may see it.
#[must_use]
pub fn detail(cx: &Cx<'_>, node: &Node, log: Vec<String>) -> NodeDetail {
    let timeline = node.timeline().into_iter().map(|(at, what)| {
        let what = match what.as_str() {
            "first job" => first_job(cx, node).map_or(what, |job| format!("first job ({job})")),
            "ready" => proved(cx, node).map_or(what, |paths| format!("{paths} checked, ready")),
            _ => what,
        };
        (cx.wall(at), what)
    });
    NodeDetail {
        schema: schema("node"),
        now_ms: cx.wall_now(),
        node: view(cx, node),
        timeline: timeline.collect(),
        facts: facts(cx, node),
        log,
    }
}

/// The shared paths that are proved before a node is ready.
fn proved(cx: &Cx<'_>, node: &Node) -> Option<String> {
    let pool = cx.cluster.pool(&node.offering.pool)?;
    let paths: Vec<&str> = pcluster_core::shares::proved_paths(pool).collect();
    (!paths.is_empty()).then(|| paths.join(", "))
}

/// The task that the node still runs since its first placement, where it is still known.
fn first_job(cx: &Cx<'_>, node: &Node) -> Option<String> {
    let first =
        node.runs.iter().filter_map(|run| cx.cluster.runs.get(run)).min_by_key(|run| run.id)?;
    let job = cx.cluster.jobs.get(&first.job)?;
    (Some(first.placed_at) == node.first_run_at).then(|| job.task_label(first.task))
}

fn facts(cx: &Cx<'_>, node: &Node) -> Vec<(String, String)> {
    let mut lines = vec![("for jobs".to_owned(), words::resources(&node.usable))];
    if !node.cage.is_empty() {
        lines.push(("limits".into(), node.cage.clone()));
    }
    if !node.why.is_empty() {
        lines.push(("wanted for".into(), node.why.clone()));
    }
    let Some(link) = cx.cluster.volatile.links.get(&node.id) else { return lines };
    let Some(facts) = &link.facts else { return lines };
    lines.push(("host".into(), format!("{}, {}, {}", facts.hostname, facts.arch, facts.kernel)));
    lines.push(("agent".into(), facts.agent_version.clone()));
    for path in &link.asked_shares {
        let text = match link.shares.iter().find(|proof| proof.path == *path) {
            None => "not looked at yet".to_owned(),
            Some(proof) => proof.trouble.clone().unwrap_or_else(|| "is as on the head".into()),
        };
        lines.push((path.clone(), text));
    }
    lines
}
