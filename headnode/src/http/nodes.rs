//! Nodes: list, one, why, log, and what admins do to them.
use super::act::{Act, Acted, act};
use super::extract::Body;
use super::problem::Failure;
use super::{auth, target};
use crate::app::AppState;
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use pcluster_api::{ActionResponse, NodeDetail, NodeList, Problem, UnloggedRequest, WhyView};
use pcluster_core::input::{Principal, Request};
use pcluster_model::config::ProviderKind;
use pcluster_model::{InstanceRef, JobId, NodeId};
use pcluster_views::{self as views, Cx};

#[utoipa::path(get, path = "/v1/nodes", tag = "nodes",
    responses((status = 200, body = NodeList), (status = "4XX", body = Problem)))]
pub(super) async fn list(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
) -> Json<NodeList> {
    let mut list = app.seen(&reader, views::node::list);
    if auth::authorize(&reader, auth::Action::ReadNode, auth::Object::Cluster).is_ok() {
        for node in list.nodes.iter_mut().filter(|node| node.state == "failed") {
            node.last_line = node.id.parse().ok().and_then(|id| app.bundles.last_line(id));
        }
    }
    Json(list)
}

#[utoipa::path(get, path = "/v1/nodes/{name}", tag = "nodes",
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = NodeDetail), (status = "4XX", body = Problem)))]
pub(super) async fn show(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Json<NodeDetail>, Failure> {
    let may_read = auth::authorize(&reader, auth::Action::ReadNode, auth::Object::Cluster).is_ok();
    let found = target::node(&app.mirror.read(), &name).map(|node| node.id);
    let id = match found {
        Ok(id) => id,
        // It has left memory; of a boot that failed more is kept.
        Err(problem) => {
            let bundle = app.bundles.find(&name).filter(|_| may_read).ok_or(problem)?;
            let last_line = bundle.last_line().map(str::to_owned);
            let mut detail = NodeDetail { log: bundle.lines(), ..bundle.detail };
            detail.node.last_line = last_line;
            return Ok(Json(detail));
        }
    };
    let log = if may_read { log_of(&app, id) } else { Vec::new() };
    let view = |cx: &Cx<'_>| {
        Ok::<_, Failure>(views::node::detail(cx, target::node(cx.cluster, &name)?, log))
    };
    let mut detail = app.seen(&reader, view)?;
    detail.node.last_line = app.bundles.last_line(id).filter(|_| may_read);
    Ok(Json(detail))
}

/// What is known of a failed boot, else what the node has said.
fn log_of(app: &AppState, id: NodeId) -> Vec<String> {
    app.bundles.get(id).map_or_else(|| app.boot_logs.last(id), |bundle| bundle.lines())
}

/// The machine of a node, and whether it lives. What is kept of a failed boot has its console already.
fn machine_of(app: &AppState, id: NodeId) -> Option<(ProviderKind, InstanceRef, bool)> {
    if app.bundles.get(id).is_some() {
        return None;
    }
    let cluster = app.mirror.read();
    let node = cluster.nodes.get(&id)?;
    Some((node.provider.clone()?, node.instance.clone()?, node.state.is_alive()))
}

#[utoipa::path(get, path = "/v1/nodes/{name}/why", tag = "nodes",
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = WhyView), (status = "4XX", body = Problem)))]
pub(super) async fn why(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Json<WhyView>, Failure> {
    let view =
        |cx: &Cx<'_>| Ok::<_, Failure>(views::why_node::node(cx, target::node(cx.cluster, &name)?));
    Ok(Json(app.seen(&reader, view)?))
}

#[utoipa::path(get, path = "/v1/nodes/{name}/log", tag = "nodes",
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The end of its boot log; of a failed boot the machine's console, too"), (status = "4XX", body = Problem)))]
pub(super) async fn log(
    State(app): State<AppState>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    // An id still names the log of a node that has left memory.
    let known = match name.strip_prefix("node:").unwrap_or(&name).parse::<NodeId>() {
        Ok(id) => Ok(id),
        Err(_) => target::node(&app.mirror.read(), &name).map(|node| node.id),
    };
    let lines = match known {
        Ok(id) => {
            let mut lines = log_of(&app, id);
            if let Some((provider, instance, lives)) = machine_of(&app, id) {
                lines.extend(app.consoles.lines(&provider, &instance, lives).await);
            }
            lines
        }
        Err(problem) => app.bundles.find(&name).ok_or(problem)?.lines(),
    };
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

#[utoipa::path(post, path = "/v1/nodes/{name}/drain", tag = "nodes", request_body = Object,
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn drain(node: Act, Body(_): Body<serde_json::Value>) -> Acted {
    node.ask_of_node(|node| Request::DrainNode { node }).await
}

#[utoipa::path(post, path = "/v1/nodes/{name}/resume", tag = "nodes", request_body = Object,
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn resume(node: Act, Body(_): Body<serde_json::Value>) -> Acted {
    node.ask_of_node(|node| Request::ResumeNode { node }).await
}

/// Machines of launches that the log does not know are decided about by an admin.
#[utoipa::path(post, path = "/v1/unlogged/adopt", tag = "nodes", request_body = UnloggedRequest,
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn adopt_unlogged(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Body(asked): Body<UnloggedRequest>,
) -> Acted {
    act(&app, who, JobId(0), Request::AdoptUnlogged { instances: named(asked) }).await
}

#[utoipa::path(post, path = "/v1/unlogged/terminate", tag = "nodes", request_body = UnloggedRequest,
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn terminate_unlogged(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Body(asked): Body<UnloggedRequest>,
) -> Acted {
    act(&app, who, JobId(0), Request::EndUnlogged { instances: named(asked) }).await
}

fn named(asked: UnloggedRequest) -> Vec<InstanceRef> {
    asked.instances.into_iter().map(InstanceRef).collect()
}

#[utoipa::path(post, path = "/v1/nodes/{name}/terminate", tag = "nodes", request_body = Object,
    params(("name" = String, Path, description = "`compute-7`, `7.0` or `node:compute-7`")),
    responses((status = 200, body = ActionResponse), (status = "4XX", body = Problem)))]
pub(super) async fn terminate(node: Act, Body(_): Body<serde_json::Value>) -> Acted {
    node.ask_of_node(|node| Request::TerminateNode { node }).await
}
