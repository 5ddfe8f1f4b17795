//! What a right file costs, and why `up` would refuse it.
//!
//! Invariant: a price that nobody knows is counted as unknown, never as 0; "at most" takes the
//! dearest type of each pool. Deliberately absent: what was spent (the ledger).
use crate::{Level, Note, Origin, Parsed};
use pcluster_model::config::{Config, Pool, ProviderKind};
use pcluster_model::{MicroUsd, Price, Shape};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Of a head that shares nothing, for its state.
pub(crate) const STATE_VOLUME: u64 = 10 << 30;
/// A month for an estimate.
const HOURS_PER_MONTH: i64 = 730;

/// One thing that costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostLine {
    /// `t3.large`, `500 GB gp3`.
    pub label: String,
    /// How many nodes; `None` for the head and storage, which are there once.
    pub count: Option<u32>,
    /// Price of one per hour; `None` when nobody knows it.
    pub each: Option<Price>,
}

/// The price of a file per hour, at rest and at most, and per month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Head, storage and the nodes of `min`.
    pub rest: Vec<CostLine>,
    pub rest_per_hour: Price,
    /// How many lines of `rest` have no known price.
    pub rest_unknown: usize,
    /// Head, storage and the nodes of `max`, each of its pool's dearest type.
    pub most: Vec<CostLine>,
    pub most_per_hour: Price,
    pub most_unknown: usize,
    /// The cap, if there is one.
    pub budget: Option<MicroUsd>,
    /// What a month of "at most" costs without a cap.
    pub month: MicroUsd,
}

fn sum(lines: &[CostLine]) -> (Price, usize) {
    let known = lines
        .iter()
        .filter_map(|line| Some(line.each?.0.saturating_mul(i64::from(line.count.unwrap_or(1)))));
    let total = known.fold(0i64, i64::saturating_add);
    (Price(total), lines.iter().filter(|line| line.each.is_none()).count())
}

/// So many nodes of this shape can be there at once: `count`, or what `max_cpus` has room for.
fn at_once(pool: &Pool, shape: &Shape, count: u32) -> u32 {
    let room = pool.max_cpus.map_or(u32::MAX, |cpus| cpus / shape.total.cpus.max(1));
    count.min(room)
}

/// `count` nodes of the type that costs most, or least. A type without a price counts as dearer
/// than any other.
fn nodes(pool: &Pool, count: u32, dearest: bool) -> Option<CostLine> {
    if count == 0 {
        return None;
    }
    if pool.shapes.is_empty() {
        // Hosts of the site: they cost nothing here and have no type yet.
        let label = format!("{} host", pool.name);
        return Some(CostLine { label, count: Some(count), each: Some(Price::ZERO) });
    }
    let line = |shape: &Shape| CostLine {
        label: shape.name.clone(),
        count: Some(at_once(pool, shape, count)),
        each: shape.price,
    };
    let cost = |line: &CostLine| {
        let price = line.each.map_or(i64::MAX, |price| price.0);
        price.saturating_mul(i64::from(line.count.unwrap_or(0)))
    };
    let possible = pool.shapes.iter().map(line).filter(|line| line.count != Some(0));
    // Ties go to the first of the list; `max_by_key` would take the last.
    if dearest { possible.rev().max_by_key(cost) } else { possible.min_by_key(cost) }
}

/// What the file costs per hour at rest and at most, and in a month.
#[must_use]
pub fn check_summary(config: &Config) -> Summary {
    let fixed = config.fixed_costs.iter().map(|cost| CostLine {
        label: cost.label.clone(),
        count: None,
        each: cost.price,
    });
    let mut rest: Vec<CostLine> = fixed.collect();
    let mut most = rest.clone();
    rest.extend(config.pools.iter().filter_map(|pool| nodes(pool, pool.min, false)));
    most.extend(config.pools.iter().filter_map(|pool| nodes(pool, pool.max, true)));
    let (rest_per_hour, rest_unknown) = sum(&rest);
    let (most_per_hour, most_unknown) = sum(&most);
    Summary {
        rest,
        rest_per_hour,
        rest_unknown,
        most,
        most_per_hour,
        most_unknown,
        budget: config.budget.month,
        month: MicroUsd(most_per_hour.0.saturating_mul(HOURS_PER_MONTH)),
    }
}

