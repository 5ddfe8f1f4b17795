//! The cluster as a whole: status, history, cost, configuration, metrics, and its end.
use super::auth::{Action, Object, authorize};
use super::extract::{Asked, Body};
use super::past;
use super::problem::{Failure, odd};
use crate::app::AppState;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use pcluster_api::{
    CostQuery, CostView, DownRequest, DownView, HistoryList, HistoryQuery, Problem, ProblemKind,
    StatusView,
};
use pcluster_core::Job;
use pcluster_core::input::{Input, Principal, Request};
use pcluster_core::reply::Reply;
use pcluster_model::Timestamp;
use pcluster_model::config::Config;
use pcluster_store::HistoryFilter;
use pcluster_views::{self as views, Cx, status};

/// Lines of history without a `limit`, and at most.
const HISTORY_LINES: u32 = 100;
const HISTORY_MOST: u32 = 100_000;

#[utoipa::path(get, path = "/v1/status", tag = "cluster",
    responses((status = 200, body = StatusView), (status = "4XX", body = Problem)))]
pub(super) async fn status(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
) -> Json<StatusView> {
    let facts = &app.facts;
    let (cpu_percent, memory_bytes) = own_use();
    let view = {
        let cluster = app.mirror.read();
        let cx = Cx { cluster: &cluster, now: app.clock.now(), reader: &reader };
        let head = status::HeadFacts {
            version: facts.version.into(),
            pid: facts.pid,
            started_at_ms: cx.wall(facts.started_at),
            config_file: facts.config_file.display().to_string(),
            state_dir: facts.state_dir.display().to_string(),
            node_address: facts.node_address.clone(),
            cpu_percent,
            memory_bytes,
            disk_free_bytes: app.disk.free_bytes(),
            disk_is_low: app.disk.low().is_some(),
            notes: facts.notes.clone(),
        };
        status::view(&cx, head)
    };
    Json(view)
}

/// CPU time of this process in percent of the time since its start, and its memory in bytes; zeros
/// where the system does not say.
fn own_use() -> (u32, u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let pages: Option<u64> =
        read("/proc/self/statm").split_whitespace().nth(1).and_then(|text| text.parse().ok());
    let memory = pages.unwrap_or(0) * rustix::param::page_size() as u64;
    let stat = read("/proc/self/stat");
    // The name of the program may hold anything; the fields behind it do not.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let uptime: Option<u64> = read("/proc/uptime").split('.').next().and_then(|s| s.parse().ok());
    let (Some(used), Some(started), Some(uptime)) =
        (fields.get(10).zip(fields.get(11)).map(|(a, b)| a + b), fields.get(18), uptime)
    else {
        return (0, memory);
    };
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let alive = uptime.saturating_sub(started / ticks).max(1);
    (u32::try_from(used * 100 / ticks / alive).unwrap_or(0), memory)
}

#[utoipa::path(get, path = "/v1/history", tag = "jobs", params(HistoryQuery),
    responses((status = 200, body = HistoryList), (status = "4XX", body = Problem)))]
pub(super) async fn history(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<HistoryList>, Failure> {
    let _making = app.bounds.lists.acquire().await;
    let limit = if query.limit == 0 { HISTORY_LINES } else { query.limit.min(HISTORY_MOST) };
    let user = match query.user {
        Some(user) => Some(user),
        None if query.all => None,
        None => Some(reader.user.to_string()),
    };
    let (since, mut jobs) = {
        let cluster = app.mirror.read();
        let offset = cluster.meta.clock_offset_ms;
        // Tasks that have ended of jobs that go on are not in the rows of what is over.
        let going_on = cluster.jobs.values().filter(|job| {
            !job.is_finished()
                && !job.finished.is_empty()
                && user.as_ref().is_none_or(|user| job.owner.user.as_str() == user)
        });
        let jobs: Vec<Job> = going_on.cloned().collect();
        (query.since_ms.map(|ms| Timestamp(ms.saturating_sub(offset))), jobs)
    };
    let filter = HistoryFilter { user, since, limit, past_only: false };
    jobs.extend(past::jobs(&app, filter).await?);
    let view = |cx: &Cx<'_>| views::history::list(cx, &jobs, query.since_ms, limit as usize);
    Ok(Json(app.seen(&reader, view)))
}

#[utoipa::path(get, path = "/v1/cost", tag = "cluster", params(CostQuery),
    responses((status = 200, body = CostView), (status = "4XX", body = Problem)))]
pub(super) async fn cost(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Asked(query): Asked<CostQuery>,
) -> Result<Json<CostView>, Failure> {
    if query.all {
        authorize(&reader, Action::SeeAllCost, Object::Cluster)?;
    }
    // What is forgotten is read from the disk, for as long ago as the caller says.
    let _making = app.bounds.lists.acquire().await;
    let (since_ms, since) = app.seen(&reader, |cx| {
        let since_ms = query.since_ms.unwrap_or_else(|| views::cost::month_start_ms(cx));
        (since_ms, Timestamp(since_ms.saturating_sub(cx.cluster.meta.clock_offset_ms)))
    });
    // Whoever may see all of it is given all of it.
    let user = (!query.all).then(|| reader.user.to_string());
    let filter = HistoryFilter { user, since: Some(since), limit: u32::MAX, past_only: true };
    let past = past::jobs(&app, filter).await?;
    let asked = views::cost::Asked { by: query.by, since_ms, all: query.all, past: &past };
    Ok(Json(app.seen(&reader, |cx| views::cost::view(cx, &asked))))
}

#[utoipa::path(post, path = "/v1/down", tag = "cluster", request_body = DownRequest,
    responses((status = 200, body = DownView), (status = "4XX", body = Problem)))]
pub(super) async fn down(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Body(asked): Body<DownRequest>,
) -> Result<Json<DownView>, Failure> {
    let request = Request::Down { now: asked.now };
    match app.submit.ask(Input::Request { principal: who.clone(), request }).await? {
        Reply::Done { .. } => {}
        Reply::Rejected(rejection) => return Err(rejection.into()),
        other => return Err(odd(&other)),
    }
    let mut view = app.seen(&who, status::down);
    if view.phase == "closed" && !app.cleaned.is_over() {
        // Machines are gone; what was made beside them is not.
        view.phase = "closing".to_owned();
    }
    view.cleaned = app.cleaned.lines();
    Ok(Json(view))
}

#[utoipa::path(get, path = "/v1/config", tag = "cluster",
    responses((status = 200, body = Object, description = "Every effective value"),
        (status = "4XX", body = Problem)))]
pub(super) async fn config(State(app): State<AppState>) -> Result<Json<Config>, Failure> {
    let config = app.mirror.read().config().cloned();
    let missing = || Problem::new(ProblemKind::Unavailable, "the head has no configuration yet");
    Ok(Json(config.ok_or_else(missing)?))
}

#[utoipa::path(get, path = "/metrics", tag = "cluster",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "Prometheus' text format"), (status = "4XX", body = Problem)))]
pub(super) async fn metrics(State(app): State<AppState>) -> impl IntoResponse {
    let text = app.metrics.render(&app.mirror, &app.disk, app.clock.now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
