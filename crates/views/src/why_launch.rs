//! `why` of what waits because machines cannot be launched or do not boot: every class of failure in
//! words, with what happens next and what helps.
use super::why::{Frame, title};
use super::{Cx, why_room as room, words};
use pcluster_core::event::{LaunchErrorClass, OfferingKey};
use pcluster_core::input::LaunchError;
use pcluster_core::node::{BootHealth, Node, NodeState};
use pcluster_core::{Cluster, Job};
use pcluster_model::Timestamp;

/// Who launches for this pool.
pub(super) fn provider(cluster: &Cluster, offering: &OfferingKey) -> String {
    let pool = cluster.pool(&offering.pool);
    pool.map_or_else(|| "the provider".to_owned(), |pool| pool.provider.as_str().to_owned())
}

/// Only a new configuration ends the rest of such a failure.
fn is_for_admins(class: &str) -> bool {
    matches!(class, "denied" | "bad_config" | "never_fits")
}

/// A kind of machine rests after the provider's no.
pub(super) fn rested(
    cx: &Cx<'_>,
    job: &Job,
    (offering, class, message): (&OfferingKey, &str, &str),
    next_ms: i64,
    frame: Frame,
) -> Frame {
    let (by, shape, pool) = (provider(cx.cluster, offering), &offering.shape, &offering.pool);
    let who = title(job);
    let headline = match class {
        "no_capacity" => format!("{who} waits for capacity: {by} has no {shape} at the moment"),
        "quota" => format!("{who} waits for quota: {by} allows no more {shape}"),
        "rate_limited" => format!("{who} waits: {by} wants to be asked less often"),
        "never_fits" => format!("{who} waits: {by} never has what {shape} asks for"),
        "denied" => format!("{who} waits: {by} does not let this cluster launch {shape}"),
        "bad_config" => format!("{who} waits: {by} cannot do what [pools.{pool}] says"),
        _ => format!("{who} waits: launching {shape} failed, and nobody knows why"),
    };
    let rests = match cx.cluster.health(offering).rests {
        rests if rests > 0 && !is_for_admins(class) => {
            format!(" (the {} pause in a row)", words::ordinal(rests))
        }
        _ => String::new(),
    };
    let next = next_try(cx, class, next_ms) + &rests;
    let frame = frame.saying(headline).fact("answer", message);
    let frame = match others(cx, offering) {
        tried if tried.is_empty() => frame,
        tried => frame.fact("tried too", tried.join("; ")),
    };
    let frame = frame.fact("next try", next);
    match class {
        "no_capacity" => frame.change(format!("more types in [pools.{pool}] (admin)")),
        "quota" => frame
            .change(format!("a higher quota at {by}, or other types in [pools.{pool}] (admin)")),
        "rate_limited" | "unknown" => frame,
        "never_fits" => frame.change(format!("other types in [pools.{pool}] (admin)")),
        "denied" => frame.change(format!("the rights of this cluster at {by} (admin)")),
        _ => frame.change(format!("an admin must mend it; next look at [pools.{pool}]")),
    }
}

/// When a kind of machine that rests is tried again.
pub(super) fn next_try(cx: &Cx<'_>, class: &str, next_ms: i64) -> String {
    if is_for_admins(class) {
        return "when the configuration has changed".to_owned();
    }
    cx.clock(next_ms)
}

/// The pool's other kinds of machines that rest, too.
pub(super) fn others(cx: &Cx<'_>, offering: &OfferingKey) -> Vec<String> {
    let others = cx.cluster.meta.offerings.iter().filter(|(key, health)| {
        key.pool == offering.pool && key != offering && health.rest_until > Some(cx.now)
    });
    let words = |key| super::why_spot::kind_words(key);
    others.map(|(key, health)| format!("{}: {}", words(key), class_words(&health.class))).collect()
}

fn class_words(class: &str) -> String {
    if class.is_empty() { "failed".to_owned() } else { class.replace('_', " ") }
}

fn boots(cx: &Cx<'_>, offering: &OfferingKey, image: &str) -> BootHealth {
    cx.cluster.health(offering).boots.get(image).cloned().unwrap_or_default()
}

/// The breaker is open: nothing is tried before this moment.
pub(super) fn boots_fail(
    cx: &Cx<'_>,
    (offering, image): (&OfferingKey, &str),
    next_ms: i64,
    frame: Frame,
) -> Frame {
    let boots = boots(cx, offering, image);
    let who = frame.headline().to_owned();
    let frame = frame.saying(format!(
        "{who}: nodes of {} do not boot with image {image}; {} in a row have failed",
        offering.shape, boots.failures
    ));
    facts_of(frame, &boots)
        .fact("next try", format!("{}, one node as a trial", cx.clock(next_ms)))
        .change(format!("another image or build in [pools.{}] (admin)", offering.pool))
        .hint(hint_of(&boots))
}

/// The breaker is open, and this node is tried.
pub(super) fn canary(
    cx: &Cx<'_>,
    (offering, image): (&OfferingKey, &str),
    canary: &str,
    frame: Frame,
) -> Frame {
    let boots = boots(cx, offering, image);
    let who = frame.headline().to_owned();
    let frame = frame
        .saying(format!("{who}: {} boots in a row with image {image} have failed", boots.failures));
    let frame = frame.fact("node", room::offering_words(offering));
    let frame = match cx.cluster.node_named(canary) {
        Some(node) => frame.facts(room::booting_facts(cx, node)),
        None => frame,
    };
    facts_of(frame, &boots).hint(hint_of(&boots))
}

fn facts_of(frame: Frame, boots: &BootHealth) -> Frame {
    if boots.message.is_empty() { frame } else { frame.fact("last", boots.message.clone()) }
}

/// The message begins with the node's name.
fn hint_of(boots: &BootHealth) -> String {
    let node = boots.message.split(':').next().filter(|name| !name.is_empty());
    let node = node.unwrap_or("NODE");
    format!("pcluster node log {node}    what it said, and its console")
}

/// A launch whose call has failed and is made again: the answer, and when.
pub(super) fn launch_trouble(cx: &Cx<'_>, node: &Node) -> Vec<(String, String)> {
    let Some((error, at)) = trouble_of(cx, node) else { return Vec::new() };
    vec![
        ("answer".to_owned(), error.message.clone()),
        ("next try".to_owned(), cx.clock_seconds(cx.wall(*at))),
    ]
}

fn trouble_of<'a>(cx: &Cx<'a>, node: &Node) -> Option<&'a (LaunchError, Timestamp)> {
    let trouble = cx.cluster.volatile.launch_trouble.get(&node.launch());
    trouble.filter(|_| node.state == NodeState::Wanted)
}

/// What such a launch waits for, in a headline.
pub(super) fn launched_again(cx: &Cx<'_>, node: &Node) -> Option<String> {
    let (error, _) = trouble_of(cx, node)?;
    let by = provider(cx.cluster, &node.offering);
    Some(match error.class {
        LaunchErrorClass::RateLimited { .. } => format!("{by} wants to be asked less often"),
        _ => format!("launching {} failed, and is tried again", node.name),
    })
}
