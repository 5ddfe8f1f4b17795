//! Large answers on their way to those who asked for them.
//!
//! Invariant: what is held for readers is bounded, for all and for each, and for a time: whoever asks
//! and does not read loses the rest of the answer, and nobody else anything. Deliberately absent:
//! answers that are made piece by piece, of which little is held.
use super::problem::{Failure, broken};
use crate::limits;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pcluster_api::seats::{Full, Seat, Seats};
use pcluster_api::{Problem, ProblemKind};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Given to the connection at once.
const PIECE_BYTES: usize = 64 << 10;

/// What is left of an answer; nothing once its time is over.
struct Held(Mutex<Option<Whole>>);

struct Whole {
    bytes: Bytes,
    _seat: Seat<u32>,
    /// Dropped with the rest: nobody has to watch the time any more.
    _read: oneshot::Sender<()>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Option<Whole>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The piece at this place; `None` at the end.
    fn piece(&self, at: usize) -> Option<io::Result<Bytes>> {
        let held = self.lock();
        let Some(whole) = held.as_ref() else { return Some(Err(io::ErrorKind::TimedOut.into())) };
        let rest = whole.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        // A copy: the connection must not keep the whole for a piece of it.
        Some(Ok(Bytes::copy_from_slice(&rest[..rest.len().min(PIECE_BYTES)])))
    }
}

/// Counts an answer that is whole, and gives it away piece by piece.
pub(super) async fn bounded(answers: &Seats<u32>, uid: u32, response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let length = length.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if length <= limits::SMALL_ANSWER_BYTES {
        return response;
    }
    // One that is larger than all that one may have is alone.
    let seat = match answers.take_many(uid, length.min(limits::ANSWERS_OF_ONE)) {
        Ok(seat) => seat,
        Err(full) => return Failure::from(too_many(full)).into_response(),
    };
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return broken("give the answer", &error).into_response(),
    };
    parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    let (read, is_read) = oneshot::channel();
    let held = Arc::new(Held(Mutex::new(Some(Whole { bytes, _seat: seat, _read: read }))));
    let late = Arc::downgrade(&held);
    tokio::spawn(async move {
        if timeout(limits::ANSWER_READ, is_read).await.is_err()
            && let Some(held) = late.upgrade()
        {
            drop(held.lock().take());
        }
    });
    let pieces = stream::unfold((held, 0), |(held, at)| async move {
        let piece = held.piece(at)?;
        let next = at + piece.as_ref().map_or(usize::MAX / 2, Bytes::len);
        Some((piece, (held, next)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn too_many(full: Full) -> Problem {
    let words = match full {
        Full::OfOne => "too many large answers to you have not been read",
        Full::OfAll => "as many large answers are on their way as the head has room for",
    };
    Problem::new(ProblemKind::Unavailable, words).hint("ask again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(bytes: usize) -> Response {
        Body::from(vec![b'x'; bytes]).into_response()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_reads_are_bounded_and_given_up() {
        let answers = Seats::new(limits::ANSWERS, limits::ANSWERS_OF_ONE);
        let mut held = Vec::new();
        for _ in 0..limits::ANSWERS_OF_ONE >> 20 {
            held.push(bounded(&answers, 1000, large(1 << 20)).await);
        }
        let no = bounded(&answers, 1000, large(1 << 20)).await;
        assert_eq!(no.status(), ProblemKind::Unavailable.status());
        assert_eq!(bounded(&answers, 1000, large(10)).await.status(), 200, "little is not counted");
        assert_eq!(bounded(&answers, 1001, large(1 << 20)).await.status(), 200, "others have room");
        // Its time is over: there is room again, and no rest of it.
        tokio::time::sleep(limits::ANSWER_READ * 2).await;
        assert_eq!(bounded(&answers, 1000, large(1 << 20)).await.status(), 200);
        let late = held.pop().unwrap().into_body();
        assert!(to_bytes(late, usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_that_is_read_is_whole_and_holds_nothing_after() {
        let answers = Seats::new(limits::ANSWERS, limits::ANSWERS_OF_ONE);
        let length = limits::ANSWERS_OF_ONE + 5;
        let response = bounded(&answers, 1000, large(length)).await;
        assert_eq!(response.headers()[header::CONTENT_LENGTH], length.to_string());
        assert_eq!(to_bytes(response.into_body(), usize::MAX).await.unwrap().len(), length);
        assert!(answers.take_many(1000, limits::ANSWERS_OF_ONE).is_ok());
    }
}
