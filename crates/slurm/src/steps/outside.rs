//! Nodes for a command that is in no job: asked for, waited for with the reason, renewed, given back.
//!
//! Invariant: whoever got an allocation here gives it back, however the command ends; if this process
//! is killed, the lease does. Deliberately absent: what is done with the nodes.
use super::signals::{Signals, Told};
use crate::options::{Table, Words, from_environment};
use crate::refusal::Refusal;
use crate::submit::spec::{self, Here};
use crate::submit::would::would_start;
use crate::submit::{environment, layout, send};
use crate::words::Clock;
use crate::{Context, ask};
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{
    AllocationView, CancelRequest, FinishRequest, JobRecord, JobState, RecordsQuery,
};
use pcluster_model::DurationMs;
use pcluster_model::job::JobKind;
use std::time::{Duration, Instant};

/// An allocation whose command says nothing for this long is given back by the head.
const LEASE: Duration = Duration::from_secs(300);
/// Between two words that the command is still there.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Between two looks whether the nodes are there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Who waits longer hears why.
const WHY_AFTER: Duration = Duration::from_secs(5);
/// Between two looks at the reason.
const WHY_EVERY: Duration = Duration::from_secs(5);

/// Variables that `srun` understands when it asks for nodes.
pub(super) const SRUN_VARIABLES: &[(&str, &str)] = &[
    ("SLURM_PARTITION", "partition"),
    ("SLURM_ACCOUNT", "account"),
    ("SLURM_QOS", "qos"),
    ("SLURM_TIMELIMIT", "time"),
    ("SLURM_CONSTRAINT", "constraint"),
    ("SLURM_GRES", "gres"),
    ("SLURM_GPUS", "gpus"),
    ("SLURM_GPUS_PER_NODE", "gpus-per-node"),
    ("SLURM_GPUS_PER_TASK", "gpus-per-task"),
    ("SLURM_MEM_PER_CPU", "mem-per-cpu"),
    ("SLURM_MEM_PER_NODE", "mem"),
    ("SLURM_NNODES", "nodes"),
    ("SLURM_EXCLUSIVE", "exclusive"),
    ("SLURM_JOB_NAME", "job-name"),
    ("SLURM_DEPENDENCY", "dependency"),
    ("SLURM_CPUS_PER_GPU", "cpus-per-gpu"),
    ("SLURM_MEM_PER_GPU", "mem-per-gpu"),
    ("SLURM_NTASKS_PER_GPU", "ntasks-per-gpu"),
    ("SLURM_TRES_PER_TASK", "tres-per-task"),
    ("SLURM_BURST_BUFFER", "bb"),
    ("SLURM_RESERVATION", "reservation"),
    ("SLURM_SIGNAL", "signal"),
];

/// Those of `salloc`.
pub(super) const SALLOC_VARIABLES: &[(&str, &str)] = &[
    ("SALLOC_PARTITION", "partition"),
    ("SALLOC_ACCOUNT", "account"),
    ("SALLOC_QOS", "qos"),
    ("SALLOC_TIMELIMIT", "time"),
    ("SALLOC_CONSTRAINT", "constraint"),
    ("SALLOC_GRES", "gres"),
    ("SALLOC_GPUS", "gpus"),
    ("SALLOC_GPUS_PER_NODE", "gpus-per-node"),
    ("SALLOC_MEM_PER_CPU", "mem-per-cpu"),
    ("SALLOC_MEM_PER_NODE", "mem"),
    ("SALLOC_EXCLUSIVE", "exclusive"),
    ("SALLOC_IMMEDIATE", "immediate"),
    ("SALLOC_KILL_CMD", "kill-command"),
    ("SALLOC_BELL", "bell"),
    ("SALLOC_NO_BELL", "no-bell"),
    ("SALLOC_BURST_BUFFER", "bb"),
    ("SALLOC_CLUSTERS", "clusters"),
    ("SALLOC_CONTAINER", "container"),
    ("SALLOC_CONTAINER_ID", "container-id"),
    ("SALLOC_CPUS_PER_GPU", "cpus-per-gpu"),
    ("SALLOC_DEBUG", "verbose"),
    ("SALLOC_GPUS_PER_TASK", "gpus-per-task"),
    ("SALLOC_MEM_PER_GPU", "mem-per-gpu"),
    ("SALLOC_RESERVATION", "reservation"),
    ("SALLOC_SIGNAL", "signal"),
    ("SALLOC_TRES_PER_TASK", "tres-per-task"),
];

