//! The OpenAPI document, generated from the handlers. `headnode/openapi.json` is a copy that a test
//! compares; `UPDATE=1` writes it anew.
use super::{attach, cluster, events, jobs, nodes, output, records, steps, submit, update};
use axum::Json;
use pcluster_api::Problem;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pcluster head",
        description = "The one door to a cluster. Times are milliseconds \
        since the epoch in UTC, money is micro-dollars. Who asks is proved by the connection."
    ),
    paths(
        submit::submit,
        jobs::list,
        jobs::show,
        jobs::why,
        jobs::wait,
        records::allocation,
        records::records,
        records::pools,
        steps::finish,
        steps::renew,
        steps::suspend,
        steps::resume,
        steps::make,
        steps::end,
        output::output,
        jobs::cancel,
        jobs::hold,
        jobs::release,
        jobs::requeue,
        update::update,
        jobs::rerun,
        attach::attach,
        attach::attach_node,
        nodes::list,
        nodes::show,
        nodes::why,
        nodes::log,
        nodes::drain,
        nodes::resume,
        nodes::terminate,
        nodes::adopt_unlogged,
        nodes::terminate_unlogged,
        cluster::history,
        cluster::cost,
        cluster::status,
        cluster::down,
        events::events,
        cluster::config,
        cluster::metrics,
        document,
    ),
    components(schemas(Problem))
)]
struct Document;

/// The document.
#[must_use]
pub(super) fn generated() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[utoipa::path(get, path = "/openapi.json", tag = "cluster",
    responses((status = 200, body = Object, description = "This document")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(generated())
}
