//! `--test-only`: when and where a job would start, for `sbatch`, `srun` and `salloc`.
//!
//! Invariant: the moment is the head's; the nodes are an example of those that the job could get.
use crate::words::{Clock, hosts};
use pcluster_api::{PoolList, PoolNode, PoolRecord, SubmitResponse};
use pcluster_model::JobSpec;

/// `Job 42 to start at T using 1 processors on nodes c1 in partition short`.
#[must_use]
pub fn would_start(
    answer: &SubmitResponse,
    spec: &JobSpec,
    pools: &PoolList,
    clock: &Clock,
) -> String {
    let named = |pool: &&PoolRecord| match spec.pools.first() {
        Some(name) => pool.name == name.as_str(),
        None => pool.default,
    };
    let pool = pools.pools.iter().find(named);
    let nodes = pool.map_or_else(Vec::new, |pool| example(pool, spec));
    let at = clock.standard(answer.estimate.start_ms.unwrap_or(clock.now_ms));
    let cpus = u64::from(spec.cpus_per_node()) * u64::from(spec.nodes);
    let pool = pool.map_or("(null)", |pool| pool.name.as_str());
    format!(
        "Job {} to start at {at} using {cpus} processors on nodes {} in partition {pool}",
        answer.job,
        hosts::fold(&nodes)
    )
}

/// Nodes that the job names, then those of a right kind with room, then others of that kind.
fn example<'a>(pool: &'a PoolRecord, spec: &JobSpec) -> Vec<&'a str> {
    // One that could be started is of any kind that the pool has.
    let is_right = |node: &PoolNode| {
        node.state == "none" || spec.wants_of(node.features.iter().map(String::as_str))
    };
    let may = |node: &&PoolNode| !spec.not_nodes.contains(&node.name) && is_right(node);
    let mut nodes: Vec<&PoolNode> = pool.nodes.iter().filter(may).collect();
    nodes.sort_by_key(|node| {
        let has_room = node.cpus.saturating_sub(node.cpus_used) >= spec.cpus_per_node();
        (!spec.only_nodes.contains(&node.name), !has_room)
    });
    nodes.into_iter().take(spec.nodes as usize).map(|node| node.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    #[test]
    fn the_nodes_are_such_as_the_job_could_get() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let of =
            |shape: &str, node: PoolNode| PoolNode { features: names(&["lab", shape]), ..node };
        let nodes = vec![
            of("big", made_up::busy("c1", 4, 100)),
            of("big", made_up::node("c2")),
            of("low", made_up::node("c3")),
            PoolNode { state: "none".into(), ..of("big", made_up::node("c4")) },
        ];
        let pool = made_up::pool("main", None, nodes);
        let spec = JobSpec { nodes: 2, tasks: 2, cpus_per_task: 2, ..JobSpec::default() };
        assert_eq!(example(&pool, &spec), ["c2", "c3"]);
        let low = JobSpec { features: names(&["low", "lab"]), ..spec.clone() };
        assert_eq!(example(&pool, &low), ["c3", "c4"]);
        let either = JobSpec {
            feature_choices: vec![names(&["low"]), names(&["big"])],
            not_nodes: names(&["c3"]),
            ..spec.clone()
        };
        assert_eq!(example(&pool, &either), ["c2", "c4"]);
        let named = JobSpec { only_nodes: names(&["c1"]), ..spec };
        assert_eq!(example(&pool, &named), ["c1", "c2"]);
    }
}
