//! `why` of what waits for room: nodes that come, nodes that are full, and what would fit now.
use super::history::{self, Earlier};
use super::start;
use super::why::{Frame, title, with_time};
use super::{Cx, words};
use pcluster_core::Job;
use pcluster_core::event::OfferingKey;
use pcluster_core::node::{Node, NodeState};
use pcluster_core::plan::Wait;
use pcluster_model::job::MemoryAsk;
use pcluster_model::units::span_words;
use pcluster_model::{JobSpec, NodeId};

/// A node boots for it, or is launched for it.
pub(super) fn coming(cx: &Cx<'_>, job: &Job, wait: &Wait, at: Option<i64>, frame: Frame) -> Frame {
    let who = title(job);
    let about = at.map(|at| format!("{who} starts at about {}", cx.clock(at)));
    let (headline, facts) = match wait {
        Wait::NodeBoots { nodes } => {
            let shown = nodes.iter().take(3).filter_map(|id| cx.cluster.nodes.get(id));
            let facts = shown.flat_map(|node| booting_facts(cx, node)).collect();
            let again = nodes.iter().filter_map(|id| cx.cluster.nodes.get(id));
            let again = again.filter_map(|node| super::why_launch::launched_again(cx, node)).next();
            let headline = match (again, about) {
                (Some(again), _) => format!("{who} waits: {again}"),
                (None, Some(about)) => format!("{about}: its node is booting"),
                (None, None) => format!("{who} starts when its node has booted"),
            };
            (headline, facts)
        }
        Wait::NodeWanted { offering } => {
            let headline = match about {
                Some(about) => format!("{about}: a node is launched for it"),
                None => format!("{who} starts on a node that is launched for it now"),
            };
            (headline, vec![("node".to_owned(), offering_words(offering))])
        }
        _ => return frame,
    };
    with_room(cx, job, frame.saying(headline).facts(facts), "why new")
}

/// Everything is full, or others are first.
pub(super) fn crowded(cx: &Cx<'_>, job: &Job, wait: &Wait, at: Option<i64>, frame: Frame) -> Frame {
    let who = title(job);
    let (headline, change) = match wait {
        Wait::PoolMax { max, max_cpus } => {
            let most = match max_cpus {
                Some(cpus) => format!("{max} nodes, {cpus} CPUs together"),
                None => words::counted(u64::from(*max), "node"),
            };
            let headline =
                format!("{who} waits for room: pool {} has all it may have ({most})", job.pool);
            (headline, format!("max in [pools.{}] (admin)", job.pool))
        }
        Wait::Turn { after } => {
            let other = cx.cluster.jobs.get(after);
            let name = other.map_or_else(String::new, |job| format!(" ({})", job.spec.name));
            let headline =
                format!("{who} waits for its turn: job {after}{name} needs the room first");
            let priority = job.spec.priority.saturating_add(1);
            (headline, format!("pcluster update {} --priority {priority} (admin)", job.id))
        }
        _ => {
            let why = "so many are ahead that it was not looked at yet";
            return ahead_facts(cx, job, frame.saying(format!("{who} waits for its turn: {why}")));
        }
    };
    let frame = ahead_facts(cx, job, frame.saying(headline));
    let frame = with_time(cx, frame, "next", at, "when the next run there ends at the latest");
    let frame = match wait {
        // What would fit now would not start before the one that is first, either.
        Wait::Turn { .. } => frame,
        _ => with_room(cx, job, frame, "nodes"),
    };
    frame.change(change)
}

/// `c6i.4xlarge, spot, subnet-0aaa, in pool compute`.
pub(super) fn offering_words(offering: &OfferingKey) -> String {
    let spot = if offering.spot { ", spot" } else { "" };
    let place = if offering.subnet.is_empty() { "" } else { ", " };
    format!("{}{spot}{place}{}, in pool {}", offering.shape, offering.subnet, offering.pool)
}

