//! The bill of a cluster beside the provider's own meter.
use crate::{Cluster, until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The bill when no span is open any more.
fn closed_bill(cluster: &Cluster) -> Value {
    until("the end of all spans", || {
        let bill = cluster.json(&["cost", "--all"]);
        (bill["open_spans"] == 0 && bill["spans"] != 0).then_some(bill)
    })
}

/// What job, boot, idle and drain cost together.
fn sum_of_buckets(bill: &Value) -> i64 {
    let parts = bill["buckets"].as_object();
    parts.into_iter().flatten().filter_map(|(_, part)| part.as_i64()).sum()
}

/// The provider's own times, from the folders of machines: a node of $3.6 an hour costs a millionth of
/// a dollar a millisecond.
///
/// # Panics
/// When a machine has no record of its begin or end.
#[must_use]
pub fn of_records(instances: &[PathBuf]) -> i64 {
    let moment = |folder: &Path, file: &str, key: &str| {
        let text = fs::read(folder.join(file)).expect("a machine has begun and ended");
        let record: Value = serde_json::from_slice(&text).expect("a record is whole");
        record[key].as_i64().expect("a record has its time")
    };
    let times = instances.iter().map(|folder| {
        moment(folder, "ended.json", "ended_at") - moment(folder, "launch.json", "launched_at")
    });
    times.sum()
}

/// Holds the bill against the meter, for a cluster whose nodes cost $3.6 an hour and are all gone; the
/// bill.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn check(cluster: &Cluster) -> Value {
    equals(cluster, of_records(&cluster.instances()))
}

/// Holds the bill against what a meter says, once no span is open; the bill.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn equals(cluster: &Cluster, meter: i64) -> Value {
    let bill = closed_bill(cluster);
    let nodes = bill["nodes_micro_usd"].as_i64();
    assert_eq!((sum_of_buckets(&bill), nodes), (meter, Some(meter)), "{bill}");
    bill
}

/// No node is left, the bill is the meter, and nothing is left of the cluster.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn to_zero(cluster: &Cluster) {
    cluster.until_no_nodes();
    check(cluster);
    cluster.down(&[]);
}

/// The end of a scenario: no node is left, every instance is billed once and for its own time, log,
/// rows and ledger agree, and nothing is left of the cluster.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn ends_even(cluster: &Cluster) {
    cluster.until_no_nodes();
    let bill = check(cluster);
    assert_eq!(bill["spans"].as_u64(), Some(cluster.instances().len() as u64));
    cluster.down(&[]);
    cluster.verify();
}
