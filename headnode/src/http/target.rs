//! Ids as people write them. Exact: a prefix, a sign or a space is no id.
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::Cluster;
use pcluster_core::input::JobTarget;
use pcluster_core::node::Node;
use pcluster_model::{IndexRanges, JobId};

/// More tasks are never named one by one.
const MOST_TASKS: u64 = 1_000_000;

fn wrong(text: &str) -> Problem {
    let shown: String = text.chars().take(60).collect();
    Problem::new(ProblemKind::BadRequest, format!("`{shown}` is not the id of a job"))
        .fact("allowed", "41, 41_3, 41_[5-12] or job:41")
        .hint("pcluster queue")
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `41`, `41_3`, `41_[5-12,14]`, each also with `job:` before it.
///
/// # Errors
/// Whatever is no id.
pub(super) fn job(text: &str) -> Result<JobTarget, Problem> {
    let bare = text.strip_prefix("job:").unwrap_or(text);
    let (id, tasks) = match bare.split_once('_') {
        Some((id, tasks)) => (id, Some(tasks)),
        None => (bare, None),
    };
    let job = JobId(number(id).ok_or_else(|| wrong(text))?);
    let tasks = tasks.map(|tasks| ranges(tasks).ok_or_else(|| wrong(text))).transpose()?;
    Ok(JobTarget { job, tasks })
}

fn ranges(text: &str) -> Option<IndexRanges> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let Some(inner) = inner else { return number(text).map(IndexRanges::single) };
    let (mut pairs, mut count) = (Vec::new(), 0u64);
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (number(first)?, number(last)?);
        count = count.saturating_add(u64::from(last.checked_sub(first)?) + 1);
        if count > MOST_TASKS {
            return None;
        }
        pairs.push((first, last));
    }
    Some(IndexRanges::of_ranges(pairs))
}

/// The job or task that an id names in this cluster. A task of an array that once ran has a number
/// of its own, as Slurm's tasks have; it names the task where no job has that number.
///
/// # Errors
/// Whatever is no id.
pub(super) fn locate(cluster: &Cluster, text: &str) -> Result<JobTarget, Problem> {
    Ok(resolved(cluster, job(text)?))
}

/// As `locate`, of an id that was read.
pub(super) fn resolved(cluster: &Cluster, target: JobTarget) -> JobTarget {
    if target.tasks.is_some() || cluster.jobs.contains_key(&target.job) {
        return target;
    }
    match cluster.task_with_id(target.job) {
        Some((job, task)) => JobTarget { job, tasks: Some(IndexRanges::single(task)) },
        None => target,
    }
}

/// Several ids with commas between them; a comma inside brackets belongs to its id.
///
/// # Errors
/// As `job`.
pub(super) fn jobs(text: &str) -> Result<Vec<JobTarget>, Problem> {
    words(text).map(job).collect()
}

/// The ids of such a list, unread.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |letter| {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

/// The node of this name or id, also with `node:` before it.
///
/// # Errors
/// When there is none.
pub(super) fn node<'a>(cluster: &'a Cluster, text: &str) -> Result<&'a Node, Problem> {
    let bare = text.strip_prefix("node:").unwrap_or(text);
    cluster.node_named(bare).ok_or_else(|| {
        let shown: String = bare.chars().take(60).collect();
        let problem = Problem::new(ProblemKind::NotFound, format!("there is no node {shown}"));
        let names: Vec<String> = cluster
            .nodes
            .values()
            .filter(|node| node.state.is_alive())
            .map(|node| node.name.clone())
            .collect();
        let there = if names.is_empty() {
            "none now".into()
        } else {
            pcluster_views::words::some_of(&names, 8)
        };
        problem.fact("nodes", there).hint("pcluster nodes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_people_write_them() {
        let plain = JobTarget { job: JobId(41), tasks: None };
        assert_eq!(job("41").unwrap(), plain);
        assert_eq!(job("job:41").unwrap(), plain);
        assert_eq!(job("41_3").unwrap().tasks, Some(IndexRanges::single(3)));
        assert_eq!(job("41_[5-7,9]").unwrap().tasks.unwrap().to_string(), "5-7,9");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = format!("41_[0-{}]", u32::MAX);
        for text in [
            "",
            "+41",
            "41 ",
            " 41",
            "-1",
            "4x",
            "41_",
            "41_[",
            "41_[7-5]",
            "41_[]",
            "job:",
            "_3",
            "99999999999999999999",
            "41/..",
            &long,
        ] {
            assert_eq!(job(text).unwrap_err().kind, ProblemKind::BadRequest, "{text:?}");
        }
    }

    #[test]
    fn lists_split_at_commas_outside_brackets() {
        let ids: Vec<String> =
            jobs("41,42_[1,3],7").unwrap().iter().map(|t| t.job.to_string()).collect();
        assert_eq!(ids, ["41", "42", "7"]);
    }
}