/// The node and where its boot has got to.
pub(super) fn booting_facts(cx: &Cx<'_>, node: &Node) -> Vec<(String, String)> {
    let spot = if node.offering.spot { ", spot" } else { "" };
    let asked = cx.clock_seconds(cx.wall(node.wanted_at));
    let text = format!("{}, {}{spot}, asked for {asked}", node.name, node.shape.name);
    let mut facts = vec![("node".to_owned(), text)];
    let link = cx.cluster.volatile.links.get(&node.id);
    let phase = link.map(|link| link.phase.clone()).filter(|phase| !phase.is_empty());
    let phase = phase.unwrap_or_else(|| match node.state {
        NodeState::Wanted => "launch asked".into(),
        _ => "accepted".into(),
    });
    let so_far = span_words(cx.now.since(node.wanted_at));
    let usual = start::usual_boot(cx.cluster, &node.offering)
        .map_or_else(String::new, |usual| format!(" of usually {}", span_words(usual)));
    facts.push(("phase".into(), format!("{phase}; {so_far}{usual}")));
    facts.extend(super::why_launch::launch_trouble(cx, node));
    facts
}

/// Jobs that wait for room before this one.
fn ahead_facts(cx: &Cx<'_>, job: &Job, frame: Frame) -> Frame {
    let ahead = cx.cluster.volatile.report.ahead.get(&job.pool);
    let ahead = ahead.map_or(&[][..], Vec::as_slice);
    let before: Vec<String> =
        ahead.iter().take_while(|id| **id != job.id).map(ToString::to_string).collect();
    if before.is_empty() {
        return frame;
    }
    let count = words::counted(before.len() as u64, "job");
    frame.fact("ahead", format!("{count}: {}", words::some_of(&before, 5)))
}

/// The free room of ready nodes, the nearest marked, and what would fit there now.
fn with_room(cx: &Cx<'_>, job: &Job, frame: Frame, label: &str) -> Frame {
    let mut nodes: Vec<&Node> = cx
        .cluster
        .living_nodes(&job.pool)
        .filter(|node| node.is_ready() && cx.cluster.is_connected(node.id))
        .collect();
    if nodes.is_empty() {
        return frame.fact(label, format!("no node of pool {} is ready", job.pool));
    }
    let out = |node: &Node| cx.cluster.share_trouble(node).is_some();
    nodes.sort_by_key(|node| (out(node), core::cmp::Reverse(nearness(job, node))));
    let nearest = nodes[0].id;
    let mut facts = Vec::new();
    for (at, node) in nodes.iter().take(3).enumerate() {
        let label = if at == 0 { label } else { "" };
        let text = match cx.cluster.share_trouble(node) {
            Some(trouble) => format!("{}  takes no new jobs: {trouble}", node.name),
            None => room_words(job, node, nearest),
        };
        facts.push((label.to_owned(), text));
    }
    if out(nodes[0]) {
        return frame.facts(facts);
    }
    let change = (job.spec.nodes == 1).then(|| fits_now(cx, job, nodes[0])).flatten();
    let frame = frame.facts(facts).changes(change);
    match less_memory(cx, job, nodes[0]) {
        Some(hint) => frame.hint(hint),
        None => frame,
    }
}

/// How near the free room of a node comes to a job: kinds that suffice, then free CPUs and memory.
fn nearness(job: &Job, node: &Node) -> (u32, u32, u64) {
    let (free, asked) = (node.free(), job.spec.per_node_on(&node.usable));
    let kinds = u32::from(free.cpus >= asked.cpus)
        + u32::from(free.memory_bytes >= asked.memory_bytes)
        + u32::from(free.gpus >= asked.gpus)
        + u32::from(free.tmp_bytes >= asked.tmp_bytes);
    (kinds, free.cpus, free.memory_bytes)
}

