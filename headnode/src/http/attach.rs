//! A byte stream to the step daemon of one part of a run.
//!
//! Invariant: only the owner of the job and admins get one. Deliberately absent: what is said on it
//! (`pcluster_steps` knows), and everything about steps.
use super::auth::{Action, Object, authorize};
use super::problem::Failure;
use crate::agents::door::{switching, upgrades};
use crate::app::AppState;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use pcluster_api::{Problem, ProblemKind, STREAM_PROTOCOL};
use pcluster_core::input::Principal;
use pcluster_model::{NodeId, RunId};

#[utoipa::path(get, path = "/v1/runs/{run}/parts/{rank}/attach", tag = "steps",
    params(("run" = u64, Path, description = "A run that has not ended"),
        ("rank" = u32, Path, description = "Which of its nodes, from 0")),
    responses((status = 101, description = "A byte stream to the step daemon there follows"),
        (status = "4XX", body = Problem), (status = 503, body = Problem)))]
pub(super) async fn attach(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Path((run, rank)): Path<(u64, u32)>,
    mut request: Request,
) -> Result<Response, Failure> {
    let (node, name) = part(&app, &who, RunId(run), rank)?;
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
    if !app.hub.attach(node, RunId(run), expected.name()) {
        return Err(away("it is not connected now".into()));
    }
    let joined = expected.join(hyper::upgrade::on(&mut request)).await;
    joined.map_err(|error| away(error.to_string()))?;
    Ok(switching(STREAM_PROTOCOL))
}

/// The node of a part of a living run of which this is the owner.
fn part(
    app: &AppState,
    who: &Principal,
    run: RunId,
    rank: u32,
) -> Result<(NodeId, String), Problem> {
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
    Ok((node, name.unwrap_or_else(|| node.to_string())))
}
