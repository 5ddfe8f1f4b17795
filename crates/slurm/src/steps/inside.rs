//! A step of a job that has its nodes: room for it, its layout, its life.
//!
//! Invariant: the job's id is enough to find everything; a request for room carries a key, so asking
//! again gives the same step.
use super::asks::StepAsk;
use super::console::Console;
use super::coordinate::{Manner, coordinate};
use super::input;
use super::layout::{Layout, Room, lay_out};
use super::orders::{self, Caller};
use super::signals::Signals;
use super::{environment, multi};
use crate::Context;
use crate::refusal::Refusal;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{
    AllocationView, JobRecord, JobState, Problem, ProblemKind, RecordsQuery, StepRequest,
};
use pcluster_client::terminal;
use pcluster_steps::part;
use std::time::{Duration, Instant};

/// Pauses between two requests to a head that is away.
const AWAY_MS: [u64; 8] = [200, 500, 1000, 2000, 4000, 8000, 15_000, 30_000];
/// A job that has not started after this is spoken of.
const SAY_PENDING_AFTER: Duration = Duration::from_secs(2);
/// Between two requests for room; the last is kept.
const BUSY_MS: [u64; 5] = [50, 100, 250, 500, 1000];

fn error(text: impl AsRef<str>) -> Refusal {
    Refusal::error("srun", text, 1)
}

/// Asks a head that may be away for a moment.
pub(super) async fn patiently<T>(
    ask: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    for pause in AWAY_MS {
        match ask().await {
            Err(error) if error.is_away() => {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            other => return other,
        }
    }
    ask().await
}

/// Why nothing is known of where a job runs.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// It has ended.
    Over,
    /// The head's no.
    No(Problem),
    Away(ClientError),
}

impl Nowhere {
    /// What `srun` says then.
    pub(super) fn of_srun(&self, id: &str) -> Refusal {
        let confirm =
            |why: &str| error(format!("Unable to confirm allocation for job {id}: {why}"));
        match self {
            Self::Over => confirm("Job/step already completing or completed"),
            Self::No(problem) => confirm(&problem.message).line(format!(
                "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job {id}"
            )),
            Self::Away(away) => unreachable(away),
        }
    }

    /// What `sattach` says then.
    pub(super) fn of_sattach(&self) -> Refusal {
        let (why, hint) = match self {
            Self::Over => ("Job/step already completing or completed", None),
            Self::No(problem) => ("Invalid job id specified", Some(problem.message.clone())),
            Self::Away(away) => {
                let why = "Unable to contact slurm controller (connect failure)";
                (why, Some(away.to_string()))
            }
        };
        let refusal = Refusal::error("sattach", format!("Could not get job step info: {why}"), 1);
        hint.into_iter().fold(refusal, Refusal::hint)
    }
}

