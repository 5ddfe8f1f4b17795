//! When something that waits will start: simple and honest, `None` when nobody can know.
use super::Cx;
use pcluster_core::event::OfferingKey;
use pcluster_core::node::Node;
use pcluster_core::plan::{Wait, may_hold};
use pcluster_core::reason::Reason;
use pcluster_core::{Cluster, Job, Run};
use pcluster_model::config::Pool;
use pcluster_model::{DurationMs, JobId, JobSpec, NodeId};

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

/// When there is room for a job that `ahead` of a pool are before: one end of what runs there for
/// each of them. A job that asks for a kind of node counts what runs on those nodes only, and only
/// those ahead of it that could take them.
#[must_use]
pub fn room_at(cx: &Cx<'_>, pool: &Pool, spec: &JobSpec, ahead: &[JobId]) -> Option<i64> {
    let is_choosy = !spec.features.is_empty()
        || !spec.feature_choices.is_empty()
        || !spec.only_nodes.is_empty()
        || !spec.not_nodes.is_empty()
        || !spec.gpu_type.is_empty();
    let suits = |spec: &JobSpec, node: &Node| !is_choosy || may_hold(pool, spec, node);
    let nodes: Vec<&Node> =
        cx.cluster.living_nodes(&pool.name).filter(|node| suits(spec, node)).collect();
    let there = |run: &&Run| run.parts.iter().any(|p| nodes.iter().any(|n| n.id == p.part.node));
    let runs = cx.cluster.runs.values().filter(there);
    let mut ends: Vec<i64> = runs.filter_map(|run| run_end(cx, run)).collect();
    ends.sort_unstable();
    let first = |id: &&JobId| {
        let other = cx.cluster.jobs.get(id);
        other.is_some_and(|other| nodes.iter().any(|node| suits(&other.spec, node)))
    };
    ends.get(ahead.iter().filter(first).count()).copied()
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
            let ahead = ahead.map_or(&[][..], Vec::as_slice);
            let place = ahead.iter().position(|id| *id == job.id).unwrap_or(0);
            let pool = cx.cluster.config()?.pool(&job.pool)?;
            room_at(cx, pool, &job.spec, &ahead[..place])
        }
        Wait::Rested { next_try, .. } | Wait::BootsFail { next_try, .. } => {
            Some(cx.wall(*next_try))
        }
        Wait::Spot { next_try, on_demand_at, .. } => {
            Some(cx.wall(on_demand_at.map_or(*next_try, |at| at.min(*next_try))))
        }
        Wait::Budget { .. }
        | Wait::Dear { .. }
        | Wait::Canary { .. }
        | Wait::NoShape
        | Wait::UserRefused { .. }
        | Wait::UnloggedMachines { .. }
        | Wait::Closing => None,
    }
}

/// When the last of these nodes is usually ready.
pub fn boots_end(cx: &Cx<'_>, nodes: &[NodeId]) -> Option<i64> {
    let ready = |id: &NodeId| {
        let node = cx.cluster.nodes.get(id)?;
        let boot = usual_boot(cx.cluster, &node.offering)?;
        Some(cx.wall(node.wanted_at + boot))
    };
    let moments: Option<Vec<i64>> = nodes.iter().map(ready).collect();
    moments?.into_iter().max()
}
