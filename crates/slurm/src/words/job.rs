//! What several commands tell about one record: ids, sizes, moments, resources.
//!
//! Invariant: every number is derived in one place, from the record and the moment of the answer.
//! Deliberately absent: states and reasons (`state`).
use super::clock::Clock;
use super::{hosts, size};
use crate::grammar::constraint;
use pcluster_api::{DependencyRecord, JobRecord, JobState};
use pcluster_model::job::MemoryAsk;

/// Where Slurm's own priorities start: every job has a little less than the one before it.
const FIRST_PRIORITY: i64 = 4_294_901_760;

/// `148`, `148_1`, `148_[2-9%2]`.
#[must_use]
pub fn id(record: &JobRecord) -> String {
    match tasks(record) {
        Some(tasks) if record.tasks.is_some() => format!("{}_[{tasks}]", record.job),
        Some(task) => format!("{}_{task}", record.job),
        None => record.job.to_string(),
    }
}

/// `2-9%2` of the waiting rest, `1` of a task; `None` of a plain job.
#[must_use]
pub fn tasks(record: &JobRecord) -> Option<String> {
    match (&record.tasks, record.task) {
        (Some(tasks), _) => Some(match record.throttle {
            Some(limit) => format!("{tasks}%{limit}"),
            None => tasks.clone(),
        }),
        (None, Some(task)) => Some(task.to_string()),
        (None, None) => None,
    }
}

/// True while it has no nodes and has not ended.
#[must_use]
pub fn waits(record: &JobRecord) -> bool {
    record.state != JobState::Finished && record.node_names.is_empty()
}

/// Number of nodes: those it has, or those it asked for.
#[must_use]
pub fn node_count(record: &JobRecord) -> usize {
    match record.node_names.len() {
        0 => record.nodes.max(1) as usize,
        count => count,
    }
}

/// Its nodes as a list; empty while it waits.
#[must_use]
pub fn node_list(record: &JobRecord) -> String {
    hosts::fold_sorted(&record.node_names)
}

/// CPUs over all nodes: those it has, or those it asked for.
#[must_use]
pub fn cpus(record: &JobRecord) -> u64 {
    if record.node_names.is_empty() {
        return asked_cpus(record);
    }
    record.cpus_per_node.iter().map(|cpus| u64::from(*cpus)).sum()
}

/// CPUs asked for.
#[must_use]
pub fn asked_cpus(record: &JobRecord) -> u64 {
    u64::from(record.ntasks.max(1)) * u64::from(record.cpus_per_task.max(1))
}

/// Least CPUs on a node.
#[must_use]
pub fn least_cpus(record: &JobRecord) -> u64 {
    let tasks = record.ntasks_per_node.unwrap_or(1).max(1);
    u64::from(tasks) * u64::from(record.cpus_per_task.max(1))
}

/// Memory over all nodes, in bytes: what it has, or what it asked for.
#[must_use]
pub fn memory(record: &JobRecord) -> u64 {
    if record.node_names.is_empty() {
        return asked_memory(record);
    }
    record.memory_per_node_bytes.iter().sum()
}

fn asked_memory(record: &JobRecord) -> u64 {
    let nodes = u64::from(record.nodes.max(1));
    match record.memory_ask {
        MemoryAsk::PerNode(bytes) => bytes.saturating_mul(nodes),
        MemoryAsk::PerCpu(bytes) => bytes.saturating_mul(asked_cpus(record)),
        MemoryAsk::Proportional => first_memory(record).saturating_mul(nodes),
    }
}

fn first_memory(record: &JobRecord) -> u64 {
    record.memory_per_node_bytes.first().copied().unwrap_or(0)
}

/// Memory as asked for: for each node, or for each CPU where that was asked.
#[must_use]
pub fn least_memory(record: &JobRecord) -> (u64, bool) {
    match record.memory_ask {
        MemoryAsk::PerNode(bytes) => (bytes, false),
        MemoryAsk::PerCpu(bytes) => (bytes, true),
        MemoryAsk::Proportional => (first_memory(record), false),
    }
}

/// GPUs over all nodes.
#[must_use]
pub fn gpus(record: &JobRecord) -> u64 {
    u64::from(record.gpus_per_node) * node_count(record) as u64
}

/// `gres:gpu:a10g:2`: what each node gives besides CPUs and memory.
#[must_use]
pub fn tres_per_node(record: &JobRecord) -> Option<String> {
    let kind =
        if record.gpu_type.is_empty() { String::new() } else { format!("{}:", record.gpu_type) };
    (record.gpus_per_node > 0).then(|| format!("gres:gpu:{kind}{}", record.gpus_per_node))
}