/// Where a job runs; waits for one that has not started, for `command`.
///
/// # Errors
/// No such job, or it has ended.
pub(super) async fn allocation_of(
    client: &Client,
    id: &str,
    command: &str,
) -> Result<AllocationView, Nowhere> {
    let (mut said, began) = (false, Instant::now());
    let mut id = id.to_owned();
    loop {
        match patiently(async || client.allocation(&id).await).await {
            Ok(job) if job.started => return Ok(job),
            Ok(job) if job.started_at_ms.is_some() => return Err(Nowhere::Over),
            Ok(_) => {}
            Err(ClientError::Problem(_)) if may_come(client, &mut id).await => {}
            Err(ClientError::Problem(problem)) => return Err(Nowhere::No(problem)),
            Err(away) => return Err(Nowhere::Away(away)),
        }
        // The first word of a script may be faster than the word that it has started.
        if !said && began.elapsed() > SAY_PENDING_AFTER {
            said = true;
            tell!("{command}: Job is pending execution");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether this job may still get nodes. The last task of an array has the array's id as its own:
/// then that one is meant, and `id` says so afterwards.
async fn may_come(client: &Client, id: &mut String) -> bool {
    let query = RecordsQuery { ids: Some(id.clone()), ..RecordsQuery::default() };
    let Ok(list) = client.records(&query).await else { return false };
    let raw = id.parse::<u64>().ok();
    let own = |record: &&JobRecord| Some(record.raw_job) == raw && record.run.is_some();
    if let Some(record) = list.records.iter().find(own)
        && let Some(task) = record.task
    {
        *id = format!("{}_{task}", record.job);
        return true;
    }
    let waits = |record: &JobRecord| record.run.is_none() && record.state != JobState::Finished;
    !list.records.is_empty() && list.records.iter().all(waits)
}

/// The head is away.
pub(super) fn unreachable(away: &ClientError) -> Refusal {
    error("Unable to allocate resources: Unable to contact slurm controller (connect failure)")
        .hint(away.to_string())
}

/// The caller of a step.
pub(super) fn caller(context: &Context) -> Caller {
    let facts = &context.facts;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Caller {
        variables: environment::of_caller(variables),
        work_dir: facts.work_dir.clone().unwrap_or_else(|| "/".into()),
        umask: facts.umask,
        soft_limits: facts.soft_limits.clone(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        terminal: terminal::size(),
    }
}

/// Runs the step to its end.
///
/// # Errors
/// It could not be made, in Slurm's words.
pub(super) async fn step(
    client: &Client,
    job: &AllocationView,
    mut ask: StepAsk,
    caller: &Caller,
    signals: Signals,
) -> Result<u8, Refusal> {
    let layout = layout_of(job, &mut ask)?;
    if let (Some(warning), false) = (&layout.warning, ask.quiet) {
        tell!("srun: {warning}");
    }
    if let Some(node) = orders::too_large(&ask, job, &layout) {
        let why = "Memory required by task is not available";
        return Err(error(format!("Unable to create step for job {}: {why}", job.raw_job))
            .hint(format!("the step asks for more than the job has on {node}")));
    }
    let programs = programs(&ask, layout.tasks(), &caller.work_dir)?;
    let number = room(client, job, &ask, &layout).await?;
    let facts = orders::facts(job, number, &orders::work_dir(&ask, caller));
    let label = ask.label.then(|| layout.tasks());
    let console = Console::open(&ask.output, ask.error.as_ref(), ask.append, label, &facts);
    let console = console.map_err(error);
    let feed = input::start(&ask.input, layout.nodes.len(), &facts).map_err(error);
    let (console, feed) = match (console, feed) {
        (Ok(console), Ok(feed)) => (console, feed),
        (Err(refusal), _) | (_, Err(refusal)) => {
            give_up(client, job, &layout, number).await;
            return Err(refusal);
        }
    };
    run_here(ask.prolog[0].as_deref());
    let orders = orders::orders(&ask, job, &layout, number, &programs, caller);
    let manner = Manner {
        job: part::Whose::of(job),
        label: format!("{}.{number}", job.raw_job),
        kill_on_bad_exit: ask.kill_on_bad_exit,
        wait: ask.wait,
        time_limit: ask.time_limit,
        quit_on_interrupt: ask.quit_on_interrupt,
        quiet: ask.quiet,
        verbose: ask.verbose,
        pty: ask.pty,
    };
    let nodes = layout.nodes.iter().map(|placed| placed.node.clone()).collect();
    let raw = ask.pty.then(terminal::Raw::enter);
    let code = coordinate(client, orders, nodes, manner, console, feed, signals).await;
    drop(raw);
    run_here(ask.prolog[1].as_deref());
    Ok(code)
}

/// Tasks on nodes, with what the job asked for where the step says nothing.
fn layout_of(job: &AllocationView, ask: &mut StepAsk) -> Result<Layout, Refusal> {
    let rooms: Vec<Room> = job
        .parts
        .iter()
        .map(|part| Room { rank: part.rank, node: part.node.clone(), cpus: part.cpus })
        .collect();
    if ask.pty && ask.layout.tasks.is_none() {
        // A terminal is one task's.
        ask.layout.tasks = Some(1);
    }
    let nodes = u32::try_from(job.parts.len()).unwrap_or(u32::MAX);
    ask.layout.job_tasks = match job.ntasks_per_node {
        Some(per_node) if !job.ntasks_given => Some(per_node.saturating_mul(nodes)),
        _ => job.ntasks_given.then_some(job.ntasks),
    };
    lay_out(&rooms, &ask.layout).map_err(|why| {
        error(format!("Unable to create step for job {}: {why}", job.raw_job))
            .hint(format!("the job has {}", room_words(&rooms)))
    })
}

fn room_words(rooms: &[Room]) -> String {
    let each = rooms.iter().map(|room| format!("{} CPUs on {}", room.cpus, room.node));
    each.collect::<Vec<_>>().join(", ")
}

/// The words of each task.
fn programs(ask: &StepAsk, tasks: u32, dir: &str) -> Result<Vec<Vec<String>>, Refusal> {
    let Some(file) = ask.command.first() else {
        return Err(error("No command given to execute."));
    };
    if !ask.multi_prog {
        return Ok(vec![ask.command.clone()]);
    }
    let path = orders::absolute(dir, file);
    let text = std::fs::read_to_string(&path)
        .map_err(|why| error(format!("Unable to open configuration file {path}: {why}")))?;
    multi::parse(&text, tasks)
        .map_err(|why| error(why).line("srun: error: Failed to parse multi-prog file"))
}

/// Asks the head for room until there is some.
async fn room(
    client: &Client,
    job: &AllocationView,
    ask: &StepAsk,
    layout: &Layout,
) -> Result<u32, Refusal> {
    let mut tasks_by_rank = vec![0; job.parts.len()];
    let mut gpus_by_rank = vec![0; job.parts.len()];
    for (index, placed) in layout.nodes.iter().enumerate() {
        let Ok(at) = usize::try_from(placed.rank) else { continue };
        if let (Some(count), Some(gpus)) = (tasks_by_rank.get_mut(at), gpus_by_rank.get_mut(at)) {
            *count = u32::try_from(placed.tasks.len()).unwrap_or(u32::MAX);
            *gpus = orders::gpus_on(ask, layout, index).unwrap_or(0);
        }
    }
    let program = ask.command.first().map_or("", String::as_str);
    let own_name = std::path::Path::new(program).file_name().map(|name| name.to_string_lossy());
    let request = StepRequest {
        key: part::key(),
        name: ask.name.clone().unwrap_or_else(|| own_name.unwrap_or_default().into_owned()),
        tasks_by_rank,
        gpus_by_rank,
        cpus_per_task: ask.layout.cpus_per_task,
        overlap: ask.overlap,
    };
    let id = job.raw_job;
    let mut pauses = BUSY_MS.iter();
    let mut pause = Duration::ZERO;
    let mut said = false;
    loop {
        match patiently(async || client.make_step(job.run, &request).await).await {
            Ok(grant) => {
                if said {
                    tell!("srun: Step created for StepId={id}.{}", grant.step);
                }
                return Ok(grant.step);
            }
            Err(ClientError::Problem(problem)) if problem.kind == ProblemKind::Busy => {
                let busy = "Requested nodes are busy";
                if ask.immediate {
                    let text = format!("Unable to create step for job {id}: {busy}");
                    return Err(error(text).of_immediate());
                }
                if !std::mem::replace(&mut said, true) {
                    tell!("srun: Job {id} step creation temporarily disabled, retrying ({busy})");
                }
            }
            Err(ClientError::Problem(problem)) => {
                return Err(error(format!(
                    "Unable to create step for job {id}: {}",
                    problem.message
                )));
            }
            Err(away) => return Err(unreachable(&away)),
        }
        if let Some(ms) = pauses.next() {
            pause = Duration::from_millis(*ms);
        }
        tokio::time::sleep(pause).await;
    }
}

/// A step that was made and will not run.
async fn give_up(client: &Client, job: &AllocationView, layout: &Layout, step: u32) {
    for placed in &layout.nodes {
        let end =
            pcluster_api::StepPartEnd { rank: placed.rank, exit_code: 1, ..Default::default() };
        // The end of the job ends it, too.
        let _ = client.end_step(job.run, step, &end).await;
    }
}

/// `--prolog` and `--epilog` run here, and their failure is theirs.
fn run_here(program: Option<&str>) {
    if let Some(program) = program {
        let ran = std::process::Command::new(program).status();
        if !ran.is_ok_and(|status| status.success()) {
            tell!("srun: error: {program} failed");
        }
    }
}
