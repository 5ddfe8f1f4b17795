//! A byte stream to the step daemon of one part of a run, or of a node itself.
//!
//! Invariant: only the owner of the job and admins get one; that of a node, which runs programs as
//! the agent's user, admins alone. Whoever comes to what is not their own leaves a line in the log.
//! Deliberately absent: what is said on it (`pcluster_steps` knows), and everything about steps.
use super::auth::{Action, Object, authorize};
use super::problem::Failure;
use super::target;
use crate::agents::door::{switching, upgrades};
use crate::app::AppState;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use pcluster_api::{Problem, ProblemKind, STREAM_PROTOCOL};
use pcluster_core::input::Principal;
use pcluster_core::job::Owner;
use pcluster_model::{JobId, NodeId, RunId};

#[utoipa::path(get, path = "/v1/runs/{run}/parts/{rank}/attach", tag = "steps",
    params(("run" = u64, Path, description = "A run that has not ended"),
        ("rank" = u32, Path, description = "Which of its nodes, from 0")),
    responses((status = 101, description = "A byte stream to the step daemon there follows"),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub(super) async fn attach(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Path((run, rank)): Path<(u64, u32)>,
    request: Request,
) -> Result<Response, Failure> {
    let Part { node, name, job, owner } = part(&app, &who, RunId(run), rank)?;
    if owner.uid != who.uid {
        let (by, of) = (who.user.as_str(), owner.user.as_str());
        tracing::info!(by, of, %job, run, node = name, "an admin speaks with another's step daemon");
    }
    let tell = |stream: &str| app.hub.attach(node, RunId(run), stream);
    join(&app, &who, (node, name), request, tell).await
}

#[utoipa::path(get, path = "/v1/nodes/{name}/attach", tag = "steps",
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 101, description = "A byte stream to the step daemon of the node itself \
        follows: its tasks run as the agent's user, in no job. For admins only"),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub(super) async fn attach_node(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (node, name, is_alive) = {
        let cluster = app.mirror.read();
        let node = target::node(&cluster, &name)?;
        (node.id, node.name.clone(), node.state.is_alive())
    };
    if !is_alive {
        return Err(Problem::new(ProblemKind::Refused, format!("node {name} is gone")).into());
    }
    tracing::info!(by = who.user.as_str(), uid = who.uid, node = name, "a terminal on a node");
    join(&app, &who, (node, name), request, |stream| app.hub.attach_node(node, stream)).await
}

/// Joins the client with the step daemon that `tell` asks the node for.
async fn join(
    app: &AppState,
    who: &Principal,
    (node, name): (NodeId, String),
    mut request: Request,
    tell: impl FnOnce(&str) -> bool,
) -> Result<Response, Failure> {
    if !upgrades(&request, STREAM_PROTOCOL) {
        let words = format!("this is a stream: ask with `Upgrade: {STREAM_PROTOCOL}`");
        return Err(Problem::new(ProblemKind::BadRequest, words).into());
    }
    let away = |why: String| {
        Failure::from(Problem::new(ProblemKind::Unavailable, format!("node {name}: {why}")))
    };
    let expected = app.streams.expect(node, who.uid).ok_or_else(|| {
        Problem::new(ProblemKind::Unavailable, "as many streams are open as the head carries")
    })?;
    if !tell(expected.name()) {
        return Err(away("it is not connected now".into()));
    }
    let joined = expected.join(hyper::upgrade::on(&mut request)).await;
    joined.map_err(|error| away(error.to_string()))?;
    Ok(switching(STREAM_PROTOCOL))
}

/// A part of a living run.
struct Part {
    node: NodeId,
    name: String,
    job: JobId,
    owner: Owner,
}

/// A part of a living run of which this is the owner.
fn part(app: &AppState, who: &Principal, run: RunId, rank: u32) -> Result<Part, Problem> {
    let cluster = app.mirror.read();
    let none = |words: String| {
        Problem::new(ProblemKind::NotFound, words).hint("runs that have ended have no streams")
    };
    let known = cluster.runs.get(&run).ok_or_else(|| none(format!("there is no run {run}")))?;
    let job = cluster.jobs.get(&known.job);
    let job = job.ok_or_else(|| none(format!("there is no run {run}")))?;
    authorize(who, Action::ChangeJob, Object::Job { id: job.id, owner: &job.owner })?;
    let index = usize::try_from(rank).unwrap_or(usize::MAX);
    let part = known.parts.get(index);
    let node = part.ok_or_else(|| none(format!("run {run} has no part {rank}")))?.part.node;
    let name = cluster.nodes.get(&node).map(|node| node.name.clone());
    let name = name.unwrap_or_else(|| node.to_string());
    Ok(Part { node, name, job: job.id, owner: job.owner.clone() })
}
