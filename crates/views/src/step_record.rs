//! Steps as records: how they ended, and what their tasks used.
//!
//! Invariant: usage by task is there only when every node of the step has told it: a part of it would
//! name the wrong task. Deliberately absent: usage of steps that run, which their nodes tell.
use super::Cx;
use pcluster_api::{StepRecord, StepUsage};
use pcluster_core::step::Step;

/// The record of a step of a run on these nodes.
#[must_use]
pub fn of(cx: &Cx<'_>, step: &Step, nodes: &[String]) -> StepRecord {
    let parts = step.parts.iter().zip(nodes).filter(|(part, _)| part.tasks > 0);
    let (tasks_per_node, node_names): (Vec<u32>, Vec<String>) =
        parts.map(|(part, node)| (part.tasks, node.clone())).unzip();
    let over = step.ended_at.is_some();
    let told = over.then(|| step.ends().map(|end| end.exit_code).max()).flatten();
    let signal = step.ends().map(|end| end.signal).find(|signal| *signal != 0);
    StepRecord {
        step: step.step,
        name: step.name.clone(),
        ntasks: step.ntasks(),
        cpus: step.ntasks().saturating_mul(step.cpus_per_task),
        tasks_per_node,
        node_names,
        started_at_ms: cx.wall(step.started_at),
        ended_at_ms: step.ended_at.map(|at| cx.wall(at)),
        exit_code: told,
        signal: signal.filter(|_| over),
        cancelled: step.cancelled,
        user_cpu_ms: step.ends().map(|end| end.user_cpu_ms).sum(),
        system_cpu_ms: step.ends().map(|end| end.system_cpu_ms).sum(),
        max_rss_bytes: step.ends().map(|end| end.max_rss_bytes).max().unwrap_or(0),
        out_of_memory: over && step.ends().any(|end| end.out_of_memory),
        usage: step_usage(step, nodes).filter(|_| over),
    }
}

/// What the tasks of a step used, if all of its nodes told.
fn step_usage(step: &Step, nodes: &[String]) -> Option<StepUsage> {
    let mut usage = StepUsage::default();
    for (part, node) in step.parts.iter().zip(nodes).filter(|(part, _)| part.tasks > 0) {
        let end = part.end.as_ref()?;
        let used = end.tasks.as_ref()?;
        let most = [
            (end.max_rss_bytes, used.max_rss_task),
            (used.max_vm_bytes, used.max_vm_task),
            (used.min_cpu_ms, used.min_cpu_task),
        ];
        usage.add(part.tasks, (used.rss_bytes, used.vm_bytes), most, node);
    }
    (usage.tasks > 0).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_core::step::{StepPart, StepPartEnd, TasksUsage};
    use pcluster_model::{JobId, RunId, Timestamp};

    fn step(parts: Vec<StepPart>) -> Step {
        Step {
            job: JobId(1),
            run: RunId(1),
            step: 0,
            key: String::new(),
            name: "sh".into(),
            parts,
            cpus_per_task: 1,
            gpus: Vec::new(),
            overlap: false,
            started_at: Timestamp(0),
            ended_at: None,
            cancelled: false,
        }
    }

    fn ended(tasks: u32, max_rss_bytes: u64, told: Option<TasksUsage>) -> StepPart {
        let end = StepPartEnd { max_rss_bytes, tasks: told, ..StepPartEnd::default() };
        StepPart { tasks, end: Some(end) }
    }

    #[test]
    fn the_largest_task_is_named_with_its_node_if_all_nodes_told() {
        let nodes = ["c1", "c2", "c3"].map(str::to_owned);
        let told = |rss_bytes, max_rss_task| {
            Some(TasksUsage { rss_bytes, max_rss_task, ..TasksUsage::default() })
        };
        let none = StepPart { tasks: 0, end: None };
        let whole = step(vec![ended(2, 70, told(120, 1)), none, ended(1, 90, told(90, 2))]);
        let usage = step_usage(&whole, &nodes).unwrap();
        let most = &usage.max_rss_bytes;
        assert_eq!((most.amount, most.task, most.node.as_str()), (90, 2, "c3"));
        assert_eq!((usage.tasks, usage.rss_bytes), (3, 210));
        let older = step(vec![ended(2, 70, told(120, 1)), none, ended(1, 90, None)]);
        assert_eq!(step_usage(&older, &nodes), None);
        assert_eq!(step_usage(&step(vec![none; 3]), &nodes), None);
    }
}
