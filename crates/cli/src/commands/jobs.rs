//! `queue`, `show`, `why`.
use super::{Named, job_id, job_or_node};
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::{render, say};
use clap::Args;
use pcluster_api::JobsQuery;

const QUEUE: &str = "\
Examples:
  pcluster queue              your jobs that run and wait, and why they wait
  pcluster queue --all        everybody's
  pcluster queue -t all 41    job 41 and all its tasks, ended ones too";

/// Show what runs and waits, and why
#[derive(Debug, Args)]
#[command(after_help = QUEUE)]
pub struct QueueArgs {
    /// Only these jobs
    #[arg(value_name = "JOB")]
    pub ids: Vec<String>,
    /// Jobs of everybody
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Only jobs of this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// `all`: ended jobs too
    #[arg(short = 't', long, value_name = "all", value_parser = ["all", "live"], default_value = "live",
        hide_default_value = true, hide_possible_values = true)]
    pub states: String,
}

const SHOW: &str = "\
Examples:
  pcluster show 42             request, state, attempts, cost
  pcluster show 41_3           one task of an array
  pcluster show 42 --script    with the script as it was submitted";

/// Show everything about a job
#[derive(Debug, Args)]
#[command(after_help = SHOW)]
pub struct ShowArgs {
    #[arg(value_name = "JOB")]
    pub id: String,
    /// The script as it was submitted
    #[arg(long)]
    pub script: bool,
}

const WHY: &str = "\
Examples:
  pcluster why 42           why it waits, and the smallest change that starts it
  pcluster why compute-7    why a node is there, or why it failed
  pcluster why job:7        a job, where a node has a name like its number";

/// Say why a job waits or a node is as it is, and what would help
#[derive(Debug, Args)]
#[command(after_help = WHY)]
pub struct WhyArgs {
    #[arg(value_name = "JOB|NODE")]
    pub what: String,
}

/// `queue`.
///
/// # Errors
/// See [`Failure`].
pub async fn queue(global: &Global, args: &QueueArgs) -> Outcome {
    let ids = args.ids.iter().map(|id| job_id(id)).collect::<Result<Vec<_>, _>>()?;
    let head = head(global)?;
    let others = args.all || args.user.is_some() || !ids.is_empty();
    let query = JobsQuery {
        all: others,
        finished: args.states == "all",
        ids: (!ids.is_empty()).then(|| ids.join(",")),
        user: args.user.clone(),
    };
    let list = head.client.jobs(&query).await?;
    if global.json {
        say::json(&list)?;
        return Ok(code::DONE);
    }
    let mut page = render::queue::queue(&list, others, &Look::of(list.now_ms));
    if !ids.is_empty() {
        if list.jobs.is_empty() {
            return Err(Failure::no_such(format!("nothing of {} runs or waits", ids.join(", ")))
                .hint("pcluster queue -t all JOB    shows ended ones too"));
        }
        // A sum of chosen rows says nothing.
        page.talk.clear();
    }
    page.write()?;
    Ok(code::DONE)
}

/// `show`.
///
/// # Errors
/// See [`Failure`].
pub async fn show(global: &Global, args: &ShowArgs) -> Outcome {
    let id = job_id(&args.id)?;
    let detail = head(global)?.client.job(&id).await?;
    if global.json {
        say::json(&detail)?;
    } else {
        say::data(&render::show::job(&detail, args.script, &Look::of(detail.now_ms)))?;
    }
    Ok(code::DONE)
}

/// `why`.
///
/// # Errors
/// See [`Failure`].
pub async fn why(global: &Global, args: &WhyArgs) -> Outcome {
    let what = job_or_node(&args.what)?;
    let client = head(global)?.client;
    let view = match &what {
        Named::Job(id) => client.why_job(id).await?,
        Named::Node(name) => client.why_node(name).await?,
    };
    if global.json {
        say::json(&view)?;
    } else {
        say::data(&render::why::why(&view, &Look::here()))?;
    }
    Ok(code::DONE)
}
