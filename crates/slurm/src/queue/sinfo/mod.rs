//! `sinfo`: pools and their nodes become lines.
//!
//! Invariant: nodes of a pool share a line exactly when every field of the format says the same of
//! them. Deliberately absent: reservations and hidden partitions (there are none).
pub mod fields;
mod wanted;

pub use wanted::Wanted;

use crate::json;
use crate::words::columns::{Cell, Format, in_fours};
use crate::words::{Clock, NodeState, hosts};
use fields::{Field, Parts};
use pcluster_api::{PoolList, PoolNode, PoolRecord};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Nodes of one pool that share a line.
#[derive(Debug)]
pub struct Group<'a> {
    pub cluster: &'a str,
    pub pool: &'a PoolRecord,
    pub nodes: Vec<&'a PoolNode>,
}

/// `23.11.10`.
#[must_use]
pub fn version() -> String {
    crate::VERSION.rsplit(' ').next().unwrap_or_default().to_owned()
}

type Columns = Format<&'static Field>;

/// The page: headline and lines.
#[must_use]
pub fn page(list: &PoolList, wanted: &Wanted, clock: &Clock) -> String {
    if wanted.reservations {
        return "No reservations in the system\n".to_owned();
    }
    let (format, _) = columns(list, wanted);
    let mut out = String::new();
    if wanted.header && wanted.long {
        out.push_str(&format!("{}\n", clock.clone().at(list.now_ms).headline()));
    }
    if wanted.header {
        out.push_str(&format.line(|field| Cell::from(field.heading)));
    }
    for group in groups(list, wanted, &format) {
        out.push_str(&format.line(|field| Cell::from((field.value)(&group))));
    }
    out
}

/// What to say about fields that are none, which is no reason to fail.
#[must_use]
pub fn complaints(list: &PoolList, wanted: &Wanted) -> String {
    let said = |word: String| format!("Invalid node format specification: {word}\n");
    columns(list, wanted).1.into_iter().map(said).collect()
}

/// The names of all fields, four in a line.
#[must_use]
pub fn help_format() -> String {
    let names: Vec<&str> = fields::FIELDS.iter().map(|field| field.name).collect();
    in_fours(&names)
}

/// The answer as JSON: lines by partition, state and size, and beside them (as before 23.11) nodes.
#[must_use]
pub fn data(list: &PoolList, wanted: &Wanted, clock: &Clock, command: &[String]) -> String {
    let (format, _) = Format::letters("%P %t %c %m %G %f %E", fields::by_letter);
    let wanted = Wanted { exact: true, ..wanted.clone() };
    let groups = groups(list, &wanted, &format);
    let lines = groups.iter().map(json::group).collect();
    let clock = clock.clone().at(list.now_ms);
    let nodes = nodes_once(list)
        .into_iter()
        .filter(|(node, _)| is_wanted(&wanted, node))
        .map(|(node, partitions)| json::node(node, &partitions, &list.cluster, &clock))
        .collect();
    json::answer(&list.cluster, command, vec![("sinfo", lines), ("nodes", nodes)])
}

