//! Nodes, tasks and tasks on each node.
//!
//! Invariant: as `sbatch` reads them: more nodes than tasks are cut with a warning, and nodes that
//! nobody fixed may be more than one (see [`spread`]). Deliberately absent: CPUs of tasks.
use super::spec::{Asked, counted, failed};
use crate::grammar::number::{self, NodesError};
use crate::options::Words;
use crate::refusal::Refusal;
use pcluster_api::{PoolList, PoolRecord};
use pcluster_model::job::MemoryAsk;

/// How tasks lie on nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub nodes: u32,
    /// Where more nodes would be right, too; `None`: `nodes` is fixed.
    pub nodes_most: Option<u32>,
    pub tasks: u32,
    pub per_node: Option<u32>,
    pub tasks_given: bool,
}

/// Reads it.
pub(super) fn layout(
    words: &Words,
    command: &str,
    warnings: &mut Vec<String>,
) -> Result<Layout, Refusal> {
    let asked = nodes(words, command)?;
    let per_node = counted(words, "ntasks-per-node", command)?;
    let given = counted(words, "ntasks", command)?;
    let (nodes, nodes_most) = match (asked, given, per_node) {
        (Some((least, most)), _, _) => (least, most.filter(|most| *most > least)),
        (None, Some(tasks), Some(per_node)) => (tasks.div_ceil(per_node), None),
        (None, Some(tasks), None) => (1, Some(tasks).filter(|tasks| *tasks > 1)),
        (None, None, _) => (1, None),
    };
    let tasks = given.unwrap_or_else(|| nodes.saturating_mul(per_node.unwrap_or(1)));
    let nodes = if tasks < nodes {
        warnings.push(format!(
            "{command}: Warning: can't run {tasks} processes on {nodes} nodes, setting nnodes to {tasks}"
        ));
        tasks
    } else {
        nodes
    };
    // Without a number of tasks it is how srun counts; with both it is a bound.
    let per_node =
        per_node.filter(|per_node| per_node.saturating_mul(nodes) <= tasks || given.is_none());
    let tasks_given = given.is_some() || words.has("ntasks-per-node");
    Ok(Layout { nodes, nodes_most, tasks, per_node, tasks_given })
}

fn nodes(words: &Words, command: &str) -> Result<Option<(u32, Option<u32>)>, Refusal> {
    let Some(text) = words.value("nodes") else { return Ok(None) };
    match number::nodes(text) {
        Ok((0, _)) => Err(failed(command, "Node count specification invalid")
            .hint("a job has at least one node: -N 1")),
        Ok(range) => Ok(Some(range)),
        Err(NodesError::Form) => {
            Err(Refusal::error(command, format!("\"{text}\" is not a valid node count"), 255))
        }
        Err(NodesError::Backwards(most, least)) => {
            let text = format!("Maximum node count {most} is less than minimum node count {least}");
            Err(Refusal::error(command, text, 255))
        }
    }
}

/// Takes as few nodes as hold the tasks, where `--nodes` did not fix them: `-n 64` on nodes of 16
/// CPUs is four nodes.
pub fn spread(asked: &mut Asked, pools: &PoolList) {
    let Some(most) = asked.nodes_most else { return };
    let spec = &asked.spec;
    let wanted = |pool: &&PoolRecord| {
        if spec.pools.is_empty() {
            pool.default
        } else {
            spec.pools.iter().any(|name| name.as_str() == pool.name)
        }
    };
    let per_node = |cpus: u32, memory: u64| {
        let by_cpus = cpus / spec.cpus_per_task.max(1);
        let by_memory = match spec.memory {
            MemoryAsk::PerCpu(bytes) if bytes > 0 => {
                u32::try_from(memory / bytes).unwrap_or(u32::MAX) / spec.cpus_per_task.max(1)
            }
            _ => u32::MAX,
        };
        by_cpus.min(by_memory)
    };
    let nodes = pools.pools.iter().filter(wanted).flat_map(|pool| &pool.nodes);
    let fits = nodes.map(|node| per_node(node.cpus, node.memory_bytes)).max().unwrap_or(0);
    if fits == 0 {
        return;
    }
    let needed = spec.tasks.div_ceil(fits).max(spec.nodes);
    if needed <= most {
        asked.spec.nodes = needed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Order, SBATCH, parse};

    fn read(line: &str) -> String {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let words = parse(&SBATCH, &args, Order::StopAtFirst).unwrap();
        let mut warnings = Vec::new();
        match layout(&words, "sbatch", &mut warnings) {
            Ok(found) => format!(
                "{} nodes, most {:?}, {} tasks, {:?} each, given {} {}",
                found.nodes,
                found.nodes_most,
                found.tasks,
                found.per_node,
                found.tasks_given,
                warnings.join("")
            ),
            Err(refusal) => refusal.text(),
        }
    }

    #[test]
    fn tasks_lie_on_nodes_as_slurm_lays_them() {
        let cases = [
            ("-H", "1 nodes, most None, 1 tasks, None each, given false "),
            ("-n 8", "1 nodes, most Some(8), 8 tasks, None each, given true "),
            ("-N 2 -n 8", "2 nodes, most None, 8 tasks, None each, given true "),
            ("-N 2-4 -n 8", "2 nodes, most Some(4), 8 tasks, None each, given true "),
            ("-N 2 --ntasks-per-node=3", "2 nodes, most None, 6 tasks, Some(3) each, given true "),
            ("-n 8 --tasks-per-node 4", "2 nodes, most None, 8 tasks, Some(4) each, given true "),
            ("-n 7 --tasks-per-node 4", "2 nodes, most None, 7 tasks, None each, given true "),
            ("-N 3", "3 nodes, most None, 3 tasks, None each, given false "),
            (
                "-N 4 -n 2",
                "2 nodes, most None, 2 tasks, None each, given true \
                 sbatch: Warning: can't run 2 processes on 4 nodes, setting nnodes to 2",
            ),
            ("-N x", "sbatch: error: \"x\" is not a valid node count\n"),
            ("-n 0", "sbatch: error: Invalid numeric value \"0\" for --ntasks.\n"),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}
