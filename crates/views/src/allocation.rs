//! Where a job runs now, as those need it who start steps there.
use super::{Cx, schema};
use pcluster_api::{AllocationView, PartView, Problem, ProblemKind};
use pcluster_core::{Job, Run};
use pcluster_model::IndexRanges;
use pcluster_model::job::MemoryAsk;

/// `GET /v1/jobs/{id}/allocation`.
///
/// # Errors
/// `Refused` while the job has no nodes, and for an array of which several tasks run.
pub fn of(cx: &Cx<'_>, job: &Job, tasks: Option<&IndexRanges>) -> Result<AllocationView, Problem> {
    let live = job.live_among(tasks);
    let runs = || live.iter().filter_map(|(task, run)| Some((*task, cx.cluster.runs.get(run)?)));
    // The last task of an array to start has the array's own number: there this number means it.
    let of_that_number =
        || runs().find(|(_, run)| tasks.is_none() && job.is_array() && run.raw_job == job.id);
    let one = if live.len() == 1 { runs().next() } else { of_that_number() };
    let (task, run) = one.ok_or_else(|| not_one(job, tasks, live.len()))?;
    Ok(view(cx, job, task, run))
}

fn not_one(job: &Job, tasks: Option<&IndexRanges>, live: usize) -> Problem {
    let refused = |text: String| Problem::new(ProblemKind::Refused, text);
    if live > 1 {
        return refused(format!("{live} tasks of job {} run: one must be named", job.id))
            .hint(format!("{}_1   is its task 1", job.id));
    }
    if job.pending_among(tasks).is_empty() {
        return refused(format!("job {} has already finished", job.id));
    }
    refused(format!("job {} waits and has no nodes yet", job.id))
}

fn view(cx: &Cx<'_>, job: &Job, task: u32, run: &Run) -> AllocationView {
    let spec = job.spec_of(task);
    let user = job.owner.user.to_string();
    let parts = (0u32..).zip(&run.parts).map(|(rank, part)| PartView {
        rank,
        node: cx
            .cluster
            .nodes
            .get(&part.part.node)
            .map_or_else(|| part.part.node.to_string(), |node| node.name.clone()),
        cpus: part.part.resources.cpus,
        memory_bytes: part.part.resources.memory_bytes,
        gpus: part.part.resources.gpus,
    });
    AllocationView {
        schema: schema("allocation"),
        job: job.id.0,
        task: job.is_array().then_some(task),
        raw_job: run.raw_job.0,
        run: run.id.0,
        name: spec.name.clone(),
        account: if spec.account.is_empty() { user.clone() } else { spec.account.clone() },
        user,
        uid: job.owner.uid,
        gid: job.owner.gid,
        pool: job.pool.to_string(),
        cluster: cx.cluster.config().map(|config| config.name.clone()).unwrap_or_default(),
        started: cx.cluster.all_started(run) && !run.is_ending(),
        parts: parts.collect(),
        ntasks: spec.tasks,
        ntasks_given: spec.tasks_given,
        ntasks_per_node: spec.tasks_per_node,
        cpus_per_task: spec.cpus_per_task,
        cpus_given: spec.cpus_given,
        memory_per_cpu_bytes: match spec.memory {
            MemoryAsk::PerCpu(bytes) => Some(bytes),
            MemoryAsk::PerNode(_) | MemoryAsk::Proportional => None,
        },
        work_dir: spec.work_dir.clone(),
        time_limit_ms: run.time_limit_ms.map(|limit| limit.0),
        started_at_ms: cx.cluster.started_at(run.id).map(|at| at.0),
    }
}
