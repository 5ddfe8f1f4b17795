//! Which job on which node is meant, and why there can be no shell.
//!
//! Invariant: a refusal says what the job or node does now and what to do about it.
use super::super::{Named, job_or_node, node_name};
use crate::failure::Failure;
use crate::look::Look;
use crate::render;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{AllocationView, JobDetail, JobState, JobView, JobsQuery, NodeView};
use pcluster_steps::part::Whose;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Job { id: String, node: Option<String> },
    Node { name: String, outside: bool },
}

/// Where the shell is to be.
#[derive(Debug)]
pub(super) enum Place {
    Job {
        job: Box<AllocationView>,
        rank: u32,
        node: String,
    },
    /// The node itself.
    Node(String),
}

/// `42`, `41_3`, `42/compute-7`, `compute-7`.
pub(super) fn asked(what: &str, node: Option<&str>, outside: bool) -> Result<Asked, Failure> {
    let (what, of_word) = match what.split_once('/') {
        Some((job, node)) => (job, Some(node)),
        None => (what, None),
    };
    if of_word.is_some() && node.is_some() {
        return Err(Failure::usage("the node is named twice").hint("pcluster shell 42/compute-7"));
    }
    let node = of_word.or(node).map(node_name).transpose()?;
    match (job_or_node(what)?, node) {
        (Named::Job(id), _) if outside => {
            Err(Failure::usage(format!("--outside is for a node, and {id} is a job"))
                .hint("pcluster shell --outside compute-7"))
        }
        (Named::Job(id), node) => Ok(Asked::Job { id, node }),
        (Named::Node(name), None) => Ok(Asked::Node { name, outside }),
        (Named::Node(name), Some(_)) => {
            Err(Failure::usage(format!("`{name}` is not the id of a job"))
                .hint("pcluster shell 42 --node compute-7"))
        }
    }
}

/// As users name it: `42`, `41_3`.
pub(super) fn id_of(job: &AllocationView) -> String {
    Whose::of(job).id
}

/// Finds it.
///
/// # Errors
/// There is no such thing, it does not run, or the head says no.
pub(super) async fn find(client: &Client, asked: &Asked) -> Result<Place, Failure> {
    match asked {
        Asked::Job { id, node } => in_job(client, id, node.as_deref()).await,
        Asked::Node { name, outside } => on_node(client, name, *outside).await,
    }
}