/// Why `pcluster up` does not start this file, although it is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Line of the file, from 1; 0 when it is about a default.
    pub line: usize,
    /// One line without a full stop.
    pub message: String,
    pub hint: String,
}

/// The volume that a head needs which lives on a machine made for it, in bytes: what it shares, or room for
/// its state. Nothing where the head runs on this machine.
#[must_use]
pub fn head_volume(config: &Config) -> Option<u64> {
    config.head.instance_type.as_ref()?;
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for share in config.pools.iter().flat_map(Pool::shares_of_head) {
        if let Some(bytes) = share.size_bytes {
            sizes.insert(&share.path, bytes);
        }
    }
    let shared: u64 = sizes.values().sum();
    Some(if shared == 0 { STATE_VOLUME } else { shared })
}

/// Nodes of EC2 that could not reach a head on this machine, which is not in EC2 and names no address.
#[must_use]
pub fn out_of_reach(parsed: &Parsed) -> Option<Refusal> {
    let config = parsed.config.as_ref()?;
    let pool = config.pools.iter().find(|pool| pool.provider == ProviderKind::Ec2)?;
    let is_placed = config.head.instance_type.is_some();
    (config.head.address.is_none() && !is_placed).then(|| Refusal {
        line: provider_line(parsed, pool),
        message: format!("nodes of pool {} could not reach this machine: it is not in EC2", pool.name),
        hint: "head = { address = \"HEAD.EXAMPLE\" }   names what nodes can dial; or place the head in EC2:  head = { type = \"t3.medium\" }".into(),
    })
}

/// What this version must not ignore: keys that guard money or safety, and providers it lacks.
#[must_use]
pub fn up_refusals(parsed: &Parsed) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = parsed
        .inactive
        .iter()
        .filter(|key| key.up_refuses)
        .map(|key| Refusal {
            line: key.line,
            message: format!(
                "{} guards money or safety and has no effect in this version",
                key.path
            ),
            hint: format!("take {} out to start without it", key.path),
        })
        .collect();
    refusals.extend(unserved(parsed));
    refusals.sort_by_key(|refusal| refusal.line);
    refusals
}

/// What `up` refuses although every key acts: what the file asks for is not built. Keys without effect
/// have notes of their own.
#[must_use]
pub fn unserved(parsed: &Parsed) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for pool in parsed.config.iter().flat_map(|config| &config.pools) {
        let provider = pool.provider.as_str();
        if pool.provider.is_built_in() || named.contains(&provider) {
            continue;
        }
        named.push(provider);
        refusals.push(Refusal {
            line: provider_line(parsed, pool),
            message: format!("this version has no provider {provider} (pool {})", pool.name),
            hint: "provider = \"process\" runs the nodes on this machine".into(),
        });
    }
    refusals
}

/// What the head's machine must be able to do for nodes of EC2; whether it is, the file does not know.
#[must_use]
pub fn exported(parsed: &Parsed) -> Option<Note> {
    let pools = parsed.config.iter().flat_map(|config| &config.pools);
    let own = pools.flat_map(Pool::shares_of_head);
    let paths: BTreeSet<&str> = own.map(|share| share.path.as_str()).collect();
    paths.first()?;
    let paths = paths.into_iter().collect::<Vec<_>>().join(" and ");
    Some(Note {
        level: Level::Note,
        line: line_of(parsed, "storage.from"),
        text: format!(
            "EC2's instances mount {paths} from the head: it runs as root and has nfs-kernel-server"
        ),
    })
}

fn line_of(parsed: &Parsed, path: &str) -> usize {
    let value = parsed.effective.iter().find(|value| value.path == path);
    match value.map(|value| &value.origin) {
        Some(Origin::File { line } | Origin::Inherited { line, .. }) => *line,
        _ => 0,
    }
}

/// The line that gave a pool its provider.
fn provider_line(parsed: &Parsed, pool: &Pool) -> usize {
    line_of(parsed, &format!("pools.{}.provider", pool.name))
}
