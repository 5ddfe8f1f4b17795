//! The client of the head: HTTP/1.1 over its Unix socket, here or on another machine, one connection per request.
//!
//! Invariant: every answer is either the typed view of `crate::view` or a [`ClientError`] that says
//! whether the request may have reached the head. Deliberately absent: retries (callers know which
//! requests are safe to repeat), looking for the socket, and anything a terminal sees.
use crate::{
    ActionResponse, CancelRequest, CostQuery, CostView, DownRequest, DownView, HistoryList,
    HistoryQuery, JobDetail, JobList, JobsQuery, NodeDetail, NodeList, OutputQuery, Problem,
    ProblemKind, StatusView, SubmitRequest, SubmitResponse, UnloggedRequest, UpdateRequest,
    WaitQuery, WaitResponse, WhyView,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod steps;
mod way;

use way::Way;
pub use way::{Dial, Dialled};

/// An ordinary answer begins within this, and so does each further piece of it; a long poll adds its
/// own time.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A head that is there accepts within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// An answer larger than this is not the head's: the records of a million tasks are less.
const MAX_ANSWER_BYTES: usize = 2 << 30;
/// Says where in the whole output an answer begins.
const OFFSET_HEADER: &str = "x-pcluster-offset";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there. The request was not sent.
    #[error("no head answers at {place}")]
    NoHead { place: String, source: io::Error },
    /// The head answered, and the answer is no.
    #[error("{0}")]
    Problem(#[from] Problem),
    /// The connection broke after the request was sent: it may have been done or not.
    #[error("the head went away before it answered: {0}")]
    Lost(String),
    /// No answer in time; it may have been done or not.
    #[error("the head has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// The answer is not one of this version.
    #[error("the head's answer cannot be read: {0}")]
    Unreadable(String),
}

impl ClientError {
    /// True when the head may only be away for a moment (a restart), so that asking again later
    /// makes sense.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::NoHead { .. } | Self::Lost(_) | Self::Silent(_) => true,
            Self::Problem(problem) => problem.kind == ProblemKind::Unavailable,
            Self::Unreadable(_) => false,
        }
    }
}

/// The head of one cluster, by its socket.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
}

/// `text` as one segment of a path or one value of a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&format!("{byte:02X}"));
        }
    }
    out
}

/// `query` as `?name=value&…`; absent and empty values are left out.
fn query_of<Q: Serialize>(query: &Q) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else {
        return String::new();
    };
    let mut out = String::new();
    for (name, value) in fields {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(&format!("{name}={}", encoded(&text)));
    }
    out
}

