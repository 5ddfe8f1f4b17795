//! `scontrol show …`: jobs, steps, nodes, partitions, settings and lists of nodes.
//!
//! Invariant: a page is a pure function of the head's answer; lists of nodes need no head. Deliberately
//! absent: entities that there are none of here, which say so as Slurm does.
mod job;
mod lines;
mod places;

use super::sinfo::nodes_once;
use super::squeue::{MIN_JOB_AGE_MS, View};
use super::{Ended, INVALID_JOB};
use crate::json;
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::jobid::{self, JobId};
use crate::words::{Clock, hosts};
use crate::{Context, ask};
use pcluster_api::{JobRecord, JobState, PoolList, PoolNode, RecordList, RecordsQuery};

/// How records are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    pub one_line: bool,
    pub detail: bool,
    pub json: bool,
}

/// The page that these words ask for.
///
/// # Errors
/// What is asked for is not there, or no such thing can be.
pub async fn page(words: &Words, context: &Context) -> Result<String, Ended> {
    let look = Look {
        one_line: words.has("oneliner"),
        detail: words.has("details"),
        json: words.has("json"),
    };
    let mut rest = words.rest.iter().map(String::as_str);
    let entity = rest.next().unwrap_or("").to_ascii_lowercase();
    // `job=41` is `job 41`.
    let (entity, mut name) = match entity.split_once('=') {
        Some((entity, name)) => (entity.to_owned(), Some(name.to_owned())),
        None => (entity, None),
    };
    name = name.or_else(|| rest.next().map(str::to_owned));
    if rest.next().is_some() {
        return Err(Refusal::plain("too many arguments for keyword:show", 1).into());
    }
    let name = name.as_deref();
    let clock = Clock::here();
    match entity.as_str() {
        "job" | "jobs" | "jobid" => {
            let ids = ids_of(name)?;
            let list = ask::records(context, "scontrol", &query(&ids, clock.now_ms)).await?;
            Ok(jobs(&list, &ids, &clock, look)?)
        }
        "step" | "steps" => {
            let ids = ids_of(name)?;
            let list = ask::records(context, "scontrol", &query(&ids, clock.now_ms)).await?;
            Ok(steps(&list, &ids, &clock, look))
        }
        "node" | "nodes" => Ok(nodes(&ask::pools(context, "scontrol").await?, name, &clock, look)?),
        "partition" | "partitions" | "part" => {
            Ok(partitions(&ask::pools(context, "scontrol").await?, name, look)?)
        }
        "config" | "conf" | "configuration" => {
            let list = ask::pools(context, "scontrol").await?;
            let clock = clock.at(list.now_ms);
            Ok(places::config(&list, &clock))
        }
        other => Ok(without_head(other, name)?),
    }
}

/// What needs no head.
fn without_head(entity: &str, name: Option<&str>) -> Result<String, Refusal> {
    let nodes = || {
        let list = name.map(str::to_owned).or_else(|| std::env::var("SLURM_JOB_NODELIST").ok());
        list.filter(|list| !list.is_empty())
    };
    let expanded = |text: &str| {
        hosts::expand(text).ok_or_else(|| Refusal::plain(format!("Invalid hostlist: {text}"), 1))
    };
    let of_list = |make: fn(Vec<String>) -> String| match nodes() {
        Some(text) => expanded(&text).map(make),
        // As Slurm: said, and no failure.
        None => Err(Refusal::plain("scontrol: error: host list is empty", 0)),
    };
    match entity {
        "hostname" | "hostnames" => {
            of_list(|names| names.iter().map(|name| format!("{name}\n")).collect())
        }
        "hostlist" => of_list(|names| format!("{}\n", hosts::fold(&names))),
        "hostlistsorted" => of_list(|mut names| {
            hosts::sort(&mut names);
            names.dedup();
            format!("{}\n", hosts::fold(&names))
        }),
        "reservation" | "reservations" | "res" => Ok("No reservations in the system\n".into()),
        "license" | "licenses" | "lic" => Ok("No licenses configured in Slurm.\n".into()),
        "burstbuffer" | "bbstat" | "dwstat" => Ok("No burst buffers in the system\n".into()),
        "topology" | "topo" => Ok("No topology information available\n".into()),
        "federation" => Ok("No federation\n".into()),
        "aliases" | "frontend" | "daemons" | "assoc_mgr" | "slurmd" => Ok(String::new()),
        _ => Err(Refusal::plain(format!("invalid entity:{entity} for keyword:show "), 1)
            .hint("job, step, node, partition, config, hostnames, hostlist")),
    }
}

fn answer(cluster: &str, key: &'static str, data: serde_json::Value) -> String {
    let command = ["scontrol", "show", key, "--json"].map(str::to_owned);
    json::answer(cluster, &command, vec![(key, data)])
}

fn ids_of(name: Option<&str>) -> Result<Vec<JobId>, Refusal> {
    let text = name.filter(|name| !name.eq_ignore_ascii_case("all")).unwrap_or("");
    jobid::list(text)
        .map_err(|_| Refusal::plain("scontrol_print_job error: Invalid job id specified", 1))
}

