//! Bodies and queries, refused as `Problem`s.
use super::problem::Failure;
use crate::limits;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use pcluster_api::seats::{Full, Seat, Seats};
use pcluster_api::{MAX_BODY_BYTES, Problem, ProblemKind};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

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
        let bytes = timeout(limits::REQUEST_BODY, Bytes::from_request(request, state));
        let slow = |_| {
            let words = format!("the body has not come for {} s", limits::REQUEST_BODY.as_secs());
            Problem::new(ProblemKind::Timeout, words)
        };
        let bytes = bytes.await.map_err(slow)?.map_err(|error| {
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

/// Holds the bytes of a request's body for its user, until it is dropped: what many send at once
/// is in memory at once.
///
/// # Errors
/// `Unavailable` when as many are being read as may be.
pub(super) fn hold(
    bodies: &Seats<u32>,
    uid: u32,
    headers: &HeaderMap,
) -> Result<Option<Seat<u32>>, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let bytes = match length.map(str::parse) {
        Some(Ok(length)) if length <= limits::SMALL_BODY_BYTES => return Ok(None),
        // A longer one is refused while it is read.
        Some(Ok(length)) => MAX_BODY_BYTES.min(length),
        None if !headers.contains_key(header::TRANSFER_ENCODING) => return Ok(None),
        Some(Err(_)) | None => MAX_BODY_BYTES,
    };
    bodies.take_many(uid, bytes).map(Some).map_err(|full| {
        let words = match full {
            Full::OfOne => "too many large requests of yours are being answered",
            Full::OfAll => "as many large requests are being answered as the head has room for",
        };
        Problem::new(ProblemKind::Unavailable, words).hint("ask again in a moment")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(length: Option<&str>) -> HeaderMap {
        let pair = length.map(|length| (header::CONTENT_LENGTH, length.parse().unwrap()));
        pair.into_iter().collect()
    }

    #[test]
    fn what_one_user_sends_at_once_is_bounded_and_others_have_room() {
        let bodies = Seats::new(limits::BODIES, limits::BODIES_OF_ONE);
        let largest = headers(Some(&MAX_BODY_BYTES.to_string()));
        let held: Vec<_> = (0..3).map(|_| hold(&bodies, 1000, &largest).unwrap()).collect();
        let no = hold(&bodies, 1000, &headers(Some("100000"))).unwrap_err();
        assert_eq!(no.kind, ProblemKind::Unavailable);
        assert!(hold(&bodies, 1001, &largest).unwrap().is_some());
        // Little is not counted: cancels and steps always come through.
        assert!(hold(&bodies, 1000, &headers(None)).unwrap().is_none());
        assert!(hold(&bodies, 1000, &headers(Some("4000"))).unwrap().is_none());
        drop(held);
        assert!(hold(&bodies, 1000, &largest).is_ok());
    }

    #[test]
    fn a_body_that_does_not_say_its_length_counts_as_the_largest() {
        let bodies = Seats::new(limits::BODIES, limits::BODIES_OF_ONE);
        let chunked: HeaderMap =
            [(header::TRANSFER_ENCODING, "chunked".parse().unwrap())].into_iter().collect();
        let odd = headers(Some("-1"));
        let held: Vec<_> =
            [&chunked, &odd, &chunked].map(|headers| hold(&bodies, 1000, headers)).into();
        assert!(held.iter().all(|held| matches!(held, Ok(Some(_)))));
        assert!(hold(&bodies, 1000, &chunked).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = axum::http::Request::builder()
            .header("content-type", "application/json")
            .body(axum::body::Body::from_stream(never))
            .unwrap();
        let Err(Failure(no)) = Body::<serde_json::Value>::from_request(request, &()).await else {
            panic!("an answer to nothing")
        };
        assert_eq!(no.kind, ProblemKind::Timeout);
    }
}