/// Every node once, with the names of the partitions that it is in.
#[must_use]
pub fn nodes_once(list: &PoolList) -> Vec<(&PoolNode, Vec<&str>)> {
    let mut known: Vec<(&PoolNode, Vec<&str>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for pool in &list.pools {
        for node in &pool.nodes {
            match places.get(node.name.as_str()) {
                Some(at) => known[*at].1.push(&pool.name),
                None => {
                    places.insert(&node.name, known.len());
                    known.push((node, vec![&pool.name]));
                }
            }
        }
    }
    known
}

/// The columns, where `#` of a built-in format is the width that the longest name needs.
fn columns(list: &PoolList, wanted: &Wanted) -> (Columns, Vec<String>) {
    let text = |letters: &str| {
        let star = |pool: &PoolRecord| pool.name.chars().count() + usize::from(pool.default);
        let pools = list.pools.iter().map(star).max().unwrap_or(0).max(9);
        let names = list.pools.iter().flat_map(|pool| &pool.nodes);
        let nodes = names.map(|node| node.name.chars().count()).max().unwrap_or(0).max(9);
        letters.replace("#P", &format!("{pools}P")).replace("#N", &format!("{nodes}N"))
    };
    match &wanted.names {
        Some(names) => Format::names(names, fields::by_name),
        None if wanted.letters.eq_ignore_ascii_case("%all") => {
            let all: Vec<String> = ('a'..='z')
                .chain('A'..='Z')
                .filter(|letter| fields::by_letter(*letter).is_some())
                .map(|letter| format!("%{letter}"))
                .collect();
            (Format::letters(&all.join("|"), fields::by_letter).0, Vec::new())
        }
        None => {
            let (format, unknown) = Format::letters(&text(&wanted.letters), fields::by_letter);
            (format, unknown.into_iter().map(String::from).collect())
        }
    }
}

fn is_wanted(wanted: &Wanted, node: &PoolNode) -> bool {
    let state = NodeState::of(node);
    let named = wanted.nodes.as_ref().is_none_or(|names| names.contains(&node.name));
    let in_state = |word: &String| {
        // `drain&idle`: all of them.
        word.split('&').all(|part| state.is_meant(part).unwrap_or(false))
    };
    let states = wanted.states.as_ref().is_none_or(|states| states.iter().any(in_state));
    let responds = match (wanted.dead, wanted.responding) {
        (true, _) => state == NodeState::Down,
        (_, true) => state != NodeState::Down,
        _ => true,
    };
    let told = !wanted.reasons || (node.why.is_some() && state.is_out());
    named && states && responds && told
}

fn groups<'a>(list: &'a PoolList, wanted: &Wanted, format: &Columns) -> Vec<Group<'a>> {
    let parts = |field: &&&'static Field| match field.parts {
        Parts::Never => false,
        Parts::Always => true,
        Parts::Exact => wanted.exact,
    };
    let parting: Vec<&Field> = format.fields().filter(parts).copied().collect();
    let key = |group: &Group<'_>| -> Vec<String> {
        let mut key: Vec<String> = parting.iter().map(|field| (field.value)(group)).collect();
        if wanted.by_node {
            key.extend(group.nodes.first().map(|node| node.name.clone()));
        }
        key
    };
    let mut found: Vec<(Vec<String>, Group<'a>)> = Vec::new();
    let in_partition = |pool: &&PoolRecord| {
        wanted.partitions.as_ref().is_none_or(|names| names.contains(&pool.name))
    };
    for pool in list.pools.iter().filter(in_partition) {
        let nodes: Vec<&PoolNode> =
            pool.nodes.iter().filter(|node| is_wanted(wanted, node)).collect();
        let alone = |nodes| Group { cluster: &list.cluster, pool, nodes };
        if nodes.is_empty() {
            if pool.nodes.is_empty() && wanted.shows_empty() {
                let group = alone(Vec::new());
                found.push((key(&group), group));
            }
            continue;
        }
        for node in nodes {
            let group = alone(vec![node]);
            let key = key(&group);
            match found.iter_mut().find(|(known, group)| *known == key && !group.nodes.is_empty()) {
                // A node that is in two partitions is one node.
                Some((_, group)) if group.nodes.iter().any(|known| known.name == node.name) => {}
                Some((_, group)) => group.nodes.push(node),
                None => found.push((key, group)),
            }
        }
    }
    let mut groups: Vec<Group<'a>> = found.into_iter().map(|(_, group)| group).collect();
    order(&mut groups, list, wanted);
    groups
}

/// Partitions as configured, then states from the highest; by node where nodes have their lines.
fn order(groups: &mut [Group<'_>], list: &PoolList, wanted: &Wanted) {
    let place = |group: &Group<'_>| list.pools.iter().position(|pool| pool.name == group.pool.name);
    let default = if wanted.by_node { "N" } else { "#P,-t" };
    let mut keys: Vec<(char, bool, bool)> = Vec::new();
    let (mut down, mut placed) = (false, false);
    for c in wanted.sort.as_deref().unwrap_or(default).chars() {
        match c {
            '-' => down = true,
            '#' => placed = true,
            '+' | ',' | ' ' => (down, placed) = (false, false),
            letter => {
                keys.push((letter, down, placed));
                (down, placed) = (false, false);
            }
        }
    }
    groups.sort_by(|a, b| {
        let compared = |(letter, down, placed): &(char, bool, bool)| {
            let order = match letter {
                'P' | 'R' if *placed => place(a).cmp(&place(b)),
                't' | 'T' => state_of(a).cmp(&state_of(b)),
                'N' | 'n' | 'o' => by_name(a, b),
                'D' => a.nodes.len().cmp(&b.nodes.len()),
                'c' | 'Y' => {
                    least(a, |node| node.cpus.into()).cmp(&least(b, |node| node.cpus.into()))
                }
                'm' => least(a, |node| node.memory_bytes).cmp(&least(b, |node| node.memory_bytes)),
                letter => match fields::by_letter(*letter) {
                    Some(field) => (field.value)(a).cmp(&(field.value)(b)),
                    None => Ordering::Equal,
                },
            };
            if *down { order.reverse() } else { order }
        };
        keys.iter().map(compared).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

fn state_of(group: &Group<'_>) -> Option<NodeState> {
    group.nodes.first().map(|node| NodeState::of(node))
}

fn least(group: &Group<'_>, of: fn(&PoolNode) -> u64) -> Option<u64> {
    group.nodes.iter().map(|node| of(node)).min()
}

fn by_name(a: &Group<'_>, b: &Group<'_>) -> Ordering {
    let (Some(a), Some(b)) = (a.nodes.first(), b.nodes.first()) else {
        return a.nodes.len().cmp(&b.nodes.len());
    };
    if a.name == b.name {
        return Ordering::Equal;
    }
    let mut pair = [a.name.as_str(), b.name.as_str()];
    hosts::sort(&mut pair);
    if pair[0] == a.name { Ordering::Less } else { Ordering::Greater }
}

#[cfg(test)]
mod tests;