impl Client {
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { way: Way::Socket(socket.into()) }
    }

    /// A head that another machine holds.
    #[must_use]
    pub fn dialling(dial: Arc<dyn Dial>) -> Self {
        Self { way: Way::Dial(dial) }
    }

    /// True when the head is on another machine: paths of files mean nothing here.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.way, Way::Dial(_))
    }

    /// Whether somebody accepts connections there.
    pub async fn is_listened_to(&self) -> bool {
        self.way.connect().await.is_ok()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.way.connect().await?;
        let lost = |error: hyper::Error| ClientError::Lost(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // Ends by itself with the answer's body; an error there also ends the body with an error.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "pcluster")
            .header(header::USER_AGENT, concat!("pcluster/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        sender.send_request(request).await.map_err(lost)
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let response = tokio::time::timeout(within, self.send(method, path, body))
            .await
            .map_err(|_| ClientError::Silent(within))??;
        let status = response.status();
        let limited = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let bytes = collected(limited).await?;
        if status.is_success() { Ok(bytes) } else { Err(problem_of(status.as_u16(), &bytes)) }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<T, ClientError> {
        let bytes = self.whole(method, path, body, within).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Unreadable(error.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None, ANSWER_WITHIN).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Unreadable(error.to_string()))?;
        self.ask(Method::POST, path, Some(body), ANSWER_WITHIN).await
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// [`ClientError`], as for every request here.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.get("/v1/status").await
    }

    /// `POST /v1/jobs`.
    ///
    /// # Errors
    /// [`ClientError`]; after `Lost` or `Silent` the job may have been accepted, unless a key was
    /// given: then sending it again answers with the same job.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitResponse, ClientError> {
        self.post("/v1/jobs", request).await
    }

    /// `GET /v1/jobs`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn jobs(&self, query: &JobsQuery) -> Result<JobList, ClientError> {
        self.get(&format!("/v1/jobs{}", query_of(query))).await
    }

    /// `GET /v1/jobs/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, id: &str) -> Result<JobDetail, ClientError> {
        self.get(&format!("/v1/jobs/{}", encoded(id))).await
    }

    /// `GET /v1/jobs/{id}/why`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why_job(&self, id: &str) -> Result<WhyView, ClientError> {
        self.get(&format!("/v1/jobs/{}/why", encoded(id))).await
    }

    /// `GET /v1/nodes/{id}/why`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why_node(&self, id: &str) -> Result<WhyView, ClientError> {
        self.get(&format!("/v1/nodes/{}/why", encoded(id))).await
    }

    /// `POST /v1/jobs/{id}/cancel`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(
        &self,
        id: &str,
        request: &CancelRequest,
    ) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/jobs/{}/cancel", encoded(id)), request).await
    }

    /// `POST /v1/jobs/{id}/{verb}` without a choice: `hold`, `release`, `requeue`, `rerun`.
    /// `rerun` puts the failed tasks into a new job and answers with that job's number.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act_on_job(&self, id: &str, verb: &str) -> Result<ActionResponse, ClientError> {
        let path = format!("/v1/jobs/{}/{verb}", encoded(id));
        self.post(&path, &serde_json::json!({})).await
    }

    /// `POST /v1/jobs/{id}/update`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update(
        &self,
        id: &str,
        request: &UpdateRequest,
    ) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/jobs/{}/update", encoded(id)), request).await
    }

    /// `GET /v1/jobs/{id}/wait`: answers when the job has ended or `timeout` is over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wait(&self, id: &str, timeout: Duration) -> Result<WaitResponse, ClientError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let path = format!("/v1/jobs/{}/wait{}", encoded(id), query_of(&WaitQuery { timeout_ms }));
        self.ask(Method::GET, &path, None, timeout + ANSWER_WITHIN).await
    }

    /// `GET /v1/jobs/{id}/output`: plain bytes from `offset` on; with `follow` the answer stays
    /// open until the job has ended or the head stops.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn output(&self, id: &str, query: &OutputQuery) -> Result<Output, ClientError> {
        let path = format!("/v1/jobs/{}/output{}", encoded(id), query_of(query));
        // A follower waits for the job's first line for as long as it takes: no limit on the head's
        // first word. Without `follow` there is one.
        let response = if query.follow {
            self.send(Method::GET, &path, None).await?
        } else {
            tokio::time::timeout(ANSWER_WITHIN, self.send(Method::GET, &path, None))
                .await
                .map_err(|_| ClientError::Silent(ANSWER_WITHIN))??
        };
        let status = response.status();
        if status.is_success() {
            let start = response.headers().get(OFFSET_HEADER).and_then(|value| value.to_str().ok());
            let start = start.and_then(|text| text.parse().ok()).unwrap_or(query.offset);
            return Ok(Output { body: response.into_body(), start });
        }
        let limited = http_body_util::Limited::new(response.into_body(), 1 << 20);
        let bytes =
            limited.collect().await.map_err(|e| ClientError::Lost(e.to_string()))?.to_bytes();
        Err(problem_of(status.as_u16(), &bytes))
    }

    /// `GET /v1/nodes`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn nodes(&self) -> Result<NodeList, ClientError> {
        self.get("/v1/nodes").await
    }

    /// `GET /v1/nodes/{id}`, by name or id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn node(&self, id: &str) -> Result<NodeDetail, ClientError> {
        self.get(&format!("/v1/nodes/{}", encoded(id))).await
    }

    /// `GET /v1/nodes/{id}/log`: what the node and its machine have said, as lines.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn node_log(&self, id: &str) -> Result<Vec<String>, ClientError> {
        let path = format!("/v1/nodes/{}/log", encoded(id));
        let response = tokio::time::timeout(ANSWER_WITHIN, self.send(Method::GET, &path, None))
            .await
            .map_err(|_| ClientError::Silent(ANSWER_WITHIN))??;
        let status = response.status();
        let bytes = collected(response.into_body()).await?;
        if !status.is_success() {
            return Err(problem_of(status.as_u16(), &bytes));
        }
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// `POST /v1/nodes/{id}/{verb}`: `drain`, `resume`, `terminate`. The answer's `job` is 0.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act_on_node(&self, id: &str, verb: &str) -> Result<ActionResponse, ClientError> {
        let path = format!("/v1/nodes/{}/{verb}", encoded(id));
        self.post(&path, &serde_json::json!({})).await
    }

    /// `POST /v1/unlogged/{verb}`: `adopt`, `terminate`. The answer's `job` is 0.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act_on_unlogged(
        &self,
        request: &UnloggedRequest,
        verb: &str,
    ) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/unlogged/{verb}"), request).await
    }

    /// `GET /v1/history`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryList, ClientError> {
        self.get(&format!("/v1/history{}", query_of(query))).await
    }

    /// `GET /v1/cost`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cost(&self, query: &CostQuery) -> Result<CostView, ClientError> {
        self.get(&format!("/v1/cost{}", query_of(query))).await
    }

    /// `POST /v1/down`: asks for the end, and says how far it is. Asking again is harmless.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn down(&self, request: &DownRequest) -> Result<DownView, ClientError> {
        self.post("/v1/down", request).await
    }
}

