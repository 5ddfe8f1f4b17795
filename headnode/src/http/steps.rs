//! Allocations given back, renewed and suspended, and the steps of runs.
use super::act::{Act, Acted, act};
use super::extract::Body;
use super::problem::{Failure, odd};
use crate::app::AppState;
use crate::limits;
use axum::Json;
use axum::extract::{Extension, Path, State};
use pcluster_api::{
    ActionResponse, FinishRequest, Problem, ProblemKind, StepGrant, StepPartEnd, StepRequest,
};
use pcluster_core::input::{Input, Principal, Request};
use pcluster_core::reply::Reply;
use pcluster_core::step::{self, StepAsk};
use pcluster_model::RunId;
use pcluster_views as views;
use std::time::{Duration, Instant};

/// Names and keys of steps at most, in bytes.
const NAME_BYTES: usize = 256;
/// What one part of a step can have used at most: a user says it, and sums must hold it.
const USAGE_MOST: u64 = 1 << 48;
/// Nodes of one allocation at most, for a layout that is not looked at before it is known.
const RANKS_MOST: usize = 10_000;

/// What a process can return, whatever was said.
fn code_of(said: i32) -> i32 {
    said.clamp(0, 255)
}

/// A signal there can be, whatever was said.
fn signal_of(said: i32) -> i32 {
    said.clamp(0, 64)
}

#[utoipa::path(post, path = "/v1/jobs/{id}/finish", tag = "steps", request_body = FinishRequest,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn finish(job: Act, Body(asked): Body<FinishRequest>) -> Acted {
    let (exit_code, signal) = (code_of(asked.exit_code), signal_of(asked.signal));
    job.ask(|target| Request::Finish { target, exit_code, signal }).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/renew", tag = "steps", request_body = Object,
    params(("id" = String, Path, description = "`41` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn renew(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    job.ask(Request::Renew).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/suspend", tag = "jobs", request_body = Object,
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn suspend(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    job.ask(Request::Suspend).await
}

#[utoipa::path(post, path = "/v1/jobs/{id}/resume", tag = "jobs", request_body = Object,
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn resume(job: Act, Body(_): Body<serde_json::Value>) -> Acted {
    job.ask(Request::Continue).await
}

/// Steps are kept for ever: nobody fills the head with them.
fn too_often(wait: Duration) -> Problem {
    let words = "you make more steps than are kept of one user in this time";
    Problem::new(ProblemKind::Busy, words)
        .fact("at most", format!("one each {} ms", limits::STEP_EVERY.as_millis()))
        .fact("the next one", format!("in {} ms", wait.as_millis()))
}

#[utoipa::path(post, path = "/v1/runs/{run}/steps", tag = "steps", request_body = StepRequest,
    params(("run" = u64, Path, description = "`run` of the allocation")),
    responses((status = 200, body = StepGrant), (status = "4XX", body = Problem)))]
pub(super) async fn make(
    State(app): State<AppState>,
    Extension(principal): Extension<Principal>,
    Path(run): Path<u64>,
    Body(asked): Body<StepRequest>,
) -> Result<Json<StepGrant>, Failure> {
    if asked.name.len() > NAME_BYTES
        || asked.name.chars().any(char::is_control)
        || asked.key.len() > NAME_BYTES
        || asked.tasks_by_rank.len().max(asked.gpus_by_rank.len()) > RANKS_MOST
    {
        let text =
            format!("a step has a name and a key of at most {NAME_BYTES} bytes, in one line");
        return Err(Problem::new(ProblemKind::BadRequest, text).into());
    }
    let ask = StepAsk {
        key: asked.key,
        name: asked.name,
        tasks: asked.tasks_by_rank,
        cpus_per_task: asked.cpus_per_task,
        gpus: asked.gpus_by_rank,
        overlap: asked.overlap,
    };
    let request = Request::MakeStep { run: RunId(run), ask };
    let uid = principal.uid;
    app.bounds.steps.take(uid, Instant::now()).map_err(too_often)?;
    match app.submit.ask(Input::Request { principal, request }).await? {
        Reply::StepGranted { run, step } => {
            Ok(Json(StepGrant { schema: views::schema("step"), run: run.0, step }))
        }
        Reply::Rejected(rejection) => {
            // Only what is kept counts, not asking for room again and again.
            app.bounds.steps.give_back(uid);
            Err(rejection.into())
        }
        other => Err(odd(&other)),
    }
}

#[utoipa::path(post, path = "/v1/runs/{run}/steps/{step}/end", tag = "steps",
    request_body = StepPartEnd,
    params(("run" = u64, Path, description = "`run` of the step"),
        ("step" = u32, Path, description = "its number")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn end(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Path((run, step)): Path<(u64, u32)>,
    Body(asked): Body<StepPartEnd>,
) -> Result<Json<ActionResponse>, Failure> {
    let run = RunId(run);
    let job = super::auth::job_of_run(&app.mirror.read(), run)?;
    let end = step::StepPartEnd {
        exit_code: code_of(asked.exit_code),
        signal: signal_of(asked.signal),
        user_cpu_ms: asked.user_cpu_ms.min(USAGE_MOST),
        system_cpu_ms: asked.system_cpu_ms.min(USAGE_MOST),
        max_rss_bytes: asked.max_rss_bytes.min(USAGE_MOST),
        tasks: asked.tasks.map(|tasks| step::TasksUsage {
            max_rss_task: tasks.max_rss_task,
            rss_bytes: tasks.rss_bytes.min(USAGE_MOST),
            vm_bytes: tasks.vm_bytes.min(USAGE_MOST),
            max_vm_bytes: tasks.max_vm_bytes.min(USAGE_MOST),
            max_vm_task: tasks.max_vm_task,
            min_cpu_ms: tasks.min_cpu_ms.min(USAGE_MOST),
            min_cpu_task: tasks.min_cpu_task,
        }),
        out_of_memory: asked.out_of_memory,
    };
    act(&app, who, job, Request::EndStep { run, step, rank: asked.rank, end }).await
}
