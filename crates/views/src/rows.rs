//! Rows of `queue`: jobs, live and finished tasks of arrays, and the pending rest of an array as one.
use super::money::{JobCosts, TaskShares};
use super::{Cx, merged, outcome, reason, schema, start};
use pcluster_api::{JobList, JobState, JobView};
use pcluster_core::job::TaskEnd;
use pcluster_core::reason::Reason;
use pcluster_core::{Job, Run};
use pcluster_model::{IndexRanges, JobId, JobSpec, Resources, UserName};
use std::collections::{BTreeMap, BTreeSet};

/// Which jobs are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Jobs of everybody.
    pub all: bool,
    pub finished: bool,
    /// Only these, with the tasks that are meant; finished ones too.
    pub ids: Option<Vec<(JobId, Option<IndexRanges>)>>,
    pub user: Option<UserName>,
}

/// `GET /v1/jobs`, made some jobs at a time: whoever makes it looks at the cluster anew for each lot,
/// and nobody waits for all.
pub struct Listing {
    chosen: std::collections::btree_map::IntoIter<JobId, Option<IndexRanges>>,
    finished: bool,
    costs: JobCosts,
    list: JobList,
}

impl Listing {
    #[must_use]
    pub fn new(cx: &Cx<'_>, filter: &Filter) -> Self {
        let finished = filter.finished || filter.ids.is_some();
        let (mut others, mut other_users) = (0u64, BTreeSet::new());
        let ids = filter.ids.as_deref().map(merged);
        let chosen = ids.unwrap_or_else(|| {
            let jobs = cx.cluster.jobs.values().filter(|job| finished || !job.is_finished());
            let mut chosen = BTreeMap::new();
            for job in jobs {
                let wanted = match &filter.user {
                    Some(user) => job.owner.user == *user,
                    None => filter.all || job.owner.uid == cx.reader.uid,
                };
                if wanted {
                    chosen.insert(job.id, None);
                } else {
                    others += row_count(job);
                    other_users.insert(job.owner.uid);
                }
            }
            chosen
        });
        let jobs = chosen.keys().filter_map(|id| cx.cluster.jobs.get(id));
        let first = jobs.map(|job| job.submitted_at).min().unwrap_or(cx.now);
        let costs = JobCosts::since(cx, first);
        let list = JobList {
            schema: schema("queue"),
            now_ms: cx.wall_now(),
            jobs: Vec::new(),
            others,
            other_users: other_users.len() as u64,
        };
        Self { chosen: chosen.into_iter(), finished, costs, list }
    }

    /// The rows of `most` more jobs; false when there were no more jobs.
    pub fn more(&mut self, cx: &Cx<'_>, most: usize) -> bool {
        for (id, tasks) in self.chosen.by_ref().take(most) {
            let Some(job) = cx.cluster.jobs.get(&id) else { continue };
            self.list.jobs.extend(of_job(cx, job, tasks.as_ref(), self.finished, &self.costs));
        }
        self.chosen.len() > 0
    }

    /// All of it, in order.
    #[must_use]
    pub fn done(mut self) -> JobList {
        self.list.jobs.sort_by_key(order);
        self.list
    }
}

fn row_count(job: &Job) -> u64 {
    job.live.len() as u64 + job.waiting_alike(None).len() as u64
}

/// Running first, then starting, then in the order of expected start; held last, then the finished.
fn order(row: &JobView) -> (JobState, i64, i64, u64, u32) {
    let moment = match row.state {
        JobState::Queued | JobState::Held => row.expected_start_ms.unwrap_or(i64::MAX),
        JobState::Finished => row.ended_at_ms.unwrap_or(0),
        JobState::Running | JobState::Ending | JobState::Starting => 0,
    };
    // A run that is ending is shown among those that run.
    let state = if row.state == JobState::Ending { JobState::Running } else { row.state };
    (state, moment, -row.priority, row.job, row.task.unwrap_or(0))
}

/// The rows of one job: live tasks, the pending rest, and finished tasks where asked for.
#[must_use]
pub fn of_job(
    cx: &Cx<'_>,
    job: &Job,
    tasks: Option<&IndexRanges>,
    finished: bool,
    costs: &JobCosts,
) -> Vec<JobView> {
    let shares = TaskShares::of(cx, job, costs.get(job.id), None);
    let cost = |micro: i64| cx.sees_all_of(job).then_some(micro);
    let mut rows = Vec::new();
    for (task, run) in job.live_among(tasks) {
        if let Some(run) = cx.cluster.runs.get(&run) {
            rows.push(JobView {
                cost_micro_usd: cost(shares.of_task(task)),
                ..live_row(cx, job, task, run)
            });
        }
    }
    for pending in job.waiting_alike(tasks) {
        rows.push(JobView {
            cost_micro_usd: cost(shares.of_pending(job)),
            ..pending_row(cx, job, &pending)
        });
    }
    if finished {
        let ended = job.finished.iter().filter(|(t, _)| tasks.is_none_or(|set| set.contains(**t)));
        for (task, end) in ended {
            rows.push(JobView {
                cost_micro_usd: cost(shares.of_task(*task)),
                ..finished_row(cx, job, *task, end)
            });
        }
    }
    rows
}