/// The command line over variables.
pub(super) fn with_variables(table: &Table, pairs: &[(&str, &str)], line: Words) -> Words {
    from_environment(table, pairs, super::variable).then(line)
}

/// What is asked for, and how to speak of it.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub command: &'static str,
    pub words: &'a Words,
    /// The words after the command's name.
    pub args: &'a [String],
    /// Name of the job when none was given.
    pub name: String,
    /// Given back when this process is gone.
    pub leased: bool,
}

/// An allocation, and whoever renews it.
#[derive(Debug)]
pub(super) struct Got {
    pub client: Client,
    pub job: AllocationView,
    pub id: String,
    renewal: tokio::task::JoinHandle<()>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NoNodes {
    Refused(Refusal),
    /// Only an answer was wanted, and it was given.
    Told,
    /// A signal ended the waiting.
    Given,
}

impl From<Refusal> for NoNodes {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Asks for nodes and waits for them.
///
/// # Errors
/// See [`NoNodes`].
pub(super) async fn get(
    context: &Context,
    wish: &Wish<'_>,
    signals: &mut Signals,
) -> Result<Got, NoNodes> {
    let request = request(context, wish).await?;
    let answer = send::send(context, wish.command, &request).await?;
    if request.estimate_only {
        let pools = ask::pools(context, wish.command).await?;
        let line = would_start(&answer, &request.spec, &pools, &Clock::here());
        tell!("{}: {line}", wish.command);
        return Err(NoNodes::Told);
    }
    let head = context.head().map_err(|failure| send::away(wish.command, &failure))?;
    let id = answer.job.to_string();
    let waiting = Waiting { client: &head.client, wish, id: &id };
    let job = tokio::select! {
        job = waiting.nodes() => job?,
        () = asked_to_stop(signals) => {
            tell!("{}: Job aborted due to signal", wish.command);
            tell!("{}: Force Terminated job {id}", wish.command);
            // It may have just ended, and the lease ends it otherwise.
            let _ = head.client.cancel(&id, &CancelRequest::default()).await;
            return Err(NoNodes::Given);
        }
    };
    let (client, renewed) = (head.client.clone(), id.clone());
    let leased = wish.leased;
    let renewal = tokio::spawn(async move {
        if !leased {
            return;
        }
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            // An ended job is noticed by its steps.
            let _ = client.renew(&renewed).await;
        }
    });
    Ok(Got { client: head.client, job, id, renewal })
}

impl Got {
    /// Gives the nodes back with what the command came to.
    pub(super) async fn give_back(self, code: u8) {
        self.renewal.abort();
        let request = FinishRequest { exit_code: i32::from(code), signal: 0 };
        let finish =
            super::inside::patiently(async || self.client.finish(&self.id, &request).await);
        // A job that has ended has nothing to give; one whose head is away is ended by the lease.
        let _ = finish.await;
    }
}

async fn request(
    context: &Context,
    wish: &Wish<'_>,
) -> Result<pcluster_api::SubmitRequest, Refusal> {
    let now = jiff::Zoned::now();
    let facts = context.job_facts();
    let here = Here { command: wish.command, facts: &facts, now: &now };
    let mut asked = spec::spec(wish.words, &here)?;
    if asked.nodes_most.is_some() {
        layout::spread(&mut asked, &ask::pools(context, wish.command).await?);
    }
    let (variables, warnings) = environment(wish.words, wish.command, &facts).await?;
    for warning in asked.warnings.iter().chain(&warnings) {
        tell!("{warning}");
    }
    let spec = &mut asked.spec;
    spec.kind = JobKind::Allocation;
    spec.requeue = false;
    spec.lease_ms =
        wish.leased.then(|| DurationMs(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)));
    // The files are the step's; the job itself writes nothing.
    spec.output = "/dev/null".into();
    (spec.error, spec.input) = (None, None);
    if spec.name.is_empty() {
        spec.name.clone_from(&wish.name);
    }
    spec.command = wish.words.rest.first().cloned().unwrap_or_default();
    spec.args = wish.words.rest.iter().skip(1).cloned().collect();
    let mut request =
        send::request(wish.command, wish.args, asked.spec, b"#!/bin/sh\n", &variables)?;
    request.estimate_only = wish.words.has("test-only");
    Ok(request)
}

