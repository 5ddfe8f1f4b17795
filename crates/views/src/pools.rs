//! Pools with their nodes: those that are there and those that could be.
//!
//! A node that is not there has the name under which the next launch would make it, so that what
//! is shown as available and what then starts agree. Deliberately absent: money.
use super::{Cx, node, schema};
use pcluster_api::{PoolList, PoolNode, PoolRecord};
use pcluster_core::limits::ARRAY_MOST;
use pcluster_core::node::{Node, NodeState};
use pcluster_model::Shape;
use pcluster_model::config::Pool;

/// `GET /v1/pools`.
#[must_use]
pub fn list(cx: &Cx<'_>) -> PoolList {
    let config = cx.cluster.config();
    PoolList {
        schema: schema("pools"),
        cluster: config.map(|config| config.name.clone()).unwrap_or_default(),
        now_ms: cx.wall_now(),
        pools: config.map_or_else(Vec::new, |config| {
            config.pools.iter().map(|pool| record(cx, pool)).collect()
        }),
        term_grace_ms: config.map_or(0, |config| config.term_grace_ms.0),
        max_array_tasks: ARRAY_MOST as u64,
    }
}

fn record(cx: &Cx<'_>, pool: &Pool) -> PoolRecord {
    let mut nodes: Vec<PoolNode> =
        cx.cluster.living_nodes(&pool.name).map(|node| there(cx, pool, node)).collect();
    nodes.extend(possible(cx, pool));
    let limit = |limit: Option<pcluster_model::DurationMs>| limit.map(|limit| limit.0);
    PoolRecord {
        name: pool.name.to_string(),
        default: pool.default,
        max_nodes: pool.max,
        max_time_ms: limit(pool.max_time_ms),
        default_time_ms: limit(pool.default_time_ms),
        exclusive: pool.exclusive,
        features: features(pool),
        nodes,
    }
}

/// What jobs may ask for by name: shapes, architectures and GPU models of the pool.
fn features(pool: &Pool) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in pool.shapes.iter().flat_map(|shape| pool.features_of(shape)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }
    names
}

fn of_shape(pool: &Pool, shape: &Shape) -> Vec<String> {
    pool.features_of(shape).map(str::to_owned).collect()
}

fn there(cx: &Cx<'_>, pool: &Pool, node: &Node) -> PoolNode {
    PoolNode {
        name: node.name.clone(),
        // Programs that count nodes must not count one that takes no jobs.
        state: match cx.cluster.share_trouble(node) {
            Some(_) => "draining".into(),
            None => node::state_word(node).into(),
        },
        cpus: node.usable.cpus,
        cpus_used: node.held.cpus,
        memory_bytes: node.usable.memory_bytes,
        memory_used_bytes: node.held.memory_bytes,
        gpus: node.usable.gpus,
        gpus_used: node.held.gpus,
        gpu_type: node.shape.gpu_type.clone(),
        shape: node.shape.name.clone(),
        arch: node.shape.arch.clone(),
        features: of_shape(pool, &node.shape),
        booted_at_ms: node.launched_at.map(|at| at.0),
        idle_since_ms: node
            .idle_since
            .filter(|_| matches!(node.state, NodeState::Ready))
            .map(|at| cx.wall(at)),
        why: node::why_words(cx, node),
    }
}

/// As many more as the pool may have, of its first shape.
fn possible(cx: &Cx<'_>, pool: &Pool) -> Vec<PoolNode> {
    let Some(shape) = pool.shapes.first() else { return Vec::new() };
    let (mut living, mut cpus) = (0u32, 0u32);
    for node in cx.cluster.living_nodes(&pool.name) {
        living += 1;
        cpus = cpus.saturating_add(node.shape.total.cpus);
    }
    let most =
        pool.max_cpus.map_or(u32::MAX, |most| most.saturating_sub(cpus) / shape.total.cpus.max(1));
    let count = pool.max.saturating_sub(living).min(most);
    let first = cx.cluster.meta.next_numbers.get(&pool.name).copied().unwrap_or(1);
    let usable = shape.usable();
    (first..first.saturating_add(count))
        .map(|number| PoolNode {
            name: format!("{}-{number}", pool.name),
            state: "none".into(),
            cpus: usable.cpus,
            cpus_used: 0,
            memory_bytes: usable.memory_bytes,
            memory_used_bytes: 0,
            gpus: usable.gpus,
            gpus_used: 0,
            gpu_type: shape.gpu_type.clone(),
            shape: shape.name.clone(),
            arch: shape.arch.clone(),
            features: of_shape(pool, shape),
            booted_at_ms: None,
            idle_since_ms: None,
            why: None,
        })
        .collect()
}
