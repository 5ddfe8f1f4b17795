//! Bodies and queries, refused as `Problem`s.
use super::problem::Failure;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use pcluster_api::{MAX_BODY_BYTES, Problem, ProblemKind};
use serde::de::DeserializeOwned;

/// A JSON body. Nothing else is taken, so that no form of a web page can post here.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim).unwrap_or_default();
        if !kind.eq_ignore_ascii_case("application/json") {
            let problem = Problem::new(ProblemKind::BadRequest, "a body must be JSON")
                .fact("content-type", if kind.is_empty() { "none" } else { kind })
                .hint("content-type: application/json");
            return Err(problem.into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            Problem::new(ProblemKind::BadRequest, format!("the body cannot be read: {error}"))
                .fact("at most", format!("{} MB", MAX_BODY_BYTES >> 20))
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(
                ProblemKind::BadRequest,
                format!("the body is not what is asked for: {error}"),
            )
            .hint("GET /openapi.json says what is")
        })?;
        Ok(Self(value))
    }
}

/// The query of the address.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(value) = Query::from_request_parts(parts, state).await.map_err(|error| {
            Problem::new(ProblemKind::BadRequest, format!("the query is wrong: {error}"))
                .hint("GET /openapi.json says what is allowed")
        })?;
        Ok(Self(value))
    }
}
