//! Every field of `sinfo`: its letter for `-o`, its name for `-O`, its heading, its value, and
//! whether nodes that differ in it stand on lines of their own.
//!
//! Invariant: the table is complete. Deliberately absent: what this cluster does not know about its
//! nodes (load, free memory), which shows as Slurm shows it for nodes that do not tell.
use super::Group;
use crate::words::{NodeState, clock, hosts, size};
use pcluster_api::PoolNode;

/// When a difference in this field parts nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    Never,
    Always,
    /// With `-e` only; otherwise a line shows the least, and `+` for more.
    Exact,
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// For `-O`, in lower case.
    pub name: &'static str,
    /// For `-o`; a space where it has none.
    pub letter: char,
    pub heading: &'static str,
    pub parts: Parts,
    pub value: fn(&Group<'_>) -> String,
}

const fn f(
    name: &'static str,
    letter: char,
    heading: &'static str,
    parts: Parts,
    value: fn(&Group<'_>) -> String,
) -> Field {
    Field { name, letter, heading, parts, value }
}

use Parts::{Always, Exact, Never};

/// The least of the nodes, with `+` where others have more.
fn least(group: &Group<'_>, of: fn(&PoolNode) -> u64) -> String {
    let least = group.nodes.iter().map(|node| of(node)).min().unwrap_or(0);
    let most = group.nodes.iter().map(|node| of(node)).max().unwrap_or(0);
    if least == most { least.to_string() } else { format!("{least}+") }
}

fn memory(node: &PoolNode) -> u64 {
    size::mebibytes(node.memory_bytes)
}

fn cpus(node: &PoolNode) -> u64 {
    u64::from(node.cpus)
}

fn state(group: &Group<'_>) -> Option<NodeState> {
    group.nodes.first().map(|node| NodeState::of(node))
}

fn state_words(group: &Group<'_>, words: fn(NodeState) -> &'static str) -> String {
    state(group).map_or("n/a", words).to_owned()
}

fn names(group: &Group<'_>) -> String {
    let names: Vec<String> = group.nodes.iter().map(|node| node.name.clone()).collect();
    hosts::fold_sorted(&names)
}

fn limit(ms: Option<u64>, none: &str) -> String {
    let seconds = ms.filter(|ms| *ms > 0).and_then(|ms| i64::try_from(ms / 1000).ok());
    seconds.map_or_else(|| none.to_owned(), clock::short_span)
}

/// Allocated, idle, other, all.
fn nodes_by_use(group: &Group<'_>) -> [usize; 4] {
    let count = |is: fn(NodeState) -> bool| {
        group.nodes.iter().filter(|node| is(NodeState::of(node))).count()
    };
    let allocated = count(NodeState::is_allocated);
    let other = count(|state| state.is_out() && !state.is_allocated());
    [allocated, group.nodes.len() - allocated - other, other, group.nodes.len()]
}

/// Allocated, idle, other, all.
fn cpus_by_use(group: &Group<'_>) -> [u64; 4] {
    let mut out = [0; 4];
    for node in &group.nodes {
        let (used, all) = (u64::from(node.cpus_used.min(node.cpus)), u64::from(node.cpus));
        out[0] += used;
        out[if NodeState::of(node).is_out() { 2 } else { 1 }] += all - used;
        out[3] += all;
    }
    out
}

fn slashed<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")
}

/// `gpu:a10g:2`.
#[must_use]
pub fn gres(node: &PoolNode, count: u32) -> String {
    match (node.gpus, node.gpu_type.as_str()) {
        (0, _) => "(null)".to_owned(),
        (_, "") => format!("gpu:{count}"),
        (_, kind) => format!("gpu:{kind}:{count}"),
    }
}

/// What jobs may ask for by name.
#[must_use]
pub fn features(node: &PoolNode) -> String {
    if node.features.is_empty() { "(null)".to_owned() } else { node.features.join(",") }
}

fn first(group: &Group<'_>, of: impl Fn(&PoolNode) -> String) -> String {
    group.nodes.first().map_or_else(|| "n/a".to_owned(), |node| of(node))
}

fn reason(group: &Group<'_>) -> String {
    first(group, |node| match &node.why {
        Some(why) if NodeState::of(node).is_out() => why.clone(),
        _ => "none".to_owned(),
    })
}

fn word(text: &'static str) -> String {
    text.to_owned()
}

