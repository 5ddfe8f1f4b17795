//! `logs`, and following a job's output through restarts of the head.
//!
//! Invariant: every byte is written once, in order: after a broken connection the stream goes on at
//! the byte where it broke.
use super::job_id;
use super::wait::{Patience, let_go, say_bad_ends};
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::say;
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

/// Writes what there is from `offset` on; answers how far it came and how the stream ended.
async fn copy(
    client: &Client,
    id: &str,
    offset: &mut u64,
    follow: bool,
    patience: &mut Patience,
) -> Result<Result<(), ClientError>, Failure> {
    let mut output = match client.output(id, &OutputQuery { offset: *offset, follow }).await {
        Ok(output) => output,
        Err(error) => return Ok(Err(error)),
    };
    patience.answered();
    loop {
        match output.next().await {
            Ok(Some(bytes)) => {
                say::bytes(&bytes)?;
                *offset += bytes.len() as u64;
            }
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Writes a job's output until it has ended, and answers how.
///
/// # Errors
/// No such job, not yours, a closed pipe, or a head that stays away.
pub async fn follow(client: &Client, id: &str) -> Result<WaitResponse, Failure> {
    let mut offset = 0;
    let mut patience = Patience::default();
    loop {
        if let Err(error) = copy(client, id, &mut offset, true, &mut patience).await? {
            patience.bear(error).await?;
            continue;
        }
        // A stream that ends is the job's end, or a head that stops in good order.
        match client.wait(id, Duration::ZERO).await {
            Ok(answer) if answer.ended => {
                return rest(client, id, &mut offset, &mut patience).await.map(|()| answer);
            }
            Ok(_) => tokio::time::sleep(AGAIN_AFTER).await,
            Err(error) => patience.bear(error).await?,
        }
    }
}

/// What was written between the end of the stream and the end of the job.
async fn rest(
    client: &Client,
    id: &str,
    offset: &mut u64,
    patience: &mut Patience,
) -> Result<(), Failure> {
    while let Err(error) = copy(client, id, offset, false, patience).await? {
        patience.bear(error).await?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Logs<'a> {
    schema: &'static str,
    job: &'a str,
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
    let mut output = client.output(&id, &OutputQuery::default()).await?;
    let mut kept = Vec::new();
    while let Some(bytes) = output.next().await? {
        if global.json {
            kept.extend_from_slice(&bytes);
        } else {
            say::bytes(&bytes)?;
        }
    }
    if global.json {
        let output = String::from_utf8_lossy(&kept).into_owned();
        say::json(&Logs { schema: "pcluster.logs/1", job: &id, output })?;
    }
    Ok(code::DONE)
}
