//! Everything in a state directory against everything else.
use crate::blobs::{BlobError, Blobs};
use crate::files::{BLOBS, CLUSTER_ID, NODE_ADDRESS, SMALL, UpkeepError, events_of};
use pcluster_model::{BlobHash, MicroUsd};
use pcluster_store::Reader;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub cluster_id: String,
    /// Events that are there.
    pub events: u64,
    /// The number of the base that stands for those before; 0: they are all there.
    pub base: u64,
    pub rows: u64,
    pub jobs: u64,
    pub nodes: u64,
    /// Scripts and environments that jobs name.
    pub blobs: u64,
    /// Bills of machines that are gone, with their sum.
    pub spans: u64,
    pub billed_micro_usd: i64,
    /// What is wrong, one line each; empty when all is well.
    pub wrong: Vec<String>,
}

/// Checks the log against its checksums and the rows, the state against itself, the ledger, the
/// blobs, and the files that nodes know their head by. A head may be running.
///
/// # Errors
/// A log that cannot be read or does not match its rows; what else is wrong is in the report.
pub fn verify(state: &Path) -> Result<Report, UpkeepError> {
    let reader = Reader::open(&events_of(state)?)?;
    let (verified, cluster) = reader.verified()?;
    let mut wrong = cluster.check();
    let mut names = cluster.blobs();
    // An allocation has no script.
    names.remove(&BlobHash([0; 32]));
    wrong.extend(blobs(state, &names));
    let logged = if cluster.log_length() > 0 { cluster.meta.cluster.as_str() } else { "" };
    wrong.extend(small_files(state, logged));
    let spans = &cluster.ledger.spans;
    wrong.extend(spans.values().filter_map(|span| {
        let sum: MicroUsd = span.charges.iter().map(|charge| charge.2).sum();
        let text = format!("the bill of {} is {}, its parts are {sum}", span.name, span.total);
        (sum != span.total).then_some(text)
    }));
    Ok(Report {
        schema: "pcluster.verify.v1",
        cluster_id: cluster.meta.cluster.to_string(),
        events: verified.events,
        base: verified.base,
        rows: verified.rows,
        jobs: cluster.jobs.len() as u64,
        nodes: cluster.nodes.len() as u64,
        blobs: names.len() as u64,
        spans: spans.len() as u64,
        billed_micro_usd: spans.values().map(|span| span.total.0).sum(),
        wrong,
    })
}

fn blobs(state: &Path, names: &BTreeSet<BlobHash>) -> Vec<String> {
    let blobs = Blobs::at(&state.join(BLOBS));
    let wrong = |hash: &BlobHash| {
        let path = blobs.path(*hash);
        match blobs.get(*hash) {
            Ok(_) => None,
            Err(BlobError::Damaged(_)) => {
                Some(format!("{} holds something else than its name says", path.display()))
            }
            Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
        }
    };
    names.iter().filter_map(wrong).collect()
}

/// The files that nodes know their head by; `logged` is the cluster of the log, empty without one.
pub(crate) fn small_files(state: &Path, logged: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in SMALL {
        let path = state.join(name);
        match fs::metadata(&path) {
            Err(_) if name == NODE_ADDRESS => {}
            Err(error) => wrong.push(format!("{} cannot be read: {error}", path.display())),
            Ok(seen) if seen.permissions().mode() & 0o077 != 0 => {
                wrong.push(format!("{} can be read by others: chmod 600 it", path.display()));
            }
            Ok(_) => {}
        }
    }
    let written = fs::read_to_string(state.join(CLUSTER_ID)).unwrap_or_default();
    let written = written.trim();
    if !written.is_empty() && !logged.is_empty() && written != logged {
        wrong.push(format!("cluster-id says {written}, the log is of cluster {logged}"));
    }
    wrong
}
