//! Events in words, for the timeline of a story. Deliberately absent: events that only keep books.
use pcluster_core::event::{Event, PartEnd, Placement, TaskEnded};
use pcluster_model::IndexRanges;

fn tasks(tasks: Option<&IndexRanges>) -> String {
    tasks.map_or_else(String::new, |tasks| format!("_[{tasks}]"))
}

fn placed(placements: &[&Placement]) -> String {
    let words = placements.iter().map(|placement| {
        let nodes: Vec<String> = placement.parts.iter().map(|p| p.node.to_string()).collect();
        format!("run {} (attempt {}) on {}", placement.run, placement.attempt, nodes.join(", "))
    });
    words.collect::<Vec<String>>().join("; ")
}

fn ended(ends: &[&TaskEnded]) -> String {
    let words = ends.iter().map(|end| {
        let how = match &end.end {
            PartEnd::Ended { exit, .. } => format!("{exit:?}"),
            PartEnd::NotStarted { why } => format!("never started: {why}"),
            PartEnd::NodeGone { why } => format!("gone with its node: {why}"),
        };
        format!("run {} on {}: {how}", end.run, end.node)
    });
    words.collect::<Vec<String>>().join("; ")
}

/// What the log says now, for a reader; `None` for what only keeps books.
#[must_use]
pub fn words(event: &Event) -> Option<String> {
    of_job(event).or_else(|| of_node(event))
}

fn of_job(event: &Event) -> Option<String> {
    Some(match event {
        Event::JobSubmitted { job, pool, spec, .. } => format!(
            "job {job} is accepted: {} node(s) x {} CPU(s) of {pool}{}",
            spec.nodes,
            spec.least_per_node().cpus,
            spec.array.as_ref().map_or_else(String::new, |a| format!(", tasks {}", a.indices)),
        ),
        Event::JobHeld { job, tasks: set, by } => {
            format!("job {job}{} held by {by}", tasks(set.as_ref()))
        }
        Event::JobReleased { job, tasks: set } => {
            format!("job {job}{} released", tasks(set.as_ref()))
        }
        Event::JobUpdated { job, tasks: set, .. } => {
            format!("job {job}{} changed", tasks(set.as_ref()))
        }
        Event::JobPlaced { job, placement } => {
            format!("job {job} placed: {}", placed(&[placement]))
        }
        Event::TasksPlaced { job, placements } => {
            format!("job {job} placed: {}", placed(&placements.iter().collect::<Vec<_>>()))
        }
        Event::CancelWanted { job, tasks: set, by, .. } => {
            format!("job {job}{} cancelled by {by}", tasks(set.as_ref()))
        }
        Event::RequeueWanted { job, tasks: set, why, .. } => {
            format!("job {job}{} is to run again: {why}", tasks(set.as_ref()))
        }
        Event::EndWanted { job, tasks: set, why, .. } => {
            format!("job {job}{} is to end: {why}", tasks(set.as_ref()))
        }
        Event::JobSuspended { job, suspended: true, .. } => format!("job {job} stands still"),
        Event::JobSuspended { job, .. } => format!("job {job} goes on"),
        Event::RunEnded { job, ended: end } => format!("job {job} ended: {}", ended(&[end])),
        Event::TasksEnded { job, ended: ends } => {
            format!("job {job} ended: {}", ended(&ends.iter().collect::<Vec<_>>()))
        }
        _ => return None,
    })
}

fn of_node(event: &Event) -> Option<String> {
    Some(match event {
        Event::LaunchWanted { intent } => format!(
            "launch {} wanted: {} of {} for {}",
            intent.launch,
            intent.names.join(", "),
            intent.shape.name,
            intent.why
        ),
        Event::InstanceSeen { node, instance, .. } => {
            format!("node {node} is machine {}", instance.0)
        }
        Event::LaunchRefused { node, class, .. } => format!("node {node} was refused: {class:?}"),
        Event::NodeReady { node, .. } => format!("node {node} is ready"),
        Event::NodeRebooted { node, .. } => format!("node {node} has rebooted"),
        Event::NodeDraining { node, cause } => format!("node {node} drains: {cause:?}"),
        Event::NodeResumed { node } => format!("node {node} takes jobs again"),
        Event::NodeStopping { node, cause } => format!("node {node} is being ended: {cause:?}"),
        Event::NodeLost { node } => format!("node {node} is silent for too long"),
        Event::NodeReturned { node } => format!("node {node} is heard again"),
        Event::NodeGone { node } => format!("node {node} is gone, says the provider"),
        Event::SpanClosed { span } => format!("node {} has cost {}", span.node, span.total),
        Event::DownWanted { by, now } => {
            format!("the cluster goes down, says {by}; at once: {now}")
        }
        Event::ConfigChanged { .. } => "the configuration is another".into(),
        _ => return None,
    })
}