fn room_words(job: &Job, node: &Node, nearest: NodeId) -> String {
    let (free, asked) = (node.free(), job.spec.per_node_on(&node.usable));
    let mut short = Vec::new();
    if free.cpus < asked.cpus {
        short.push(format!("{} of {} CPUs", free.cpus, asked.cpus));
    }
    // Memory that goes along with the CPUs is not a lack of its own.
    let follows = job.spec.memory == MemoryAsk::Proportional && !short.is_empty();
    if free.memory_bytes < asked.memory_bytes && !follows {
        short.push(format!(
            "{} of {}",
            words::size(free.memory_bytes),
            words::size(asked.memory_bytes)
        ));
    }
    if free.gpus < asked.gpus {
        short.push(format!("{} of {} GPUs", free.gpus, asked.gpus));
    }
    if free.tmp_bytes < asked.tmp_bytes {
        short.push(format!(
            "{} of {} scratch",
            words::size(free.tmp_bytes),
            words::size(asked.tmp_bytes)
        ));
    }
    let text = if short.is_empty() {
        "room enough, taken by others' turn".into()
    } else {
        format!("{} free", short.join(", "))
    };
    let mark = if node.id == nearest { "   <- nearest" } else { "" };
    format!("{}  {text}{mark}", node.name)
}

/// The smallest change of the request that would start it in the free room of `node`.
fn fits_now(cx: &Cx<'_>, job: &Job, node: &Node) -> Option<String> {
    let (free, mut asked) = (node.free(), job.spec.per_node_on(&node.usable));
    if free.cpus == 0 || free.gpus < asked.gpus || free.tmp_bytes < asked.tmp_bytes {
        return None;
    }
    let mut options = Vec::new();
    if free.cpus < asked.cpus {
        // Only a job of one task has one number to change.
        if job.spec.tasks != 1 || job.spec.exclusive {
            return None;
        }
        options.push(format!("-c {}", free.cpus));
        let fewer = JobSpec { cpus_per_task: free.cpus, ..(*job.spec).clone() };
        asked = fewer.per_node_on(&node.usable);
    }
    let small = SMALLEST_MEMORY.max(used_memory(cx, job));
    if free.memory_bytes < asked.memory_bytes {
        if free.memory_bytes < small {
            return None;
        }
        options.push(format!("--mem {}", words::mem_option(free.memory_bytes)));
    }
    if options.is_empty() {
        return None;
    }
    Some(format!("{} would start it now on {}", options.join(" "), node.name))
}

/// What earlier runs used, where asking for that would help on this node.
fn less_memory(cx: &Cx<'_>, job: &Job, node: &Node) -> Option<String> {
    let (free, asked) = (node.free().memory_bytes, job.spec.per_node_on(&node.usable).memory_bytes);
    let seen = earlier(cx, job);
    let enough = seen.max_rss_bytes.saturating_add(seen.max_rss_bytes / 10);
    if free >= asked || seen.memory_runs == 0 || enough > free {
        return None;
    }
    let runs = words::counted(u64::from(seen.memory_runs), "run");
    let used = words::size(seen.max_rss_bytes);
    let option = words::mem_option_above(enough);
    let change = format!("pcluster update {} --mem {option}", job.id);
    Some(format!("{} used at most {used} in {runs}:  {change}", job.spec.name))
}

/// Less is never proposed as a job's memory, in bytes.
const SMALLEST_MEMORY: u64 = 64 << 20;

/// The most memory that runs of this name have used, where the reader may know it.
fn used_memory(cx: &Cx<'_>, job: &Job) -> u64 {
    earlier(cx, job).max_rss_bytes
}

fn earlier(cx: &Cx<'_>, job: &Job) -> Earlier {
    if !cx.sees_all_of(job) {
        return Earlier::default();
    }
    history::earlier(cx, &job.owner.user, &job.spec.name)
}

pub(super) fn largest(cx: &Cx<'_>, job: &Job) -> Vec<(String, String)> {
    let pool = cx.cluster.pool(&job.pool);
    let shapes = pool.map_or(&[][..], |pool| &pool.shapes);
    let largest = shapes.iter().max_by_key(|shape| (shape.usable().memory_bytes, shape.total.cpus));
    let text =
        largest.map(|shape| format!("{}: {}", shape.name, words::resources(&shape.usable())));
    text.map(|text| ("largest".to_owned(), text)).into_iter().collect()
}
