//! Output of a job's task as it comes, from the tails that the head keeps.
//!
//! Invariant: with `follow` the answer ends only when the task has ended and everything that its
//! last node reported was sent, or when the head stops. The header `x-pcluster-offset` is the place
//! of the first byte: later than asked for when the head no longer has the start. Bytes that are
//! gone before they could be sent break the answer; who asks again learns by the header how many.
use super::extract::Asked;
use super::jobs::find_job;
use super::problem::{Failure, broken};
use super::target;
use crate::app::AppState;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use pcluster_api::{OutputQuery, Problem, ProblemKind};
use pcluster_core::Job;
use pcluster_model::{JobId, RunId};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const OFFSET: HeaderName = HeaderName::from_static("x-pcluster-offset");
/// Read from a tail at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long the rest of the output of a run that is over is waited for.
const REST_WAIT: Duration = Duration::from_secs(5);

/// One task whose output is read.
struct Follower {
    app: AppState,
    job: JobId,
    /// What is known of a job that has left memory.
    old: Option<Job>,
    task: u32,
    follow: bool,
    run: Option<RunId>,
    offset: u64,
    /// Something was sent: from here on every byte follows the one before.
    began: bool,
    /// Set once the run is over and its last bytes have not come.
    give_up_at: Option<Instant>,
}

/// What a task's runs look like now.
struct Now {
    live: Option<RunId>,
    /// The newest run that is over, with the bytes it wrote.
    last: Option<(RunId, u64)>,
    pending: bool,
}

#[utoipa::path(get, path = "/v1/jobs/{id}/output", tag = "jobs",
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`"), OutputQuery),
    responses((status = 200, body = String, content_type = "application/octet-stream",
        description = "Bytes; `x-pcluster-offset` is the place of the first one",
        headers(("x-pcluster-offset" = u64))), (status = "4XX", body = Problem)))]
pub(super) async fn output(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Asked(query): Asked<OutputQuery>,
) -> Result<Response, Failure> {
    let target = target::locate(&app.mirror.read(), &id)?;
    let job = find_job(&app, target.job).await?;
    let task = task_of(
        &job,
        target.tasks.as_ref().and_then(|tasks| match tasks.len() {
            1 => tasks.first(),
            _ => None,
        }),
    )?;
    let in_memory = app.mirror.read().jobs.contains_key(&job.id);
    let mut follower = Follower {
        app,
        job: job.id,
        old: (!in_memory).then_some(job),
        task,
        follow: query.follow,
        run: None,
        offset: query.offset,
        began: false,
        give_up_at: None,
    };
    let first = follower.next().await.map_err(|error| broken("read the output", &error))?;
    let offset = match &first {
        Some(bytes) => follower.offset - bytes.len() as u64,
        None => follower.offset,
    };
    let body = Body::from_stream(pieces(first, follower));
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    Ok(([kind, (OFFSET, offset.to_string())], body).into_response())
}

/// The task that is meant: of an array, one must be named.
fn task_of(job: &Job, asked: Option<u32>) -> Result<u32, Problem> {
    let all = Job::all_indices(&job.spec);
    match (job.is_array(), asked) {
        (false, None) => Ok(0),
        (true, Some(task)) if all.contains(task) => Ok(task),
        (true, None) => Err(Problem::new(
            ProblemKind::BadRequest,
            format!("job {} is an array: which task's output?", job.id),
        )
        .fact("tasks", all.to_string())
        .hint(format!("pcluster logs {}_{}", job.id, all.first().unwrap_or(0)))),
        (_, Some(task)) => {
            let there = if job.is_array() { all.to_string() } else { "it is no array".into() };
            let text = format!("job {} has no task {task}", job.id);
            Err(Problem::new(ProblemKind::NotFound, text).fact("tasks", there))
        }
    }
}

fn pieces(
    first: Option<Bytes>,
    follower: Follower,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let ended = first.is_none();
    let head = stream::iter(first).map(Ok);
    let rest = stream::unfold((follower, ended), |(mut follower, ended)| async move {
        if ended {
            return None;
        }
        match follower.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), (follower, false))),
            Ok(None) => None,
            Err(error) => Some((Err(error), (follower, true))),
        }
    });
    head.chain(rest)
}

impl Follower {
    /// The next bytes; `None` at the end. Cancelling it loses nothing.
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut changes = self.app.changes.clone();
        loop {
            changes.mark_unchanged();
            let now = self.look();
            let Some(run) = self.run else {
                match now.live.or(now.last.map(|(run, _)| run)) {
                    Some(run) => self.run = Some(run),
                    None if now.pending && self.follow => {
                        if changes.changed().await.is_err() {
                            return Ok(None);
                        }
                    }
                    None => return Ok(None),
                }
                continue;
            };
            // Subscribed before the look, so that nothing comes unseen in between.
            let grown = self.follow.then(|| self.app.logs.follow(run)).transpose()?;
            let piece = self.app.logs.read(run, self.offset, PIECE_BYTES)?;
            let end = piece.as_ref().map_or(0, |piece| piece.end);
            if let Some(piece) = piece.filter(|piece| !piece.bytes.is_empty()) {
                if self.began && piece.offset > self.offset {
                    return Err(std::io::Error::other("the tail has moved on"));
                }
                self.began = true;
                self.offset = piece.offset + piece.bytes.len() as u64;
                return Ok(Some(piece.bytes.into()));
            }
            let Some(mut grown) = grown else { return Ok(None) };
            if now.live == Some(run) {
                tokio::select! {
                    more = grown.changed() => if more.is_err() { return Ok(None) },
                    changed = changes.changed() => if changed.is_err() { return Ok(None) },
                }
                continue;
            }
            if self.rest_is_out(&now, run, end) {
                let until = *self.give_up_at.get_or_insert_with(|| Instant::now() + REST_WAIT);
                if timeout_at(until, grown.changed()).await.is_ok_and(|more| more.is_ok()) {
                    continue;
                }
            }
            if !now.pending && now.live.is_none() {
                return Ok(None);
            }
            // It went back to the queue: what its next attempt writes comes after this.
            if now.live.is_none() {
                if changes.changed().await.is_err() {
                    return Ok(None);
                }
                continue;
            }
            (self.run, self.offset, self.give_up_at) = (None, 0, None);
            self.began = false;
        }
    }

    /// True while bytes that the node wrote have not come here.
    fn rest_is_out(&self, now: &Now, run: RunId, end: u64) -> bool {
        now.last.is_some_and(|(last, wrote)| last == run && end < wrote)
    }

    fn look(&self) -> Now {
        let cluster = self.app.mirror.read();
        let Some(job) = cluster.jobs.get(&self.job).or(self.old.as_ref()) else {
            return Now { live: None, last: None, pending: false };
        };
        let last = job.finished.get(&self.task).and_then(|end| end.last.as_ref());
        let last = last.or_else(|| job.past.iter().rev().find(|past| past.task == self.task));
        Now {
            live: job.live.get(&self.task).copied(),
            last: last.map(|past| (past.run, past.usage.output_bytes)),
            pending: job.pending.contains(self.task),
        }
    }
}
