//! Committed events as server-sent events. A reader sees those of the jobs he may see; the rest is
//! for admins.
use super::problem::{Failure, broken};
use crate::app::AppState;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pcluster_api::seats::Seat;
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::Cluster;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::input::Principal;
use pcluster_model::JobId;
use pcluster_store::Reader;
use std::time::Duration;
use tokio::time::timeout;

/// Events read at once, and their bytes: one that is longer goes alone.
const BATCH: u32 = 256;
const BATCH_BYTES: usize = 64 << 10;
/// A comment is sent after this much silence, so that dead connections are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listener {
    app: AppState,
    who: Principal,
    after: u64,
    _seat: Seat<u32>,
}

#[utoipa::path(get, path = "/v1/events", tag = "cluster",
    params(("last-event-id" = Option<u64>, Header, description = "Go on after this event; without it, from now on")),
    responses((status = 200, body = String, content_type = "text/event-stream",
        description = "One JSON object per committed event"), (status = "4XX", body = Problem)))]
pub(super) async fn events(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let after = match headers.get("last-event-id") {
        None => app.mirror.read().log_length(),
        Some(id) => {
            let number = id.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            number.ok_or_else(|| {
                Problem::new(ProblemKind::BadRequest, "last-event-id is not the number of an event")
            })?
        }
    };
    let seat = app.bounds.listeners.take(who.uid).map_err(|_| {
        Problem::new(ProblemKind::Unavailable, "as many listen to events as may")
            .hint("ask again in a moment")
    })?;
    let reader = open(&app).await?;
    let listener = Listener { app, who, after, _seat: seat };
    let pieces = stream::unfold((listener, Some(reader)), |(mut listener, reader)| async move {
        let (text, reader) = listener.next(reader?).await?;
        Some((Ok::<Bytes, std::io::Error>(text.into()), (listener, Some(reader))))
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response())
}

async fn open(app: &AppState) -> Result<Reader, Failure> {
    let path = app.store_path.clone();
    tokio::task::spawn_blocking(move || Reader::open(&path))
        .await
        .map_err(|error| broken("read the log", &error))?
        .map_err(|error| broken("read the log", &error))
}

impl Listener {
    /// The next text to send, never empty; `None` when the head stops or the log cannot be read.
    async fn next(&mut self, mut reader: Reader) -> Option<(String, Reader)> {
        let mut changes = self.app.changes.clone();
        loop {
            changes.mark_unchanged();
            let after = self.after;
            let asked = tokio::task::spawn_blocking(move || {
                (reader.events_within(after, BATCH, BATCH_BYTES), reader)
            });
            let (read, back) = asked.await.ok()?;
            reader = back;
            let events = match read {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(%error, "events cannot be read for a listener");
                    return None;
                }
            };
            let Some(last) = events.last() else {
                match timeout(KEEP_ALIVE, changes.changed()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return None,
                    Err(_) => return Some((": still here\n\n".into(), reader)),
                }
            };
            self.after = last.seq;
            let text: String = {
                let cluster = self.app.mirror.read();
                events
                    .iter()
                    .filter(|one| may_see(&cluster, &self.who, &one.event))
                    .map(frame)
                    .collect()
            };
            if !text.is_empty() {
                return Some((text, reader));
            }
        }
    }
}

fn frame(stamped: &Stamped) -> String {
    // JSON has no raw line ends, so one line holds it.
    let body = serde_json::to_string(stamped).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {body}\n\n", stamped.seq, stamped.event.kind())
}

/// The job that an event is about.
fn job_of(event: &Event) -> Option<JobId> {
    match event {
        Event::JobSubmitted { job, .. }
        | Event::JobHeld { job, .. }
        | Event::JobReleased { job, .. }
        | Event::JobUpdated { job, .. }
        | Event::JobPlaced { job, .. }
        | Event::TasksPlaced { job, .. }
        | Event::CancelWanted { job, .. }
        | Event::RequeueWanted { job, .. }
        | Event::EndWanted { job, .. }
        | Event::JobSuspended { job, .. }
        | Event::StepEnded { job, .. }
        | Event::RunEnded { job, .. }
        | Event::TasksEnded { job, .. }
        | Event::LimitChanged { job, .. } => Some(*job),
        Event::StepStarted { step } => Some(step.job),
        _ => None,
    }
}

/// True for the owner of the job it is about, and for admins.
pub(super) fn may_see(cluster: &Cluster, who: &Principal, event: &Event) -> bool {
    if who.admin {
        return true;
    }
    let owner = match event {
        Event::JobSubmitted { owner, .. } => Some(owner.uid),
        _ => job_of(event).and_then(|job| cluster.jobs.get(&job)).map(|job| job.owner.uid),
    };
    owner == Some(who.uid)
}
