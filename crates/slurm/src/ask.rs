//! Questions to the head that may be asked again: lists, never changes.
//!
//! Invariant: a head that is away is asked again with growing pauses up to a limit, then the command
//! fails in Slurm's words. Deliberately absent: requests that change something (who sends those
//! knows whether they may be repeated).
use crate::Context;
use crate::refusal::Refusal;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{PoolList, RecordList, RecordsQuery};
use pcluster_client::failure::Failure;
use std::time::Duration;

/// Pauses between two questions; after the last one it is over.
const PAUSES_MS: [u64; 5] = [200, 500, 1000, 2000, 4000];

/// The records of a query.
///
/// # Errors
/// No head answered in time, or it said no.
pub async fn records(
    context: &Context,
    command: &str,
    query: &RecordsQuery,
) -> Result<RecordList, Refusal> {
    again(context, command, async |client| client.records(query).await).await
}

/// The pools with their nodes.
///
/// # Errors
/// As [`records`].
pub async fn pools(context: &Context, command: &str) -> Result<PoolList, Refusal> {
    again(context, command, async |client| client.pools().await).await
}

async fn again<T>(
    context: &Context,
    command: &str,
    ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
) -> Result<T, Refusal> {
    let mut pauses = PAUSES_MS.iter();
    loop {
        let failure = match context.head() {
            Ok(head) => match ask(&head.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_away() => Failure::from(error),
                Err(error) => return Err(no(command, error)),
            },
            Err(failure) => failure,
        };
        let Some(pause) = pauses.next() else { return Err(away(command, &failure)) };
        tokio::time::sleep(Duration::from_millis(*pause)).await;
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
