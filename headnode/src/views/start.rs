//! When something that waits will start: simple and honest, `None` when nobody can know.
use super::Cx;
use pcluster_core::event::OfferingKey;
use pcluster_core::node::Node;
use pcluster_core::plan::Wait;
use pcluster_core::reason::Reason;
use pcluster_core::{Cluster, Job, Run};
use pcluster_model::{DurationMs, NodeId, PoolName};

/// How long nodes of this offering usually take from the wish to ready: the median of those in
/// memory; of its pool where the offering has none.
#[must_use]
pub fn usual_boot(cluster: &Cluster, offering: &OfferingKey) -> Option<DurationMs> {
    let spans = |same: &dyn Fn(&Node) -> bool| {
        let mut spans: Vec<DurationMs> = cluster
            .nodes
            .values()
            .filter(|node| same(node))
            .filter_map(|node| Some(node.ready_at?.since(node.wanted_at)))
            .collect();
        spans.sort_unstable();
        spans.get(spans.len() / 2).copied()
    };
    spans(&|node| node.offering == *offering)
        .or_else(|| spans(&|node| node.offering.pool == offering.pool))
}

/// Wall-clock moment at which a run ends at the latest; `None` without a limit.
#[must_use]
pub fn run_end(cx: &Cx<'_>, run: &Run) -> Option<i64> {
    let limit = run.time_limit_ms?;
    let start = cx.cluster.started_at(run.id).map_or_else(|| cx.wall(run.placed_at), |at| at.0);
    Some(start.saturating_add(i64::try_from(limit.0).ok()?))
}

/// Latest ends of what runs in a pool, earliest first.
#[must_use]
pub fn ends_in_pool(cx: &Cx<'_>, pool: &PoolName) -> Vec<(i64, u64)> {
    let in_pool = |run: &&Run| {
        let node = run.parts.first().and_then(|part| cx.cluster.nodes.get(&part.part.node));
        node.is_some_and(|node| node.offering.pool == *pool)
    };
    let mut ends: Vec<(i64, u64)> = cx
        .cluster
        .runs
        .values()
        .filter(in_pool)
        .filter_map(|run| Some((run_end(cx, run)?, run.job.0)))
        .collect();
    ends.sort_unstable();
    ends
}

/// Expected start of the pending tasks of a job, wall clock.
#[must_use]
pub fn expected(cx: &Cx<'_>, job: &Job) -> Option<i64> {
    expected_for(cx, job, &cx.cluster.reason(job, cx.now))
}

/// As `expected`, when the reason is known.
#[must_use]
pub fn expected_for(cx: &Cx<'_>, job: &Job, reason: &Reason) -> Option<i64> {
    let at = match reason {
        Reason::Held { .. } | Reason::DependencyNever(_) | Reason::Waits(None) => return None,
        Reason::Begin { at } => at.0,
        Reason::Dependency(state) => {
            dependency_end(cx, cx.cluster.jobs.get(&state.dependency.job)?)?
        }
        Reason::Throttle { .. } => {
            let runs = job.live.values().filter_map(|run| cx.cluster.runs.get(run));
            runs.filter_map(|run| run_end(cx, run)).min()?
        }
        Reason::Waits(Some(wait)) => wait_end(cx, job, wait)?,
    };
    Some(at.max(cx.wall_now()))
}

/// When every task of a job has ended at the latest; `None` while some still wait for a place.
fn dependency_end(cx: &Cx<'_>, other: &Job) -> Option<i64> {
    if !other.pending.is_empty() {
        return None;
    }
    let runs = other.live.values().map(|run| cx.cluster.runs.get(run));
    let ends: Option<Vec<i64>> = runs.map(|run| run_end(cx, run?)).collect();
    ends?.into_iter().max()
}

fn wait_end(cx: &Cx<'_>, job: &Job, wait: &Wait) -> Option<i64> {
    match wait {
        Wait::NodeBoots { nodes } => boots_end(cx, nodes),
        Wait::NodeWanted { offering } => {
            let boot = usual_boot(cx.cluster, offering)?;
            Some(cx.wall(cx.now + boot))
        }
        Wait::PoolMax { .. } | Wait::Turn { .. } | Wait::NotReached => {
            let ahead = cx.cluster.volatile.report.ahead.get(&job.pool);
            let place = ahead.and_then(|ahead| ahead.iter().position(|id| *id == job.id));
            ends_in_pool(cx, &job.pool).get(place.unwrap_or(0)).map(|(at, _)| *at)
        }
        Wait::Rested { next_try, .. } => Some(cx.wall(*next_try)),
        Wait::Budget { .. } | Wait::Canary { .. } | Wait::NoShape | Wait::Closing => None,
    }
}

/// When the last of these nodes is usually ready.
fn boots_end(cx: &Cx<'_>, nodes: &[NodeId]) -> Option<i64> {
    let ready = |id: &NodeId| {
        let node = cx.cluster.nodes.get(id)?;
        let boot = usual_boot(cx.cluster, &node.offering)?;
        Some(cx.wall(node.wanted_at + boot))
    };
    let moments: Option<Vec<i64>> = nodes.iter().map(ready).collect();
    moments?.into_iter().max()
}