/// A body as it comes: it may be long, but it may not stop.
async fn collected<B>(mut body: B) -> Result<Vec<u8>, ClientError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(ANSWER_WITHIN, body.frame())
            .await
            .map_err(|_| ClientError::Silent(ANSWER_WITHIN))?;
        match frame.transpose().map_err(|error| ClientError::Lost(error.to_string()))? {
            Some(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            None => return Ok(bytes),
        }
    }
}

fn problem_of(status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Problem(problem),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            ClientError::Unreadable(format!("HTTP {status}: {}", text.trim()))
        }
    }
}

/// The bytes of a job's output, as they come.
#[derive(Debug)]
pub struct Output {
    body: Incoming,
    start: u64,
}

impl Output {
    /// Place of the first byte in the whole output: later than asked for when the head no longer
    /// has what was asked for.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The next bytes; `None` after a clean end, which a follower checks against the job's state (a
    /// head that stops ends its answers cleanly, too).
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| ClientError::Lost(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_leave_out_what_is_absent_and_encode_the_rest() {
        let query = JobsQuery { all: true, ids: Some("41,42_[3-5]".into()), ..Default::default() };
        assert_eq!(query_of(&query), "?all=true&finished=false&ids=41%2C42_%5B3-5%5D");
        assert_eq!(query_of(&CostQuery::default()), "?all=false&by=user");
    }

    /// A body whose next piece always comes after the next of these pauses.
    struct Slow {
        pauses: Vec<Duration>,
        next: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    }

    impl hyper::body::Body for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            use std::task::Poll;
            let next = self.next.take().or_else(|| {
                // The pause is what comes.
                self.pauses.pop().map(|pause| Box::pin(tokio::time::sleep(pause)))
            });
            let Some(mut next) = next else { return Poll::Ready(None) };
            if next.as_mut().poll(cx).is_pending() {
                self.next = Some(next);
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_waited_for_and_one_that_stops_is_not() {
        let seconds = |all: &[u64]| Slow {
            pauses: all.iter().copied().map(Duration::from_secs).collect(),
            next: None,
        };
        assert_eq!(collected(seconds(&[10; 6])).await.unwrap(), b"xxxxxx");
        let stopped = collected(seconds(&[1, 16, 1])).await;
        assert!(matches!(stopped, Err(ClientError::Silent(_))), "{stopped:?}");
    }

    #[test]
    fn an_answer_that_is_no_problem_is_shown_shortened() {
        let ClientError::Unreadable(text) = problem_of(500, b"boom\n") else { panic!("kind") };
        assert_eq!(text, "HTTP 500: boom");
    }
}
