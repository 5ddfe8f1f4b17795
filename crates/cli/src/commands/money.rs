//! `cost` and `history`.
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::submit::words;
use crate::{render, say};
use clap::{Args, ValueEnum};
use jiff::Zoned;
use pcluster_api::{CostBy, CostQuery, HistoryQuery};
use pcluster_model::units::parse_duration;

/// Show what it cost: jobs, boot, idle and drain apart
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster cost                    this month, by user
  pcluster cost --by pool          by pool; also job, day, account
  pcluster cost --since 7d --all   the last week, everybody
  pcluster cost --waste            what no job used, and what would help")]
pub struct CostArgs {
    /// What the sums are of
    #[arg(long, value_enum, default_value_t = By::User)]
    pub by: By,
    /// Where money went that no job used
    #[arg(long)]
    pub waste: bool,
    /// From then on: 7d, 12h, 2026-11-01 (default: this month)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Everybody's
    #[arg(short = 'a', long)]
    pub all: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum By {
    User,
    Job,
    Pool,
    Day,
    Account,
}

impl By {
    const fn query_and_heading(self) -> (CostBy, &'static str) {
        match self {
            Self::User => (CostBy::User, "USER"),
            Self::Job => (CostBy::Job, "JOB"),
            Self::Pool => (CostBy::Pool, "POOL"),
            Self::Day => (CostBy::Day, "DAY"),
            Self::Account => (CostBy::Account, "ACCOUNT"),
        }
    }
}

/// Show what has ended: how, how long, how well it used what it asked for, what it cost
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster history                 your last 100 jobs, newest first
  pcluster history --since 1d      those that ended in the last day
  pcluster history --all -n 20     the last 20 of everybody")]
pub struct HistoryArgs {
    /// Everybody's
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Only jobs of this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Ended since: 7d, 12h, 2026-11-01
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
}

/// `7d` ago, or a date.
fn since(text: Option<&str>, now: &Zoned) -> Result<Option<i64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let now_ms = now.timestamp().as_millisecond();
    if let Ok(span) = parse_duration(text) {
        return Ok(Some(now_ms.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX))));
    }
    words::moment("--since", text, now).map(|at| Some(at.0)).map_err(|_| {
        Failure::usage(format!("`{text}` is not a value of --since"))
            .fact("allowed", "7d, 12h, 2026-11-01, 2026-11-01T08:00")
    })
}

/// `cost`.
///
/// # Errors
/// See [`Failure`].
pub async fn cost(global: &Global, args: &CostArgs) -> Outcome {
    let (by, heading) = args.by.query_and_heading();
    let since_ms = since(args.since.as_deref(), &Zoned::now())?;
    let view = head(global)?.client.cost(&CostQuery { by, since_ms, all: args.all }).await?;
    if global.json {
        say::json(&view)?;
    } else {
        render::money::cost(&view, heading, args.waste, &Look::of(view.now_ms)).write()?;
    }
    Ok(code::DONE)
}

/// `history`.
///
/// # Errors
/// See [`Failure`].
pub async fn history(global: &Global, args: &HistoryArgs) -> Outcome {
    let all = args.all || args.user.is_some();
    let query = HistoryQuery {
        all,
        user: args.user.clone(),
        since_ms: since(args.since.as_deref(), &Zoned::now())?,
        limit: args.limit,
    };
    let list = head(global)?.client.history(&query).await?;
    if global.json {
        say::json(&list)?;
    } else {
        render::money::history(&list, all, &Look::of(list.now_ms)).write()?;
    }
    Ok(code::DONE)
}