async fn in_job(client: &Client, id: &str, node: Option<&str>) -> Result<Place, Failure> {
    match client.allocation(id).await {
        Ok(job) if job.started => {
            one_of_array(client, &job, id).await?;
            part_of(job, node)
        }
        Ok(_) => {
            let detail = client.job(id).await?;
            Err(not_now(&detail, id, &Look::of(detail.now_ms)).unwrap_or_else(|| {
                Failure::refused(format!("job {id} is not there yet"))
                    .hint(format!("pcluster shell {id}    again in a moment"))
            }))
        }
        Err(ClientError::Problem(problem)) => {
            let detail = client.job(id).await.ok();
            let words = detail.and_then(|detail| not_now(&detail, id, &Look::of(detail.now_ms)));
            Err(words.unwrap_or_else(|| ClientError::Problem(problem).into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The number of an array is also that of its last task: of several that run one must be named.
async fn one_of_array(client: &Client, job: &AllocationView, id: &str) -> Result<(), Failure> {
    if job.task.is_none() || id != job.job.to_string() {
        return Ok(());
    }
    let rows = client.job(id).await?.rows;
    let runs: Vec<&JobView> = rows.iter().filter(|row| row.state == JobState::Running).collect();
    match runs.as_slice() {
        [first, _, ..] => {
            let many = runs.len();
            Err(Failure::refused(format!("{many} tasks of job {id} run: one must be named"))
                .hint(format!("pcluster shell {}", first.id)))
        }
        _ => Ok(()),
    }
}

/// The part of a job on this node; without one its first.
fn part_of(job: AllocationView, node: Option<&str>) -> Result<Place, Failure> {
    let found = match node {
        Some(name) => job.parts.iter().find(|part| part.node == name),
        None => job.parts.first(),
    };
    if let Some(part) = found {
        let (rank, node) = (part.rank, part.node.clone());
        return Ok(Place::Job { job: Box::new(job), rank, node });
    }
    let names: Vec<&str> = job.parts.iter().map(|part| part.node.as_str()).collect();
    let (id, asked) = (id_of(&job), node.unwrap_or_default());
    Err(Failure::no_such(format!("job {id} does not run on {asked}"))
        .fact("runs on", names.join(", "))
        .hint(format!("pcluster shell {id}")))
}

/// Why a job has no shell now; `None` when what it does is no reason.
fn not_now(detail: &JobDetail, id: &str, look: &Look) -> Option<Failure> {
    let row = detail.rows.iter().find(|row| row.id == id).or_else(|| detail.rows.first())?;
    let refused = |text: String| {
        Failure::refused(format!("job {id} {text}")).fact("state", render::show::state(row, look))
    };
    Some(match row.state {
        JobState::Held => refused("is held and runs nowhere".into())
            .hint(format!("pcluster release {id}    lets it start")),
        JobState::Queued => refused("waits and runs nowhere yet".into())
            .hint(format!("pcluster why {id}    what it waits for")),
        JobState::Starting => refused(starting(row))
            .hint(format!("pcluster shell {id}    again then; pcluster why {id} says more")),
        JobState::Ending => {
            refused("is ending".into()).hint(format!("pcluster logs {id}    its output"))
        }
        JobState::Finished => {
            let at = row.ended_at_ms.map(|at| format!(" at {}", look.clock_seconds(at)));
            refused(format!("has ended{}", at.unwrap_or_default()))
                .hint(format!("pcluster logs {id}    its output"))
        }
        JobState::Running => return None,
    })
}

fn starting(row: &JobView) -> String {
    match row.node_names.as_slice() {
        [] => "is starting and has no node yet".to_owned(),
        names => format!("is still starting on {}", names.join(", ")),
    }
}

async fn on_node(client: &Client, name: &str, outside: bool) -> Result<Place, Failure> {
    let detail = client.node(name).await?;
    let node = detail.node;
    if !outside && let Some(id) = own_job_on(client, &node.name).await? {
        return in_job(client, &id, Some(&node.name)).await;
    }
    if !node.connected {
        return Err(not_connected(&node, &Look::of(detail.now_ms)));
    }
    Ok(Place::Node(node.name))
}

/// The newest of the caller's own jobs that run on this node.
async fn own_job_on(client: &Client, node: &str) -> Result<Option<String>, Failure> {
    let own = client.jobs(&JobsQuery::default()).await?;
    let here = |row: &&JobView| {
        row.state == JobState::Running && row.node_names.iter().any(|name| name == node)
    };
    let newest = own.jobs.iter().filter(here).max_by_key(|row| (row.started_at_ms, row.job));
    Ok(newest.map(|row| row.id.clone()))
}

fn not_connected(node: &NodeView, look: &Look) -> Failure {
    let name = &node.name;
    let failure = match (&node.phase, node.gone_at_ms) {
        (_, Some(at)) => {
            Failure::refused(format!("node {name} is gone since {}", look.clock_seconds(at)))
        }
        (Some(phase), None) => {
            Failure::refused(format!("node {name} is still booting")).fact("phase", phase.clone())
        }
        (None, None) => Failure::refused(format!("node {name} is out of reach"))
            .fact("state", node.state.clone()),
    };
    let why = node.why.iter().fold(failure, |failure, why| failure.fact("why", why.clone()));
    why.hint(format!("pcluster node log {name}    what it has said"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_nodes_are_named_as_everywhere() {
        let job = |id: &str, node: Option<&str>| Asked::Job {
            id: id.into(),
            node: node.map(str::to_owned),
        };
        let node = |name: &str, outside| Asked::Node { name: name.into(), outside };
        assert_eq!(asked("42", None, false).unwrap(), job("42", None));
        assert_eq!(asked("job:41_3", Some("gpu-1"), false).unwrap(), job("41_3", Some("gpu-1")));
        assert_eq!(asked("42/compute-7", None, false).unwrap(), job("42", Some("compute-7")));
        assert_eq!(asked("compute-7", None, true).unwrap(), node("compute-7", true));
        assert_eq!(asked("node:7", None, false).unwrap(), node("7", false));
        for (what, name, outside) in [
            ("42/a", Some("b"), false),
            ("compute-7", Some("b"), false),
            ("42", None, true),
            ("42/", None, false),
            ("", None, false),
        ] {
            assert!(asked(what, name, outside).is_err(), "{what}");
        }
    }
}
