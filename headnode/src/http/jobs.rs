//! Jobs: list, one, why, wait, and what their owners do to them.
use super::act::{Act, Acted, act};
use super::extract::{Asked, Body};
use super::past;
use super::problem::Failure;
use super::target;
use crate::app::AppState;
use crate::limits;
use axum::Json;
use axum::extract::{Extension, Path, State};
use pcluster_api::{
    ActionResponse, CancelRequest, JobDetail, JobList, JobsQuery, Problem, ProblemKind,
    RequeueRequest, WaitQuery, WaitResponse, WhyView,
};
use pcluster_core::Job;
use pcluster_core::input::{JobTarget, Principal, Request};
use pcluster_model::JobId;
use pcluster_views::rows::{Filter, Listing};
use pcluster_views::{self as views, Cx};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A long poll answers at the latest after this.
const WAIT_MOST_MS: u64 = 60_000;

/// A copy of a job: from the mirror, else from the rows of what ended long ago.
///
/// # Errors
/// `NotFound`, and when the file cannot be read.
pub(super) async fn find_job(app: &AppState, id: JobId) -> Result<Job, Failure> {
    if let Some(job) = app.mirror.read().jobs.get(&id) {
        return Ok(job.clone());
    }
    let job = past::job(app, id).await?;
    job.ok_or_else(|| no_such_job(app, id).into())
}

fn no_such_job(app: &AppState, id: JobId) -> Problem {
    let problem = Problem::new(ProblemKind::NotFound, format!("there is no job {id}"));
    match app.mirror.read().jobs.keys().next_back() {
        Some(last) => problem.fact("last", format!("the newest job is {last}")),
        None => problem.fact("jobs", "nothing has been submitted yet"),
    }
    .hint("pcluster queue   pcluster history")
}

/// The job as the cluster has it now, where it still has it.
pub(super) fn newest<'a>(cx: &Cx<'a>, job: &'a Job) -> &'a Job {
    cx.cluster.jobs.get(&job.id).unwrap_or(job)
}

/// Refuses tasks that the job does not have.
fn check_tasks(job: &Job, target: &JobTarget) -> Result<(), Problem> {
    let Some(tasks) = &target.tasks else { return Ok(()) };
    let all = Job::all_indices(&job.spec);
    let missing = tasks.iter().find(|task| !job.is_array() || !all.contains(*task));
    let Some(missing) = missing else { return Ok(()) };
    let there = if job.is_array() { all.to_string() } else { "it is no array".into() };
    let text = format!("job {} has no task {missing}", job.id);
    Err(Problem::new(ProblemKind::NotFound, text).fact("tasks", there))
}

/// The job that an id names, with the tasks that are meant.
async fn named(app: &AppState, id: &str) -> Result<(Job, JobTarget), Failure> {
    let target = target::locate(&app.mirror.read(), id)?;
    let job = find_job(app, target.job).await?;
    check_tasks(&job, &target)?;
    Ok((job, target))
}

#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(JobsQuery),
    responses((status = 200, body = JobList), (status = "4XX", body = Problem)))]
pub(super) async fn list(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Asked(query): Asked<JobsQuery>,
) -> Result<Json<JobList>, Failure> {
    let ids = query.ids.as_deref().map(target::jobs).transpose()?;
    let ids = ids.map(|ids| {
        let cluster = app.mirror.read();
        let found = ids.into_iter().map(|id| target::resolved(&cluster, id));
        found.map(|target| (target.job, target.tasks)).collect()
    });
    let filter =
        Filter { all: query.all, finished: query.finished, ids, user: query.user.map(Into::into) };
    // Held until it is made: it is all in memory.
    let _making = app.bounds.lists.acquire().await;
    let mut listing = app.seen(&reader, |cx| Listing::new(cx, &filter));
    while app.seen(&reader, |cx| listing.more(cx, limits::RECORDS_AT_ONCE)) {
        tokio::task::yield_now().await;
    }
    Ok(Json(listing.done()))
}

#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = JobDetail), (status = "4XX", body = Problem)))]
pub(super) async fn show(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<JobDetail>, Failure> {
    let (job, target) = named(&app, &id).await?;
    let script = if reader.admin || reader.uid == job.owner.uid {
        let (blobs, hash) = (app.blobs.clone(), job.spec.script);
        let read = tokio::task::spawn_blocking(move || blobs.get(hash)).await;
        let bytes = read.ok().and_then(Result::ok);
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    } else {
        None
    };
    let tasks = target.tasks.as_ref();
    let view = |cx: &Cx<'_>| views::detail::of(cx, newest(cx, &job), tasks, script);
    Ok(Json(app.seen(&reader, view)))
}

#[utoipa::path(get, path = "/v1/jobs/{id}/why", tag = "jobs",
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = WhyView), (status = "4XX", body = Problem)))]
pub(super) async fn why(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<WhyView>, Failure> {
    let (job, target) = named(&app, &id).await?;
    let tasks = target.tasks.as_ref();
    Ok(Json(app.seen(&reader, |cx| views::why::job(cx, newest(cx, &job), tasks))))
}

#[utoipa::path(get, path = "/v1/jobs/{id}/wait", tag = "jobs",
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`"), WaitQuery),
    responses((status = 200, body = WaitResponse), (status = "4XX", body = Problem)))]
pub(super) async fn wait(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(id): Path<String>,
    Asked(query): Asked<WaitQuery>,
) -> Result<Json<WaitResponse>, Failure> {
    let (job, target) = named(&app, &id).await?;
    let until = Instant::now() + Duration::from_millis(query.timeout_ms.min(WAIT_MOST_MS));
    let mut changes = app.changes.clone();
    loop {
        changes.mark_unchanged();
        let ended = {
            let cluster = app.mirror.read();
            let job = cluster.jobs.get(&job.id).unwrap_or(&job);
            let tasks = target.tasks.as_ref();
            job.pending_among(tasks).is_empty() && job.live_among(tasks).is_empty()
        };
        let more = !ended && matches!(timeout_at(until, changes.changed()).await, Ok(Ok(())));
        if more {
            continue;
        }
        let tasks = target.tasks.as_ref();
        let view = |cx: &Cx<'_>| views::detail::wait(cx, newest(cx, &job), tasks);
        return Ok(Json(app.seen(&reader, view)));
    }
}

#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", request_body = CancelRequest,
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn cancel(job: Act, Body(asked): Body<CancelRequest>) -> Acted {
    let request = |target| match asked.signal {
        Some(signal) => Request::Signal { target, signal, scope: asked.scope },
        None => Request::Cancel(target),
    };
    job.ask(request).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/hold", tag = "jobs", request_body = Object,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn hold(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    job.ask(Request::Hold).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/release", tag = "jobs", request_body = Object,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn release(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    job.ask(Request::Release).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/requeue", tag = "jobs", request_body = RequeueRequest,
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn requeue(job: Act, Body(asked): Body<RequeueRequest>) -> Acted {
    let request = if asked.hold { Request::RequeueHeld } else { Request::Requeue };
    job.ask(request).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/rerun", tag = "jobs", request_body = Object,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse, description = "`job` is the new job"),
        (status = "4XX", body = Problem)))]
pub(super) async fn rerun(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    let Act { app, who, id } = job;
    let target = target::locate(&app.mirror.read(), &id)?;
    if target.tasks.is_some() {
        let problem =
            Problem::new(ProblemKind::BadRequest, "rerun takes a whole job, not tasks of it")
                .hint(format!("pcluster rerun --failed {}   pcluster requeue {id}", target.job));
        return Err(problem.into());
    }
    act(&app, who, target.job, Request::RerunFailed { job: target.job }).await
}
