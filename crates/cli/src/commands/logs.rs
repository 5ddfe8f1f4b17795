//! `logs`, and following a job's output through restarts of the head.
//!
//! Invariant: every byte is written once, in order: after a broken connection the stream goes on at
//! the byte where it broke. Bytes that the head no longer has are said to be missing.
use super::job_id;
use super::wait::{Patience, let_go, say_bad_ends};
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::say;
use crate::text::thousands;
use clap::Args;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{OutputQuery, WaitResponse};
use serde::Serialize;
use std::time::Duration;

/// Between two looks at a job whose output ended while it goes on (a head that stops).
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Show a job's output; it works after the node is gone
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster logs 42              what it has written so far
  pcluster logs -f 42           from the first line on, until it ends
  pcluster logs 41_3 | tail     one task of an array

Ctrl-C only lets go; the job goes on.")]
pub struct LogsArgs {
    /// Go on until the job has ended
    #[arg(short, long)]
    pub follow: bool,
    #[arg(value_name = "JOB")]
    pub id: String,
}

/// A job's output on its way to stdout.
#[derive(Debug)]
pub struct Follower<'a> {
    client: &'a Client,
    id: &'a str,
    /// Of the next byte to write.
    offset: u64,
    patience: Patience,
    said_gap: bool,
}

impl<'a> Follower<'a> {
    #[must_use]
    pub fn new(client: &'a Client, id: &'a str) -> Self {
        Self { client, id, offset: 0, patience: Patience::default(), said_gap: false }
    }

    /// Writes the output until the job has ended, and answers how it ended. `None`: it has begun,
    /// nothing was written yet, and `stop` said that the caller goes on by itself.
    ///
    /// # Errors
    /// No such job, not yours, a closed pipe, or a head that stays away.
    pub async fn until_ended(
        &mut self,
        stop: impl Fn() -> bool,
    ) -> Result<Option<WaitResponse>, Failure> {
        loop {
            match self.copy(true, &stop).await? {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                Err(error) => {
                    self.patience.bear(error).await?;
                    continue;
                }
            }
            // A stream that ends is the job's end, or a head that stops in good order.
            match self.client.wait(self.id, Duration::ZERO).await {
                Ok(answer) if answer.ended => return self.rest(&stop, answer).await,
                Ok(_) => tokio::time::sleep(AGAIN_AFTER).await,
                Err(error) => self.patience.bear(error).await?,
            }
        }
    }

    /// What was written between the end of the stream and the end of the job.
    async fn rest(
        &mut self,
        stop: &impl Fn() -> bool,
        answer: WaitResponse,
    ) -> Result<Option<WaitResponse>, Failure> {
        loop {
            match self.copy(false, stop).await? {
                Ok(true) => return Ok(None),
                Ok(false) => return Ok(Some(answer)),
                Err(error) => self.patience.bear(error).await?,
            }
        }
    }

    /// Writes what there is; answers true when `stop` ended it before the first byte.
    async fn copy(
        &mut self,
        follow: bool,
        stop: &impl Fn() -> bool,
    ) -> Result<Result<bool, ClientError>, Failure> {
        let query = OutputQuery { offset: self.offset, follow };
        let mut output = match self.client.output(self.id, &query).await {
            Ok(output) => output,
            Err(error) => return Ok(Err(error)),
        };
        self.patience.answered();
        let mut began = false;
        loop {
            match output.next().await {
                Ok(Some(_)) if self.offset == 0 && stop() => return Ok(Ok(true)),
                Ok(Some(bytes)) => {
                    if !began && output.start() > self.offset {
                        self.say_gap(output.start()).await;
                        self.offset = output.start();
                    }
                    began = true;
                    self.offset += bytes.len() as u64;
                    say::stream(bytes.to_vec()).await?;
                }
                Ok(None) => return Ok(Ok(false)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// The head keeps the end of what a job wrote; the file is the whole.
    async fn say_gap(&mut self, start: u64) {
        if std::mem::replace(&mut self.said_gap, true) {
            return;
        }
        let left_out = thousands(start - self.offset);
        let file = self.client.job(self.id).await.ok().and_then(|detail| detail.output);
        let whole = file.map_or(String::new(), |file| format!("; the whole is in {file}"));
        say::line(format!(
            "note: {left_out} bytes are left out here (the head keeps only the end){whole}"
        ));
    }
}

/// Writes a job's output until it has ended, and answers how.
///
/// # Errors
/// No such job, not yours, a closed pipe, or a head that stays away.
pub async fn follow(client: &Client, id: &str) -> Result<WaitResponse, Failure> {
    loop {
        if let Some(answer) = Follower::new(client, id).until_ended(|| false).await? {
            return Ok(answer);
        }
    }
}

#[derive(Serialize)]
struct Logs<'a> {
    schema: &'static str,
    job: &'a str,
    /// Place of the first byte in the whole output.
    start: u64,
    output: String,
}

/// `logs`.
///
/// # Errors
/// See [`Failure`].
pub async fn run(global: &Global, args: &LogsArgs) -> Outcome {
    let id = job_id(&args.id)?;
    if global.json && args.follow {
        return Err(Failure::usage("--json does not go with --follow")
            .hint("pcluster logs 42 --json    after it has ended"));
    }
    let client = head(global)?.client;
    if args.follow {
        return tokio::select! {
            answer = follow(&client, &id) => {
                say_bad_ends(&answer?.rows);
                Ok(code::DONE)
            }
            _ = tokio::signal::ctrl_c() => Ok(let_go(&id)),
        };
    }
    if global.json {
        let mut output = client.output(&id, &OutputQuery::default()).await?;
        let (start, mut kept) = (output.start(), Vec::new());
        while let Some(bytes) = output.next().await? {
            kept.extend_from_slice(&bytes);
        }
        let output = String::from_utf8_lossy(&kept).into_owned();
        say::json(&Logs { schema: "pcluster.logs/1", job: &id, start, output })?;
        return Ok(code::DONE);
    }
    let mut copier = Follower::new(&client, &id);
    copier.copy(false, &|| false).await??;
    if copier.offset == 0 {
        say::line(format!("nothing was written yet\nhint: pcluster why {id}"));
    }
    Ok(code::DONE)
}
