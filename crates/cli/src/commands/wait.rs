//! `wait`, and waiting itself: for a job's end, and for a head that is away for a moment.
//!
//! Invariant: a restart of the head is survived and said; a head that stays away ends the wait in
//! words. Deliberately absent: output (`logs`).
use super::job_id;
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::render::queue::outcome_words;
use crate::say;
use clap::Args;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{JobView, WaitResponse};
use pcluster_model::units::parse_duration;
use serde::Serialize;
use std::time::{Duration, Instant};

/// One long poll.
const POLL: Duration = Duration::from_secs(30);
/// A head that has been away for so long is not restarting.
const AWAY_AT_MOST: Duration = Duration::from_secs(30 * 60);
/// Being away for less is not worth a word.
const SAY_AFTER: Duration = Duration::from_secs(1);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Wait for jobs to end, and end with their exit code
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster wait 42               ends with the job's exit code (128 + signal)
  pcluster wait 41 43            both; the highest code
  pcluster wait 41 --timeout 1h  gives up after an hour with code 7; the job goes on

Ctrl-C only lets go; the jobs go on.")]
pub struct WaitArgs {
    #[arg(value_name = "JOB", required = true)]
    pub ids: Vec<String>,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
}

/// Counts how long the head has been away.
#[derive(Debug, Default)]
pub struct Patience {
    away_since: Option<Instant>,
    said: bool,
}

impl Patience {
    /// The head has answered.
    pub fn answered(&mut self) {
        if self.said {
            say::line("the head is back");
        }
        *self = Self::default();
    }

    /// Waits a moment after `error`.
    ///
    /// # Errors
    /// The error itself when it is not about a head that may come back, or came not back in time.
    pub async fn bear(&mut self, error: ClientError) -> Result<(), Failure> {
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if !error.is_away() || since.elapsed() > AWAY_AT_MOST {
            return Err(error.into());
        }
        if !self.said && since.elapsed() > SAY_AFTER {
            say::line(format!("{error}; jobs go on without it, and this waits for it"));
            self.said = true;
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
        Ok(())
    }
}

/// Waits until `id` has ended.
///
/// # Errors
/// No such job, or a head that stays away.
pub async fn until_ended(client: &Client, id: &str) -> Result<WaitResponse, Failure> {
    let mut patience = Patience::default();
    loop {
        match client.wait(id, POLL).await {
            Ok(answer) => {
                patience.answered();
                if answer.ended {
                    return Ok(answer);
                }
            }
            Err(error) => patience.bear(error).await?,
        }
    }
}

/// Says how jobs ended that did not end by themselves with 0; a code alone explains little.
pub fn say_bad_ends(rows: &[JobView]) {
    let bad =
        |row: &&JobView| row.outcome.as_ref().is_some_and(|outcome| outcome.word != "completed");
    for row in rows.iter().filter(bad).take(10) {
        say::line(format!("job {}: {}", row.id, outcome_words(row)));
    }
}

#[derive(Serialize)]
struct Waited<'a> {
    schema: &'static str,
    code: u8,
    results: &'a [WaitResponse],
}

/// Ctrl-C in `wait`, `logs -f` and `--wait`: lets go and says how to come back.
pub fn let_go(id: &str) -> u8 {
    say::line(format!("\nlet go: job {id} goes on"));
    say::line(format!("hint: pcluster wait {id}   pcluster logs -f {id}   pcluster cancel {id}"));
    130
}

/// `wait`.
///
/// # Errors
/// See [`Failure`]; its own trouble is 255, a timeout 7.
pub async fn run(global: &Global, args: &WaitArgs) -> Outcome {
    let limit = match args.timeout.as_deref().map(parse_duration).transpose() {
        Ok(limit) => limit.map(|limit| Duration::from_millis(limit.0)),
        Err(error) => return Err(Failure::usage(format!("--timeout: {error}")).own_trouble()),
    };
    let ids = args.ids.iter().map(|id| job_id(id)).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(Failure::own_trouble)?;
    let client = head(global).map_err(Failure::own_trouble)?.client;
    let all = async {
        let mut results = Vec::new();
        for id in &ids {
            results.push(until_ended(&client, id).await.map_err(Failure::own_trouble)?);
        }
        Ok::<_, Failure>(results)
    };
    let timer = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let results: Vec<WaitResponse> = tokio::select! {
        results = all => results?,
        () = timer => {
            return Err(Failure::timeout(format!("job {} has not ended in time", ids.join(", ")))
                .hint(format!("pcluster why {}", ids[0])));
        }
        _ = tokio::signal::ctrl_c() => return Ok(let_go(&ids.join(" "))),
    };
    let highest = results.iter().map(|result| result.code).max().unwrap_or(code::DONE);
    if global.json {
        say::json(&Waited { schema: "pcluster.waited/1", code: highest, results: &results })?;
    } else {
        results.iter().for_each(|result| say_bad_ends(&result.rows));
    }
    Ok(highest)
}
