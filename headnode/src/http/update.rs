//! Changes of a job or of tasks of it: what was asked for, put into what is there.
use super::act::{Act, Acted, act};
use super::extract::Body;
use super::jobs::find_job;
use super::target;
use pcluster_api::{ActionResponse, Problem, ProblemKind, UpdateRequest};
use pcluster_core::Job;
use pcluster_core::input::{JobTarget, Request};
use pcluster_model::job::MemoryAsk;
use pcluster_model::{DurationMs, IndexRanges, JobSpec, Timestamp};

#[utoipa::path(post, path = "/v1/jobs/{id}/update", tag = "jobs", request_body = UpdateRequest,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn update(asker: Act, Body(asked): Body<UpdateRequest>) -> Acted {
    let Act { app, who, id } = asker;
    let target = target::locate(&app.mirror.read(), &id)?;
    let job = find_job(&app, target.job).await?;
    let mut said = None;
    for (tasks, old) in specifications(&job, target.tasks.as_ref()) {
        let spec = Box::new(merged(old, asked.clone())?);
        super::submit::check_texts(&spec)?;
        let target = JobTarget { job: job.id, tasks };
        let answer = act(&app, who.clone(), job.id, Request::Update { target, spec }).await?;
        said.get_or_insert(answer);
    }
    said.ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, format!("job {id} has no such task")).into()
    })
}

/// The specifications that a change of a job or of tasks of it is made to, each with whose it is:
/// a change of a whole array is one of tasks with their own, too.
fn specifications<'a>(
    job: &'a Job,
    tasks: Option<&IndexRanges>,
) -> Vec<(Option<IndexRanges>, &'a JobSpec)> {
    let open = |task: &u32| job.pending.contains(*task) || job.live.contains_key(task);
    let own = |task: &u32| job.own.specs.contains_key(task);
    let Some(tasks) = tasks else {
        let others = job.own.specs.iter().filter(|(task, _)| open(task));
        let others = others.map(|(task, spec)| (Some(IndexRanges::single(*task)), &**spec));
        return std::iter::once((None, &*job.spec)).chain(others).collect();
    };
    let alike: IndexRanges = tasks.iter().filter(|task| !own(task)).collect();
    let alike = Some(alike).filter(|tasks| !tasks.is_empty()).map(|set| (Some(set), &*job.spec));
    let others = tasks.iter().filter(own);
    let others = others.map(|task| (Some(IndexRanges::single(task)), &**job.spec_of(task)));
    alike.into_iter().chain(others).collect()
}

/// The old specification with what was asked for; what is absent stays.
fn merged(old: &JobSpec, asked: UpdateRequest) -> Result<JobSpec, Problem> {
    let mut spec = old.clone();
    put(&mut spec.name, asked.name.clone());
    put(&mut spec.priority, asked.priority);
    put(&mut spec.requeue, asked.requeue);
    put(&mut spec.spot, asked.spot);
    put(&mut spec.comment, asked.comment.clone());
    put(&mut spec.account, asked.account.clone());
    put(&mut spec.qos, asked.qos.clone());
    put(&mut spec.output, asked.output.clone());
    put(&mut spec.work_dir, asked.work_dir.clone());
    put(&mut spec.dependencies, asked.dependencies.clone());
    put(&mut spec.any_dependency, asked.any_dependency);
    if let Some(error) = &asked.error {
        spec.error = Some(error.clone());
    }
    if let Some(limit) = asked.time_limit_ms {
        spec.time_limit_ms = (limit > 0).then_some(DurationMs(limit));
    }
    if let Some(begin) = asked.begin_ms {
        spec.begin = (begin > 0).then_some(Timestamp(begin));
    }
    if let Some(deadline) = asked.deadline_ms {
        spec.deadline = (deadline > 0).then_some(Timestamp(deadline));
    }
    if let Some(throttle) = asked.throttle {
        let Some(array) = &mut spec.array else {
            let text = "only an array has a number of tasks at once";
            return Err(Problem::new(ProblemKind::Refused, text));
        };
        array.throttle = (throttle > 0).then_some(throttle);
    }
    merge_size(&mut spec, asked);
    Ok(spec)
}

fn put<T>(field: &mut T, asked: Option<T>) {
    if let Some(value) = asked {
        *field = value;
    }
}

/// What a job takes, and where.
fn merge_size(spec: &mut JobSpec, asked: UpdateRequest) {
    if let Some(bytes) = asked.memory_bytes_per_node {
        spec.memory = MemoryAsk::PerNode(bytes);
    }
    if let Some(bytes) = asked.memory_bytes_per_cpu {
        spec.memory = MemoryAsk::PerCpu(bytes);
    }
    if let Some(cpus) = asked.cpus_per_task {
        (spec.cpus_per_task, spec.cpus_given) = (cpus.max(1), true);
    }
    if let Some(pool) = asked.pool {
        spec.pools = vec![pool.into()];
    }
    if let Some(nodes) = asked.nodes {
        spec.nodes = nodes;
        if !spec.tasks_given || spec.tasks < nodes {
            spec.tasks = nodes;
        }
    }
    if let Some(tasks) = asked.tasks {
        (spec.tasks, spec.tasks_given) = (tasks, true);
    }
    if let Some(tasks) = asked.tasks_per_node {
        spec.tasks_per_node = (tasks > 0).then_some(tasks);
    }
    put(&mut spec.gpus_per_node, asked.gpus_per_node);
    put(&mut spec.exclusive, asked.exclusive);
    if let Some(features) = asked.features {
        spec.features = features;
        spec.feature_choices = asked.feature_choices.unwrap_or_default();
        spec.same_choice = asked.same_choice.unwrap_or_default();
    }
    put(&mut spec.only_nodes, asked.only_nodes);
    put(&mut spec.not_nodes, asked.not_nodes);
}
