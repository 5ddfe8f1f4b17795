//! The HTTP interface: routes of `/v1/…` over the mirror, the files and the inbox.
//!
//! Invariant: no handler runs before [`auth::authorize`] has said yes for its route's action; reads
//! never enter the inbox; no lock is held while something is awaited or written. Deliberately
//! absent: sockets and who the caller is (the server puts the `Principal` into each request).
mod act;
mod answer;
mod attach;
mod auth;
mod cluster;
mod events;
mod extract;
mod jobs;
mod nodes;
mod openapi;
mod output;
mod past;
mod problem;
mod records;
mod steps;
mod submit;
mod target;
mod update;

#[cfg(test)]
mod tests;

use crate::app::AppState;
use auth::Action;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, RawPathParams, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use pcluster_api::{MAX_BODY_BYTES, Problem, ProblemKind};
use pcluster_core::input::Principal;
use problem::Failure;

/// One route, with what it takes to be let in.
struct Route {
    /// That of `handler`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the document"))]
    method: Method,
    path: &'static str,
    action: Action,
    handler: MethodRouter<AppState>,
}

fn read(path: &'static str, action: Action, handler: MethodRouter<AppState>) -> Route {
    Route { method: Method::GET, path, action, handler }
}

fn write(path: &'static str, action: Action, handler: MethodRouter<AppState>) -> Route {
    Route { method: Method::POST, path, action, handler }
}

/// Every route there is. A handler that is not here cannot be reached.
fn routes() -> Vec<Route> {
    use Action as A;
    vec![
        write("/v1/jobs", A::Submit, post(submit::submit)),
        read("/v1/jobs", A::SeeCluster, get(jobs::list)),
        read("/v1/jobs/{id}", A::SeeJob, get(jobs::show)),
        read("/v1/jobs/{id}/why", A::SeeJob, get(jobs::why)),
        read("/v1/jobs/{id}/wait", A::SeeJob, get(jobs::wait)),
        read("/v1/jobs/{id}/allocation", A::ReadJob, get(records::allocation)),
        read("/v1/records", A::SeeCluster, get(records::records)),
        read("/v1/pools", A::SeeCluster, get(records::pools)),
        read("/v1/jobs/{id}/output", A::ReadJob, get(output::output)),
        write("/v1/jobs/{id}/cancel", A::ChangeJob, post(jobs::cancel)),
        write("/v1/jobs/{id}/hold", A::ChangeJob, post(jobs::hold)),
        write("/v1/jobs/{id}/release", A::ChangeJob, post(jobs::release)),
        write("/v1/jobs/{id}/requeue", A::ChangeJob, post(jobs::requeue)),
        write("/v1/jobs/{id}/suspend", A::ChangeCluster, post(steps::suspend)),
        write("/v1/jobs/{id}/resume", A::ChangeCluster, post(steps::resume)),
        write("/v1/jobs/{id}/finish", A::ChangeJob, post(steps::finish)),
        write("/v1/jobs/{id}/renew", A::ChangeJob, post(steps::renew)),
        write("/v1/runs/{run}/steps", A::ChangeJob, post(steps::make)),
        write("/v1/runs/{run}/steps/{step}/end", A::ChangeJob, post(steps::end)),
        write("/v1/jobs/{id}/update", A::ChangeJob, post(update::update)),
        write("/v1/jobs/{id}/rerun", A::ChangeJob, post(jobs::rerun)),
        // Whose run it is, the handler looks at itself.
        read("/v1/runs/{run}/parts/{rank}/attach", A::ChangeJob, get(attach::attach)),
        read("/v1/nodes", A::SeeCluster, get(nodes::list)),
        read("/v1/nodes/{name}", A::SeeCluster, get(nodes::show)),
        read("/v1/nodes/{name}/why", A::SeeCluster, get(nodes::why)),
        read("/v1/nodes/{name}/log", A::ReadNode, get(nodes::log)),
        read("/v1/nodes/{name}/attach", A::ChangeNode, get(attach::attach_node)),
        write("/v1/nodes/{name}/drain", A::ChangeNode, post(nodes::drain)),
        write("/v1/nodes/{name}/resume", A::ChangeNode, post(nodes::resume)),
        write("/v1/nodes/{name}/terminate", A::ChangeNode, post(nodes::terminate)),
        write("/v1/unlogged/adopt", A::ChangeNode, post(nodes::adopt_unlogged)),
        write("/v1/unlogged/terminate", A::ChangeNode, post(nodes::terminate_unlogged)),
        read("/v1/history", A::SeeCluster, get(cluster::history)),
        read("/v1/cost", A::SeeCluster, get(cluster::cost)),
        read("/v1/status", A::SeeCluster, get(cluster::status)),
        write("/v1/down", A::ChangeCluster, post(cluster::down)),
        read("/v1/events", A::SeeCluster, get(events::events)),
        read("/v1/config", A::ReadCluster, get(cluster::config)),
        read("/metrics", A::ReadCluster, get(cluster::metrics)),
        read("/openapi.json", A::SeeCluster, get(openapi::document)),
    ]
}

/// The whole interface. The server adds `Extension<Principal>` to every request.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let guard = from_fn_with_state((app.clone(), route.action), guard);
        router = router.route(route.path, route.handler.layer(guard));
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

/// Stands in front of every handler: who asks, about what, and may they.
async fn guard(
    State((app, action)): State<(AppState, Action)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let named = params.ok().map_or(auth::Named::Nothing, |params| {
        let value = |wanted: &str| {
            params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let job = value("id").map(auth::Named::Job);
        job.or_else(|| value("run").map(auth::Named::Run)).unwrap_or(auth::Named::Nothing)
    });
    let uid = parts.extensions.get::<Principal>().map_or(u32::MAX, |who| who.uid);
    let admitted = match parts.extensions.get::<Principal>() {
        Some(principal) => match auth::check(&app, principal, action, &named).await {
            Ok(()) => {
                extract::hold(&app.bounds.bodies, principal.uid, &parts.headers).map_err(Into::into)
            }
            Err(failure) => Err(failure),
        },
        None => Err(Problem::new(ProblemKind::NotAllowed, "nobody has proved who asks").into()),
    };
    let mut response = match admitted {
        Ok(_held) => {
            let answer = next.run(Request::from_parts(parts, body)).await;
            answer::bounded(&app.bounds.answers, uid, answer).await
        }
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn nothing_here(request: Request) -> Failure {
    let what = format!("there is no {} {}", request.method(), request.uri().path());
    Problem::new(ProblemKind::NotFound, what).hint("GET /openapi.json lists what there is").into()
}

async fn wrong_method(request: Request) -> Failure {
    let what = format!("{} does not answer to {}", request.uri().path(), request.method());
    Problem::new(ProblemKind::BadRequest, what).hint("GET /openapi.json lists what there is").into()
}
