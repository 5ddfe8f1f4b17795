//! What jobs and nodes have cost so far: closed spans exactly, open meters up to now.
//!
//! Invariant: the sum over all buckets of a node is its bill, to the micro-dollar, at any moment.
use super::Cx;
use pcluster_core::ledger::{Bucket, Charge, bill};
use pcluster_core::node::Node;
use pcluster_core::{Cluster, Job};
use pcluster_model::{DurationMs, IndexRanges, JobId, MicroUsd, Timestamp};
use std::collections::BTreeMap;

/// What jobs have cost.
#[derive(Debug, Default)]
pub struct JobCosts(BTreeMap<JobId, MicroUsd>);

/// A node that bills and whose bill is not closed.
#[must_use]
pub fn has_open_bill(cluster: &Cluster, node: &Node) -> bool {
    node.launched_at.is_some() && !cluster.ledger.spans.contains_key(&node.id)
}

/// The bill of an open node if the provider said "gone" at `now`: lines and their sum.
#[must_use]
pub fn open_bill(cluster: &Cluster, node: &Node, now: Timestamp) -> (Vec<Charge>, MicroUsd) {
    let Some(launched_at) = node.launched_at else { return (Vec::new(), MicroUsd::ZERO) };
    let zone = cluster.config().map_or(0, |config| config.zone_offset_ms);
    let minimum =
        cluster.pool(&node.offering.pool).map_or(DurationMs::ZERO, |pool| pool.minimum_billing_ms);
    let mut meter = node.meter.clone();
    meter.advance(now, zone);
    let (_, total) = bill(launched_at, now, minimum, node.price);
    let charges = meter.priced(total);
    // A meter without a reading has no line to carry the minimum: nothing is said before there is.
    let sum = charges.iter().map(|charge| charge.2).sum();
    (charges, sum)
}

/// What one node has cost so far.
#[must_use]
pub fn node_cost(cluster: &Cluster, node: &Node, now: Timestamp) -> MicroUsd {
    match cluster.ledger.spans.get(&node.id) {
        Some(span) => span.total,
        None => open_bill(cluster, node, now).1,
    }
}

/// Every line of every bill, open ones up to `now`, of nodes that lived after `since`.
pub fn each_charge(
    cluster: &Cluster,
    now: Timestamp,
    since: Timestamp,
    mut take: impl FnMut(&Charge),
) {
    for span in cluster.ledger.spans.values().filter(|span| span.ended_at >= since) {
        span.charges.iter().for_each(&mut take);
    }
    for node in cluster.nodes.values().filter(|node| has_open_bill(cluster, node)) {
        open_bill(cluster, node, now).0.iter().for_each(&mut take);
    }
}

impl JobCosts {
    /// Those of all jobs that can have cost something since `since` (their submission).
    #[must_use]
    pub fn since(cx: &Cx<'_>, since: Timestamp) -> Self {
        let mut costs = Self::default();
        each_charge(cx.cluster, cx.now, since, |charge| {
            if let Bucket::Job(job) = charge.1 {
                *costs.0.entry(job).or_default() += charge.2;
            }
        });
        costs
    }

    /// Those of one job.
    #[must_use]
    pub fn of_job(cx: &Cx<'_>, job: &Job) -> Self {
        Self::since(cx, job.submitted_at)
    }

    /// What the whole job has cost; zero when it never ran.
    #[must_use]
    pub fn get(&self, job: JobId) -> MicroUsd {
        self.0.get(&job).copied().unwrap_or_default()
    }
}

/// How a job's cost is divided among its tasks: by CPUs × time of all their runs. The ledger knows
/// jobs only; the parts add up to its sum but for rounding.
#[derive(Debug)]
pub struct TaskShares {
    total: MicroUsd,
    whole: u128,
    by_task: BTreeMap<u32, u128>,
    /// A job of one task: its cost is the job's, whatever its runs say.
    single: bool,
}

impl TaskShares {
    /// Those of these tasks (of all when `None`).
    #[must_use]
    pub fn of(cx: &Cx<'_>, job: &Job, total: MicroUsd, tasks: Option<&IndexRanges>) -> Self {
        let (mut by_task, mut whole) = (BTreeMap::new(), 0);
        let single = !job.is_array();
        if !single {
            let mut add = |task: u32, weight: u128| {
                whole += weight;
                if tasks.is_none_or(|tasks| tasks.contains(task)) {
                    *by_task.entry(task).or_default() += weight;
                }
            };
            let over = job.finished.values().filter_map(|end| end.last.as_ref()).chain(&job.past);
            for past in over {
                let span = past.ended_at.since(past.placed_at).0;
                add(past.task, u128::from(past.cpus) * u128::from(span));
            }
            for (task, run) in &job.live {
                let Some(run) = cx.cluster.runs.get(run) else { continue };
                let cpus: u32 = run.parts.iter().map(|part| part.part.resources.cpus).sum();
                let span = cx.now.since(run.placed_at).0;
                add(*task, u128::from(cpus) * u128::from(span));
            }
        }
        Self { total, whole, by_task, single }
    }

    fn part(&self, weight: u128) -> i64 {
        if self.single {
            return self.total.0;
        }
        if self.whole == 0 {
            return 0;
        }
        let total = u128::from(self.total.0.unsigned_abs());
        i64::try_from(total * weight / self.whole).unwrap_or(i64::MAX)
    }

    /// The part of one task.
    #[must_use]
    pub fn of_task(&self, task: u32) -> i64 {
        self.part(self.by_task.get(&task).copied().unwrap_or(0))
    }

    /// The part of tasks that wait again.
    #[must_use]
    pub fn of_pending(&self, job: &Job) -> i64 {
        let again = self.by_task.iter().filter(|(task, _)| job.pending.contains(**task));
        self.part(again.map(|(_, weight)| weight).sum())
    }
}
