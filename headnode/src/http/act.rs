//! What is done to jobs and nodes: one request to the loop, and its answer in words.
use super::problem::{Failure, odd};
use super::target;
use crate::app::AppState;
use axum::Json;
use axum::extract::{Extension, FromRequestParts, Path};
use axum::http::request::Parts;
use pcluster_api::{ActionResponse, Problem, ProblemKind};
use pcluster_core::input::{Input, JobTarget, Principal, Request};
use pcluster_core::reply::Reply;
use pcluster_model::{JobId, NodeId};
use pcluster_views as views;

/// What every handler of these answers.
pub(super) type Acted = Result<Json<ActionResponse>, Failure>;

/// Who does something to the job, the tasks or the node that the address names.
pub(super) struct Act {
    pub(super) app: AppState,
    pub(super) who: Principal,
    /// As it was written.
    pub(super) id: String,
}

impl FromRequestParts<AppState> for Act {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Failure> {
        let nobody = |_| Problem::new(ProblemKind::NotAllowed, "nobody has proved who asks");
        let Extension(who) = Extension::from_request_parts(parts, app).await.map_err(nobody)?;
        let none = |_| Problem::new(ProblemKind::BadRequest, "the address names nothing");
        let Path(id) = Path::from_request_parts(parts, app).await.map_err(none)?;
        Ok(Self { app: app.clone(), who, id })
    }
}

impl Act {
    /// Asks for this.
    pub(super) async fn ask(self, request: impl FnOnce(JobTarget) -> Request) -> Acted {
        let target = target::locate(&self.app.mirror.read(), &self.id)?;
        let job = target.job;
        act(&self.app, self.who, job, request(target)).await
    }

    /// As `ask`, of a node; no job is meant then.
    pub(super) async fn ask_of_node(self, request: impl FnOnce(NodeId) -> Request) -> Acted {
        let node = target::node(&self.app.mirror.read(), &self.id)?.id;
        act(&self.app, self.who, JobId(0), request(node)).await
    }
}

/// Sends a request of an owner to the loop and words its answer.
pub(super) async fn act(
    app: &AppState,
    principal: Principal,
    job: JobId,
    request: Request,
) -> Acted {
    let schema = views::schema("action");
    match app.submit.ask(Input::Request { principal, request }).await? {
        Reply::Done { said, changed } => {
            Ok(Json(ActionResponse { schema, job: job.0, said, changed }))
        }
        Reply::Signals { runs, signal, .. } => {
            let name = views::words::signal(signal);
            let changed = runs.len() as u64;
            let said = format!("{name} sent to {}", views::words::counted(changed, "run"));
            Ok(Json(ActionResponse { schema, job: job.0, said, changed }))
        }
        Reply::Submitted { job: new, .. } => {
            let changed = app.mirror.read().jobs.get(&new).map_or(1, |job| job.task_count() as u64);
            let said = format!("job {new} runs what failed of job {job} again");
            Ok(Json(ActionResponse { schema, job: new.0, said, changed }))
        }
        Reply::Rejected(rejection) => Err(rejection.into()),
        other => Err(odd(&other)),
    }
}