/// What all rows have in common that are of one specification.
fn base(cx: &Cx<'_>, job: &Job, spec: &JobSpec) -> JobView {
    let nodes = spec.nodes.max(1);
    let each = size_of(cx, job, spec);
    JobView {
        id: job.id.to_string(),
        job: job.id.0,
        task: None,
        tasks: None,
        count: 1,
        name: spec.name.clone(),
        user: job.owner.user.to_string(),
        account: spec.account.clone(),
        pool: job.pool.to_string(),
        state: JobState::Queued,
        outcome: None,
        reason: None,
        nodes,
        cpus: each.cpus.saturating_mul(nodes),
        memory_bytes: each.memory_bytes.saturating_mul(u64::from(nodes)),
        gpus: each.gpus.saturating_mul(nodes),
        attempt: 0,
        submitted_at_ms: cx.wall(job.submitted_at),
        started_at_ms: None,
        ended_at_ms: None,
        elapsed_ms: 0,
        time_limit_ms: spec.time_limit_ms.map(|limit| limit.0),
        expected_start_ms: None,
        cost_micro_usd: None,
        node_names: Vec::new(),
        priority: spec.priority,
    }
}

/// What a job that has no place yet will take of a node: on the first shape that holds it, because
/// unspecified memory is in proportion to the shape it lands on.
pub(super) fn size_of(cx: &Cx<'_>, job: &Job, spec: &JobSpec) -> Resources {
    let least = spec.least_per_node();
    let shapes = cx.cluster.pool(&job.pool).map_or(&[][..], |pool| &pool.shapes);
    let shape = shapes.iter().find(|shape| shape.usable().holds(&least));
    shape.map_or(least, |shape| spec.per_node_on(&shape.usable()))
}

/// Users see `starting` until the node has said that the run runs.
pub(super) fn live_state(cx: &Cx<'_>, run: &Run) -> JobState {
    let silent = run.parts.iter().any(|part| !cx.cluster.is_connected(part.part.node));
    if run.is_ending() || run.parts.iter().any(|part| part.end.is_some()) {
        JobState::Ending
    } else if cx.cluster.started_at(run.id).is_some()
        // After a restart of the head, what was placed before it runs until its node says more.
        || (silent && run.placed_at < cx.cluster.volatile.started_at)
    {
        JobState::Running
    } else {
        JobState::Starting
    }
}

fn live_row(cx: &Cx<'_>, job: &Job, task: u32, run: &Run) -> JobView {
    let held = run.parts.iter().fold(Resources::default(), |sum, p| sum.plus(&p.part.resources));
    let names = run.parts.iter().filter_map(|p| cx.cluster.nodes.get(&p.part.node));
    let started = cx.cluster.started_at(run.id).map(|at| at.0);
    let elapsed = started.map_or(0, |at| u64::try_from(cx.wall_now() - at).unwrap_or(0));
    JobView {
        id: job.task_label(task),
        task: job.is_array().then_some(task),
        state: live_state(cx, run),
        nodes: u32::try_from(run.parts.len()).unwrap_or(u32::MAX),
        cpus: held.cpus,
        memory_bytes: held.memory_bytes,
        gpus: held.gpus,
        attempt: run.attempt,
        started_at_ms: started,
        elapsed_ms: elapsed,
        time_limit_ms: run.time_limit_ms.map(|limit| limit.0),
        node_names: names.map(|node| node.name.clone()).collect(),
        ..base(cx, job, job.spec_of(task))
    }
}

/// What tasks that wait are, by what they wait for.
pub(super) fn waiting_state(why: &Reason) -> JobState {
    match why {
        Reason::Held { .. } => JobState::Held,
        why if reason::is_covered(why) => JobState::Starting,
        _ => JobState::Queued,
    }
}

fn pending_row(cx: &Cx<'_>, job: &Job, pending: &IndexRanges) -> JobView {
    let why = cx.cluster.reason_of(job, pending, cx.now);
    let first = pending.first().unwrap_or_default();
    let single = pending.first().filter(|_| pending.len() == 1);
    let id = match single {
        Some(task) => job.task_label(task),
        None => format!("{}_[{pending}]", job.id),
    };
    JobView {
        id,
        task: single.filter(|_| job.is_array()),
        tasks: single.is_none().then(|| pending.to_string()),
        count: pending.len() as u64,
        state: waiting_state(&why),
        reason: Some(reason::view(cx, &why)),
        expected_start_ms: start::expected_for(cx, job, &why),
        attempt: single.and_then(|task| job.numbers_of(task)).map_or(0, |numbers| numbers.attempts),
        ..base(cx, job, job.spec_of(first))
    }
}

fn finished_row(cx: &Cx<'_>, job: &Job, task: u32, end: &TaskEnd) -> JobView {
    let ended = cx.wall(end.at);
    let mut row = JobView {
        id: job.task_label(task),
        task: job.is_array().then_some(task),
        state: JobState::Finished,
        outcome: Some(outcome::view(end, cx.sees_all_of(job))),
        ended_at_ms: Some(ended),
        ..base(cx, job, job.spec_of(task))
    };
    if let Some(last) = &end.last {
        row.nodes = u32::try_from(last.nodes.len()).unwrap_or(u32::MAX);
        (row.cpus, row.memory_bytes) = (last.cpus, last.memory_bytes);
        row.attempt = last.attempt;
        row.started_at_ms = last.started_at.map(|at| at.0);
        row.elapsed_ms = last.started_at.map_or(0, |at| u64::try_from(ended - at.0).unwrap_or(0));
        row.node_names.clone_from(&last.nodes);
    }
    row
}