/// `cpu=2,mem=200M,node=1,billing=2`: as `scontrol` and `squeue` write it.
#[must_use]
pub fn tres(record: &JobRecord) -> String {
    let (cpus, memory) = (cpus(record), memory(record));
    let mut out = format!("cpu={cpus}");
    if memory > 0 {
        out.push_str(&format!(",mem={}", size::memory(memory)));
    }
    out.push_str(&format!(",node={},billing={cpus}", node_count(record)));
    out.push_str(&gpu_tres(record));
    out
}

fn gpu_tres(record: &JobRecord) -> String {
    if record.gpus_per_node == 0 { String::new() } else { format!(",gres/gpu={}", gpus(record)) }
}

/// `billing=2,cpu=2,mem=200M,node=1`: as `sacct` writes it; empty while it waits.
#[must_use]
pub fn allocated_tres(record: &JobRecord) -> String {
    if record.node_names.is_empty() {
        String::new()
    } else {
        accounted(record, cpus(record), memory(record))
    }
}

/// What was asked for, as `sacct` writes it.
#[must_use]
pub fn asked_tres(record: &JobRecord) -> String {
    accounted(record, asked_cpus(record), asked_memory(record))
}

fn accounted(record: &JobRecord, cpus: u64, memory: u64) -> String {
    let gpus = gpu_tres(record);
    let memory = if memory > 0 { format!(",mem={}", size::memory(memory)) } else { String::new() };
    format!("billing={cpus},cpu={cpus}{gpus}{memory},node={}", node_count(record))
}

/// When it started, or got its nodes; `None` while it waits.
#[must_use]
pub fn start_ms(record: &JobRecord) -> Option<i64> {
    record.started_at_ms.or(record.placed_at_ms)
}

/// When it started or is expected to.
#[must_use]
pub fn expected_start_ms(record: &JobRecord) -> Option<i64> {
    start_ms(record).or(record.expected_start_ms).or(record.ended_at_ms)
}

/// When it ended, or will at the latest; `None` where nobody knows.
#[must_use]
pub fn expected_end_ms(record: &JobRecord) -> Option<i64> {
    let limit = record.time_limit_ms.and_then(|ms| i64::try_from(ms).ok());
    let stood = i64::try_from(record.suspended_ms).unwrap_or(0);
    let by_limit = || expected_start_ms(record)?.checked_add(limit?)?.checked_add(stood);
    record.ended_at_ms.or_else(by_limit)
}

/// Seconds it has run.
#[must_use]
pub fn run_seconds(record: &JobRecord, clock: &Clock) -> i64 {
    let Some(start) = start_ms(record) else { return 0 };
    // Whole seconds as the two moments show them, so that start and span add up.
    let end = record.ended_at_ms.unwrap_or(clock.now_ms);
    (end.div_euclid(1000) - start.div_euclid(1000) - suspended_seconds(record)).max(0)
}

/// The features that it asks for, as `--constraint` says them.
#[must_use]
pub fn features(record: &JobRecord) -> String {
    constraint::written(&record.features, &record.feature_choices, record.same_choice)
}

/// Whether it names this feature, as one of several or not.
#[must_use]
pub fn asks_for(record: &JobRecord, feature: &str) -> bool {
    record.features.iter().chain(record.feature_choices.iter().flatten()).any(|f| f == feature)
}

/// Seconds that it stood still: its time, and its limit, did too.
#[must_use]
pub fn suspended_seconds(record: &JobRecord) -> i64 {
    i64::try_from(record.suspended_ms / 1000).unwrap_or(i64::MAX)
}

/// Seconds of its limit; `None` without one.
#[must_use]
pub fn limit_seconds(record: &JobRecord) -> Option<i64> {
    record.time_limit_ms.filter(|ms| *ms > 0).and_then(|ms| i64::try_from(ms / 1000).ok())
}

/// When it could have started at the earliest; `None` while something holds it back.
#[must_use]
pub fn eligible_ms(record: &JobRecord) -> Option<i64> {
    record.eligible_at_ms.or_else(|| start_ms(record))
}

/// A number like Slurm's: higher starts first, 0 is held.
#[must_use]
pub fn priority(record: &JobRecord) -> u32 {
    if record.held_by.is_some() && waits(record) {
        return 0;
    }
    let job = i64::try_from(record.job).unwrap_or(i64::MAX);
    let sum = FIRST_PRIORITY.saturating_sub(job).saturating_add(record.priority);
    u32::try_from(sum.clamp(1, i64::from(u32::MAX) - 2)).unwrap_or(1)
}

/// `--nice`: how much it asked to stand back.
#[must_use]
pub fn nice(record: &JobRecord) -> i64 {
    (-record.priority).max(0)
}