async fn asked_to_stop(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Told::Interrupt | Told::End => return,
            Told::Forward(_) | Told::Resized => {}
        }
    }
}

struct Waiting<'a> {
    client: &'a Client,
    wish: &'a Wish<'a>,
    id: &'a str,
}

impl Waiting<'_> {
    /// Until the job has its nodes.
    async fn nodes(&self) -> Result<AllocationView, Refusal> {
        let (command, id) = (self.wish.command, self.id);
        let began = Instant::now();
        let immediate = self
            .wish
            .words
            .value("immediate")
            .map(|text| Duration::from_secs(text.parse::<u64>().unwrap_or(1).max(1)));
        let quiet = self.wish.words.has("quiet");
        let (mut queued, mut said, mut looked) = (false, String::new(), began);
        loop {
            match self.client.allocation(id).await {
                Ok(job) if job.started => {
                    if queued && !quiet {
                        tell!("{command}: job {id} has been allocated resources");
                    }
                    return Ok(job);
                }
                Err(error) if error.is_away() => {}
                Ok(_) | Err(_) => self.still_possible().await?,
            }
            if !queued {
                queued = true;
                if !quiet {
                    tell!("{command}: job {id} queued and waiting for resources");
                }
            }
            if immediate.is_some_and(|limit| began.elapsed() >= limit) {
                let _ = self.client.cancel(id, &CancelRequest::default()).await;
                return Err(spec::failed(command, "Requested nodes are busy").of_immediate());
            }
            if began.elapsed() >= WHY_AFTER && looked.elapsed() >= WHY_EVERY && !quiet {
                looked = Instant::now();
                if let Some(why) = self.why().await
                    && why != said
                {
                    tell!("{command}: job {id} waits: {why}");
                    said = why;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn record(&self) -> Option<JobRecord> {
        let query =
            RecordsQuery { ids: Some(self.id.to_owned()), ended: true, ..Default::default() };
        self.client.records(&query).await.ok()?.records.into_iter().next_back()
    }

    /// A job that has ended gets no nodes any more.
    async fn still_possible(&self) -> Result<(), Refusal> {
        let Some(record) = self.record().await else { return Ok(()) };
        if record.state != JobState::Finished {
            return Ok(());
        }
        let command = self.wish.command;
        let detail = record.outcome.map(|outcome| outcome.detail).unwrap_or_default();
        let refusal =
            Refusal::plain(format!("{command}: Job allocation {} has been revoked.", self.id), 1);
        Err(if detail.is_empty() { refusal } else { refusal.hint(detail) })
    }

    /// Why it waits and, if that can be said, how long.
    async fn why(&self) -> Option<String> {
        let record = self.record().await?;
        let reason =
            record.reason.map(|reason| reason.short).unwrap_or_else(|| "its nodes start".into());
        let now = crate::words::clock::Clock::here().now_ms;
        let left =
            record.expected_start_ms.map(|at| (at - now) / 1000).filter(|seconds| *seconds > 0);
        Some(match left {
            Some(seconds) => format!("{reason}; it should start in about {seconds} s"),
            None => reason,
        })
    }
}

/// True when the job of an allocation has ended.
pub(super) async fn has_ended(client: &Client, id: &str) -> bool {
    matches!(client.renew(id).await, Err(ClientError::Problem(problem))
        if !matches!(problem.kind, pcluster_api::ProblemKind::Unavailable | pcluster_api::ProblemKind::Busy | pcluster_api::ProblemKind::Timeout))
}