/// All of them.
pub const FIELDS: &[Field] = &[
    f("available", 'a', "AVAIL", Always, |_| word("up")),
    f("nodeai", 'A', "NODES(A/I)", Never, |g| slashed(&nodes_by_use(g)[..2])),
    f("features_act", 'b', "ACTIVE_FEATURES", Always, |g| first(g, features)),
    f("maxcpuspernode", 'B', "MAX_CPUS_PER_NODE", Always, |_| word("UNLIMITED")),
    f("cpus", 'c', "CPUS", Exact, |g| least(g, cpus)),
    f("cpusstate", 'C', "CPUS(A/I/O/T)", Never, |g| slashed(&cpus_by_use(g))),
    f("disk", 'd', "TMP_DISK", Exact, |g| least(g, |_| 0)),
    f("nodes", 'D', "NODES", Never, |g| g.nodes.len().to_string()),
    f("freemem", 'e', "FREE_MEM", Exact, |_| word("N/A")),
    f("reason", 'E', "REASON", Always, reason),
    f("features", 'f', "AVAIL_FEATURES", Always, |g| first(g, features)),
    f("nodeaiot", 'F', "NODES(A/I/O/T)", Never, |g| slashed(&nodes_by_use(g))),
    f("groups", 'g', "GROUPS", Always, |_| word("all")),
    f("gres", 'G', "GRES", Always, |g| first(g, |node| gres(node, node.gpus))),
    f("oversubscribe", 'h', "OVERSUBSCRIBE", Always, oversubscribe),
    f("timestamp", 'H', "TIMESTAMP", Always, |_| word("Unknown")),
    f("reservation", 'i', "RESERVATION", Always, |_| String::new()),
    f("priorityjobfactor", 'I', "PRIO_JOB_FACTOR", Always, |_| word("1")),
    f("time", 'l', "TIMELIMIT", Always, |g| limit(g.pool.max_time_ms, "infinite")),
    f("defaulttime", 'L', "DEFAULTTIME", Always, |g| limit(g.pool.default_time_ms, "n/a")),
    f("memory", 'm', "MEMORY", Exact, |g| least(g, memory)),
    f("preemptmode", 'M', "PREEMPT_MODE", Always, |_| word("OFF")),
    f("nodehost", 'n', "HOSTNAMES", Always, names),
    f("nodelist", 'N', "NODELIST", Never, names),
    f("nodeaddr", 'o', "NODE_ADDR", Always, names),
    f("cpusload", 'O', "CPU_LOAD", Exact, |_| word("N/A")),
    f("prioritytier", 'p', "PRIO_TIER", Always, |_| word("1")),
    f("partition", 'P', "PARTITION", Always, |g| {
        format!("{}{}", g.pool.name, if g.pool.default { "*" } else { "" })
    }),
    f("root", 'r', "ROOT", Always, |_| word("no")),
    f("partitionname", 'R', "PARTITION", Always, |g| g.pool.name.clone()),
    f("size", 's', "JOB_SIZE", Always, |_| word("1-infinite")),
    f("allocnodes", 'S', "ALLOCNODES", Always, |_| word("all")),
    f("statecompact", 't', "STATE", Always, |g| state_words(g, NodeState::compact)),
    f("statelong", 'T', "STATE", Always, |g| state_words(g, NodeState::long)),
    f("statecomplete", ' ', "STATECOMPLETE", Always, |g| {
        state_words(g, NodeState::complete).to_lowercase()
    }),
    f("user", 'u', "USER", Always, |_| word("Unknown")),
    f("userlong", 'U', "USER", Always, |_| word("Unknown")),
    f("version", 'v', "VERSION", Always, |_| super::version()),
    f("cluster", 'V', "CLUSTER", Always, |g| g.cluster.to_owned()),
    f("weight", 'w', "WEIGHT", Exact, |g| least(g, |_| 1)),
    f("sockets", 'X', "SOCKETS", Exact, |g| least(g, |_| 1)),
    f("cores", 'Y', "CORES", Exact, |g| least(g, cpus)),
    f("threads", 'Z', "THREADS", Exact, |g| least(g, |_| 1)),
    f("socketcorethread", 'z', "S:C:T", Exact, |g| format!("1:{}:1", least(g, cpus))),
    f("allocmem", ' ', "ALLOCMEM", Never, |g| {
        let used = g.nodes.last().map_or(0, |node| node.memory_used_bytes);
        size::mebibytes(used).to_string()
    }),
    f("comment", ' ', "COMMENT", Always, |_| word("(null)")),
    f("extra", ' ', "EXTRA", Always, |_| word("(null)")),
    f("gresused", ' ', "GRES_USED", Always, |g| first(g, |node| gres(node, node.gpus_used))),
    f("port", ' ', "PORT", Always, |_| word("0")),
    f("share", ' ', "OVERSUBSCRIBE", Always, oversubscribe),
];

fn oversubscribe(group: &Group<'_>) -> String {
    word(if group.pool.exclusive { "EXCLUSIVE" } else { "NO" })
}

/// The field of a letter.
#[must_use]
pub fn by_letter(letter: char) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.letter == letter && letter != ' ')
}

/// The field of a name in lower case.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}
