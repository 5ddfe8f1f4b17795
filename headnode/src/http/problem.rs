//! How the interface says no: every error leaves as a `Problem` with the status of its kind.
use crate::inbox::Stopping;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::reply::{Rejection, RejectionKind, Reply};

/// A problem on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Stopping> for Failure {
    fn from(_: Stopping) -> Self {
        Self(
            Problem::new(ProblemKind::Unavailable, "the head is stopping")
                .hint("ask again in a moment; what was asked may have been done"),
        )
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection.kind {
            RejectionKind::Refused => ProblemKind::Refused,
            RejectionKind::NotFound => ProblemKind::NotFound,
            RejectionKind::NotAllowed => ProblemKind::NotAllowed,
            RejectionKind::BadRequest => ProblemKind::BadRequest,
            RejectionKind::Busy => ProblemKind::Busy,
        };
        Self(Problem {
            kind,
            message: rejection.message,
            facts: rejection.facts,
            hints: rejection.hints,
            word: rejection.word.to_owned(),
        })
    }
}

/// Something of the head itself failed: the log has the cause, the caller gets the words.
pub(super) fn broken(what: &str, cause: &dyn std::fmt::Display) -> Failure {
    tracing::error!(what, %cause, "a request could not be answered");
    Problem::new(ProblemKind::Unavailable, format!("the head cannot {what}: {cause}")).into()
}

/// An answer of a kind that this request cannot have.
pub(super) fn odd(reply: &Reply) -> Failure {
    tracing::error!(?reply, "an answer of another kind");
    Problem::new(ProblemKind::Unavailable, "the head gave an answer of another kind").into()
}
