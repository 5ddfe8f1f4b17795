//! Questions to the head that may be asked again.
//!
//! Invariant: a head that is away is asked again with growing pauses up to a limit, then the command
//! fails in Slurm's words. Deliberately absent: the decision whether a change may be asked for twice
//! (who sends it knows).
use crate::Context;
use crate::refusal::Refusal;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{PoolList, RecordList, RecordsQuery};
use pcluster_client::failure::Failure;
use std::time::{Duration, Instant};

/// First pause between two questions; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A head that is away for longer is given up, unless `PCLUSTER_HEAD_WAIT` says other seconds.
const PATIENCE: Duration = Duration::from_secs(15);
const PATIENCE_VARIABLE: &str = "PCLUSTER_HEAD_WAIT";

/// How long a head that is away is asked again.
fn patience() -> Duration {
    let said = std::env::var(PATIENCE_VARIABLE).ok().and_then(|text| text.parse::<u32>().ok());
    said.map_or(PATIENCE, |seconds| Duration::from_secs(u64::from(seconds)))
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody answered in time.
    Away(Failure),
    /// The answer is no.
    Refused(ClientError),
}

/// The records of a query.
///
/// # Errors
/// No head answered in time, or it said no.
pub async fn records(
    context: &Context,
    command: &str,
    query: &RecordsQuery,
) -> Result<RecordList, Refusal> {
    let answer = again(context, async |client| client.records(query).await).await;
    answer.map_err(|trouble| said(command, trouble))
}

/// The pools with their nodes.
///
/// # Errors
/// As [`records`].
pub async fn pools(context: &Context, command: &str) -> Result<PoolList, Refusal> {
    let answer = again(context, async |client| client.pools().await).await;
    answer.map_err(|trouble| said(command, trouble))
}

fn said(command: &str, trouble: Trouble) -> Refusal {
    match trouble {
        Trouble::Away(failure) => away(command, &failure),
        Trouble::Refused(error) => no(command, error),
    }
}

/// Asks, again while the head is away. Only for what may be asked twice.
///
/// # Errors
/// [`Trouble`].
pub async fn again<T>(
    context: &Context,
    ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
) -> Result<T, Trouble> {
    let (began, patience) = (Instant::now(), patience());
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = match context.head() {
            Ok(head) => match ask(&head.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_away() => Failure::from(error),
                Err(error) => return Err(Trouble::Refused(error)),
            },
            Err(failure) => failure,
        };
        if began.elapsed() + pause > patience {
            return Err(Trouble::Away(failure));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// `slurm_load_jobs error: Unable to contact slurm controller (connect failure)`, which clients
/// match.
fn away(command: &str, failure: &Failure) -> Refusal {
    let words = "Unable to contact slurm controller (connect failure)";
    let refusal = match command {
        "squeue" | "scontrol" => Refusal::plain(format!("slurm_load_jobs error: {words}"), 1),
        "sinfo" => Refusal::plain(format!("slurm_load_partitions: {words}"), 1),
        other => Refusal::error(other, words, 1),
    };
    refusal.because(failure)
}

fn no(command: &str, error: ClientError) -> Refusal {
    let text = error.to_string();
    Refusal::error(command, text, 1).because(&Failure::from(error))
}
