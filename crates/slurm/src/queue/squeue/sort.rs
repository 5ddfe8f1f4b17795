//! The order of lines: `-S P,t,-p`.
//!
//! Invariant: total and stable; a letter that orders nothing changes nothing. Deliberately absent:
//! the order of steps, which is theirs by number.
use crate::words::{State, hosts, job, size};
use pcluster_api::JobRecord;
use std::cmp::Ordering;

/// Partition, state, priority from the highest.
pub const DEFAULT: &str = "P,t,-p";

/// Sorts by a list of letters, each with `-` or `+` before it.
pub fn sort(records: &mut [JobRecord], by: &str) {
    // What has no order of its own stands by its number.
    records.sort_by_key(|record| (record.job, record.task));
    let mut keys: Vec<(char, bool)> = Vec::new();
    let mut down = false;
    for c in by.chars() {
        match c {
            '-' => down = true,
            '+' | ',' | ' ' => down = false,
            letter => {
                keys.push((letter, down));
                down = false;
            }
        }
    }
    records.sort_by(|a, b| {
        let order = |(letter, down): &(char, bool)| {
            let order = compare(*letter, a, b);
            if *down { order.reverse() } else { order }
        };
        keys.iter().map(order).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

fn compare(letter: char, a: &JobRecord, b: &JobRecord) -> Ordering {
    let never = i64::MAX;
    let by = |key: fn(&JobRecord) -> i64| key(a).cmp(&key(b));
    let limit = |r: &JobRecord| job::limit_seconds(r).unwrap_or(i64::MAX);
    match letter {
        'a' => a.account.cmp(&b.account),
        'A' => a.raw_job.cmp(&b.raw_job),
        'B' => a.node_names.first().cmp(&b.node_names.first()),
        'c' => job::least_cpus(a).cmp(&job::least_cpus(b)),
        'C' => job::cpus(a).cmp(&job::cpus(b)),
        'd' => a.tmp_bytes.cmp(&b.tmp_bytes),
        'D' => job::node_count(a).cmp(&job::node_count(b)),
        'e' => {
            job::expected_end_ms(a).unwrap_or(never).cmp(&job::expected_end_ms(b).unwrap_or(never))
        }
        'f' => job::features(a).cmp(&job::features(b)),
        'F' => a.job.cmp(&b.job),
        'g' => a.group.cmp(&b.group),
        'G' => a.gid.cmp(&b.gid),
        'i' => (a.job, a.task).cmp(&(b.job, b.task)),
        'j' => a.name.cmp(&b.name),
        'K' => a.task.cmp(&b.task),
        'l' => limit(a).cmp(&limit(b)),
        'L' => {
            let left =
                |r: &JobRecord| limit(r).saturating_add(job::start_ms(r).unwrap_or(0) / 1000);
            left(a).cmp(&left(b))
        }
        'm' => {
            size::mebibytes(job::least_memory(a).0).cmp(&size::mebibytes(job::least_memory(b).0))
        }
        // Who started first has run longest.
        'M' => job::start_ms(b).unwrap_or(never).cmp(&job::start_ms(a).unwrap_or(never)),
        'n' | 'N' => hosts::fold_sorted(&a.node_names).cmp(&hosts::fold_sorted(&b.node_names)),
        'p' | 'Q' => job::priority(a).cmp(&job::priority(b)),
        'P' => a.pool.cmp(&b.pool),
        'q' => job::qos(a).cmp(job::qos(b)),
        'S' => job::expected_start_ms(a)
            .unwrap_or(never)
            .cmp(&job::expected_start_ms(b).unwrap_or(never)),
        't' => State::of(a).cmp(&State::of(b)),
        'T' => State::of(a).long().cmp(State::of(b).long()),
        'u' => a.user.cmp(&b.user),
        'U' => a.uid.cmp(&b.uid),
        'V' => by(|r| r.submitted_at_ms),
        _ => Ordering::Equal,
    }
}