/// The script with its arguments; `None` when it had no file.
#[must_use]
pub fn command(record: &JobRecord) -> Option<String> {
    if record.command.is_empty() {
        return None;
    }
    let words: Vec<&str> =
        std::iter::once(&record.command).chain(&record.args).map(String::as_str).collect();
    Some(words.join(" "))
}

/// `afterok:170(unfulfilled),afterany:171(unfulfilled)`; `None` when nothing is waited for.
#[must_use]
pub fn dependency(record: &JobRecord) -> Option<String> {
    // As in Slurm, one that is met has gone from the list.
    let open = record.dependencies.iter().filter(|d| d.stands != "met");
    let words: Vec<String> = open.map(one_dependency).collect();
    let separator = if record.any_dependency { "?" } else { "," };
    (!words.is_empty() && waits(record)).then(|| words.join(separator))
}

fn one_dependency(dependency: &DependencyRecord) -> String {
    let stands = if dependency.stands == "never" { "failed" } else { "unfulfilled" };
    if dependency.kind == "singleton" {
        return format!("singleton({stands})");
    }
    // A whole array is meant by `_*`.
    let delay = match dependency.delay_ms / 60_000 {
        0 => String::new(),
        minutes => format!("+{minutes}"),
    };
    format!("{}:{}{delay}({stands})", dependency.kind, dependency.job)
}

/// `text`, or `(null)` where there is none.
#[must_use]
pub fn or_null(text: &str) -> String {
    if text.is_empty() { "(null)".to_owned() } else { text.to_owned() }
}

/// `normal` where no quality of service was asked for.
#[must_use]
pub fn qos(record: &JobRecord) -> &str {
    if record.qos.is_empty() { "normal" } else { &record.qos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    #[test]
    fn ids_of_arrays_are_folded() {
        assert_eq!(id(&made_up::array_rest(148, "2-9", Some(2))), "148_[2-9%2]");
        assert_eq!(id(&made_up::array_task(148, 1, 150)), "148_1");
        assert_eq!(id(&made_up::running(146)), "146");
    }

    #[test]
    fn resources_are_those_it_has_or_asked_for() {
        let job = made_up::running(146);
        assert_eq!(tres(&job), "cpu=2,mem=200M,node=1,billing=2");
        assert_eq!(allocated_tres(&job), "billing=2,cpu=2,mem=200M,node=1");
        let mut waiting = made_up::pending(147);
        assert_eq!(
            (tres(&waiting), allocated_tres(&waiting)),
            ("cpu=1,mem=100M,node=1,billing=1".into(), String::new())
        );
        waiting.gpus_per_node = 2;
        waiting.gpu_type = "a10g".into();
        assert_eq!(tres_per_node(&waiting).as_deref(), Some("gres:gpu:a10g:2"));
        assert_eq!(tres(&waiting), "cpu=1,mem=100M,node=1,billing=1,gres/gpu=2");
    }

    #[test]
    fn dependencies_say_how_they_stand() {
        let mut job = made_up::pending(172);
        job.dependencies = vec![
            made_up::dependency("afterok", "170", "waiting"),
            made_up::dependency("afterany", "171", "waiting"),
            made_up::dependency("afterany", "169", "met"),
        ];
        let said = dependency(&job).expect("waits");
        assert_eq!(said, "afterok:170(unfulfilled),afterany:171(unfulfilled)");
        job.any_dependency = true;
        job.dependencies.truncate(1);
        job.dependencies.push(made_up::dependency("singleton", "", "waiting"));
        assert_eq!(
            dependency(&job).expect("waits"),
            "afterok:170(unfulfilled)?singleton(unfulfilled)"
        );
        job.dependencies = vec![made_up::dependency("after", "170", "waiting")];
        job.dependencies[0].delay_ms = 120_000;
        assert_eq!(dependency(&job).expect("waits"), "after:170+2(unfulfilled)");
    }

    #[test]
    fn time_in_which_it_stood_still_does_not_count() {
        let clock = made_up::clock();
        let mut job = made_up::running(146);
        job.suspended_ms = 3000;
        assert_eq!(run_seconds(&job, &clock), 2);
        let end = job.started_at_ms.expect("started") + 303_000;
        assert_eq!(expected_end_ms(&job), Some(end));
    }

    #[test]
    fn start_and_span_add_up_to_the_present() {
        let clock = made_up::clock();
        let mut job = made_up::running(146);
        job.started_at_ms = Some(clock.now_ms - 4999);
        let start = start_ms(&job).expect("started").div_euclid(1000);
        assert_eq!(start + run_seconds(&job, &clock), clock.now_ms / 1000);
    }
}