fn query(ids: &[JobId], now_ms: i64) -> RecordsQuery {
    let asked: Vec<String> = ids.iter().map(JobId::asked).collect();
    RecordsQuery {
        ids: (!asked.is_empty()).then(|| asked.join(",")),
        ended: !asked.is_empty(),
        ended_since_ms: asked.is_empty().then(|| now_ms - MIN_JOB_AGE_MS),
        steps: true,
        ..RecordsQuery::default()
    }
}

fn meant(list: &RecordList, ids: &[JobId]) -> Vec<JobRecord> {
    let parts = |record: &JobRecord| -> Vec<JobRecord> {
        match ids.iter().find(|id| id.means(record)) {
            Some(id) => id.part_of(record),
            None if ids.is_empty() => vec![record.clone()],
            None => Vec::new(),
        }
    };
    list.records.iter().flat_map(parts).collect()
}

/// Jobs, one record after the other.
///
/// # Errors
/// None of the ids is known.
pub fn jobs(
    list: &RecordList,
    ids: &[JobId],
    clock: &Clock,
    look: Look,
) -> Result<String, Refusal> {
    let records = meant(list, ids);
    if records.is_empty() && !ids.is_empty() {
        return Err(Refusal::plain(INVALID_JOB, 1));
    }
    let view = View::of(list, clock);
    if look.json {
        let data = records.iter().map(|r| json::job(r, &view)).collect();
        return Ok(answer(&list.cluster, "jobs", data));
    }
    if records.is_empty() {
        return Ok("No jobs in the system\n".into());
    }
    Ok(records.iter().map(|r| job::job(r, &view, look.one_line, look.detail)).collect())
}

/// Steps that run.
#[must_use]
pub fn steps(list: &RecordList, ids: &[JobId], clock: &Clock, look: Look) -> String {
    let view = View::of(list, clock);
    let (mut out, mut data) = (String::new(), Vec::new());
    for record in meant(list, ids).iter().filter(|record| record.state != JobState::Finished) {
        let number = |step: u32| {
            let wanted = |id: &JobId| id.step.is_none_or(|s| s == jobid::StepId::Number(step));
            ids.is_empty() || ids.iter().any(|id| id.means(record) && wanted(id))
        };
        for step in
            record.steps.iter().filter(|step| step.ended_at_ms.is_none() && number(step.step))
        {
            out.push_str(&job::step(record, step, &view, look.one_line));
            data.push(json::step(record, step, &view));
        }
    }
    if look.json {
        return answer(&list.cluster, "steps", data.into());
    }
    if out.is_empty() { "No job steps in the system\n".into() } else { out }
}

/// Nodes by name, each once.
///
/// # Errors
/// A node that is asked for is not there.
pub fn nodes(
    list: &PoolList,
    name: Option<&str>,
    clock: &Clock,
    look: Look,
) -> Result<String, Refusal> {
    let clock = clock.clone().at(list.now_ms);
    let known = nodes_once(list);
    let asked = match name {
        Some(text) => hosts::expand(text)
            .ok_or_else(|| Refusal::plain(format!("Invalid hostlist: {text}"), 1))?,
        None => known.iter().map(|(node, _)| node.name.clone()).collect(),
    };
    let mut found = Vec::new();
    for name in &asked {
        match known.iter().find(|(node, _)| node.name == *name) {
            Some(node) => found.push(node),
            None => return Err(Refusal::plain(format!("Node {name} not found"), 1)),
        }
    }
    if look.json {
        let data = found
            .iter()
            .map(|(node, partitions)| json::node(node, partitions, &list.cluster, &clock));
        return Ok(answer(&list.cluster, "nodes", data.collect()));
    }
    if found.is_empty() {
        return Ok("No nodes in the system\n".into());
    }
    let text = |(node, partitions): &&(&PoolNode, Vec<&str>)| {
        places::node(node, partitions, &clock, look.one_line)
    };
    Ok(found.iter().map(text).collect())
}

/// Partitions by name.
///
/// # Errors
/// The partition that is asked for is not there.
pub fn partitions(list: &PoolList, name: Option<&str>, look: Look) -> Result<String, Refusal> {
    let pools: Vec<_> =
        list.pools.iter().filter(|pool| name.is_none_or(|name| name == pool.name)).collect();
    if look.json && (!pools.is_empty() || name.is_none()) {
        let data = pools.iter().map(|pool| json::partition(pool, &list.cluster)).collect();
        return Ok(answer(&list.cluster, "partitions", data));
    }
    match (pools.is_empty(), name) {
        (true, Some(name)) => Err(Refusal::plain(format!("Partition {name} not found"), 1)),
        (true, None) => Ok("No partitions in the system\n".into()),
        _ => Ok(pools.iter().map(|pool| places::partition(pool, look.one_line)).collect()),
    }
}

#[cfg(test)]
mod tests;
