//! What the tasks of a line used, as fields: the same for `sacct` (steps that ended) and `sstat`
//! (steps that run).
//!
//! Invariant: a value that was not measured is empty. Deliberately absent: disk, pages, frequency and
//! energy, which nobody measures here.
use super::sacct::rows::{Part, Row};
use crate::words::{clock, size};
use pcluster_api::{MostOfTask, StepUsage};

/// What is known of the tasks, one by one. Of a script, and of one task, the whole is the task.
#[must_use]
pub fn measured(row: &Row) -> Option<StepUsage> {
    if let Some(live) = &row.live {
        return Some(live.usage.clone());
    }
    let told = match &row.part {
        Part::Step(step) => step.usage.clone().filter(|_| step.ended_at_ms.is_some()),
        Part::Job | Part::Batch => None,
    };
    if told.is_some() {
        return told;
    }
    let bytes = row.max_rss().filter(|_| row.tasks() == Some(1))?;
    let node = row.nodes().first().cloned().unwrap_or_default();
    let (user, system) = row.cpu_ms();
    let mut usage = StepUsage::default();
    usage.add(1, (bytes, 0), [(bytes, 0), (0, 0), (user + system, 0)], &node);
    Some(usage)
}

/// Memory of all tasks of a line together, at most.
pub fn together(row: &Row) -> Option<u64> {
    measured(row).map(|usage| usage.rss_bytes)
}

/// Something of what was measured, as text.
fn of(row: &Row, text: impl Fn(&StepUsage) -> String) -> String {
    measured(row).map_or_else(String::new, |usage| text(&usage))
}

fn bytes(row: &Row, bytes: u64) -> String {
    row.size(bytes, size::usage)
}

fn average(sum: u64, usage: &StepUsage) -> u64 {
    sum / u64::from(usage.tasks.max(1))
}

fn whole_seconds(ms: u64) -> String {
    clock::cpu_span(ms / 1000 * 1000)
}

fn long_seconds(ms: u64) -> String {
    clock::long_span(i64::try_from(ms / 1000).unwrap_or(i64::MAX))
}

fn total_cpu_ms(row: &Row) -> u64 {
    let (user, system) = row.cpu_ms();
    user + system
}

/// The virtual size of a script that has ended was not measured.
fn vm(usage: &StepUsage) -> Option<&MostOfTask> {
    (usage.max_vm_bytes.amount > 0).then_some(&usage.max_vm_bytes)
}

/// Average over the tasks.
pub fn average_cpu(row: &Row) -> String {
    match (row.tasks(), row.end_ms().is_some() || row.live.is_some()) {
        (Some(tasks), true) => whole_seconds(total_cpu_ms(row) / u64::from(tasks.max(1))),
        _ => String::new(),
    }
}

pub fn min_cpu(row: &Row) -> String {
    of(row, |usage| whole_seconds(usage.min_cpu_ms.amount))
}

pub fn min_cpu_node(row: &Row) -> String {
    of(row, |usage| usage.min_cpu_ms.node.clone())
}

pub fn min_cpu_task(row: &Row) -> String {
    of(row, |usage| usage.min_cpu_ms.task.to_string())
}

/// Of a step that did not tell of its tasks one by one, too.
pub fn max_rss(row: &Row) -> String {
    let most = measured(row).map(|usage| usage.max_rss_bytes.amount).or(row.max_rss());
    most.map_or_else(String::new, |most| bytes(row, most))
}

pub fn max_rss_node(row: &Row) -> String {
    of(row, |usage| usage.max_rss_bytes.node.clone())
}

pub fn max_rss_task(row: &Row) -> String {
    of(row, |usage| usage.max_rss_bytes.task.to_string())
}

pub fn average_rss(row: &Row) -> String {
    of(row, |usage| bytes(row, average(usage.rss_bytes, usage)))
}

pub fn max_vm(row: &Row) -> String {
    of(row, |usage| vm(usage).map_or_else(String::new, |most| bytes(row, most.amount)))
}

pub fn max_vm_node(row: &Row) -> String {
    of(row, |usage| vm(usage).map_or_else(String::new, |most| most.node.clone()))
}

pub fn max_vm_task(row: &Row) -> String {
    of(row, |usage| vm(usage).map_or_else(String::new, |most| most.task.to_string()))
}

pub fn average_vm(row: &Row) -> String {
    of(row, |usage| {
        vm(usage).map_or_else(String::new, |_| bytes(row, average(usage.vm_bytes, usage)))
    })
}

/// Amounts in the form of trackable resources; `None` for what is not known.
fn amounts(cpu: Option<u64>, memory: u64, vm: Option<u64>) -> String {
    let mut parts = Vec::new();
    parts.extend(cpu.map(|ms| format!("cpu={},energy=0", long_seconds(ms))));
    parts.push(format!("mem={}", size::usage(memory)));
    parts.extend(vm.map(|bytes| format!("vmem={}", size::usage(bytes))));
    parts.join(",")
}

/// Average over the tasks.
pub fn in_average(row: &Row) -> String {
    of(row, |usage| {
        let cpu = average(total_cpu_ms(row), usage);
        let size = vm(usage).map(|_| average(usage.vm_bytes, usage));
        amounts(Some(cpu), average(usage.rss_bytes, usage), size)
    })
}

/// Of many tasks only the largest memory is known.
pub fn in_most(row: &Row) -> String {
    let Some(usage) = measured(row) else {
        return row.max_rss().map_or_else(String::new, |most| amounts(None, most, None));
    };
    let cpu = (usage.tasks == 1).then(|| total_cpu_ms(row));
    amounts(cpu, usage.max_rss_bytes.amount, vm(&usage).map(|most| most.amount))
}

fn places(row: &Row, text: fn(&MostOfTask) -> String) -> String {
    of(row, |usage| {
        let mut parts = Vec::new();
        if usage.tasks == 1 {
            let one = text(&usage.min_cpu_ms);
            parts.push(format!("cpu={one},energy={one}"));
        }
        parts.push(format!("mem={}", text(&usage.max_rss_bytes)));
        parts.extend(vm(usage).map(|most| format!("vmem={}", text(most))));
        parts.join(",")
    })
}

pub fn in_most_node(row: &Row) -> String {
    places(row, |most| most.node.clone())
}

pub fn in_most_task(row: &Row) -> String {
    places(row, |most| most.task.to_string())
}

/// Of many tasks only the least CPU time is known.
pub fn in_least(row: &Row) -> String {
    of(row, |usage| match usage.tasks {
        1 => in_most(row),
        _ => format!("cpu={}", long_seconds(usage.min_cpu_ms.amount)),
    })
}

pub fn in_least_node(row: &Row) -> String {
    of(row, |usage| match usage.tasks {
        1 => in_most_node(row),
        _ => format!("cpu={}", usage.min_cpu_ms.node),
    })
}

pub fn in_least_task(row: &Row) -> String {
    of(row, |usage| match usage.tasks {
        1 => in_most_task(row),
        _ => format!("cpu={}", usage.min_cpu_ms.task),
    })
}

/// Of all tasks together.
pub fn in_total(row: &Row) -> String {
    match (measured(row), row.max_rss()) {
        (Some(usage), _) => {
            let size = vm(&usage).map(|_| usage.vm_bytes);
            amounts(Some(total_cpu_ms(row)), usage.rss_bytes, size)
        }
        (None, Some(_)) => format!("cpu={}", long_seconds(total_cpu_ms(row))),
        (None, None) => String::new(),
    }
}
