//! A look at a state directory that takes no longer for a long log: its end, and the small files.
use crate::files::{UpkeepError, events_of};
use crate::verify::small_files;
use pcluster_core::Meta;
use pcluster_store::Reader;
use std::path::Path;

/// So many events, the last ones, are read back and held against their checksums.
const END: u64 = 1000;

/// What such a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quick {
    /// The number of the last event; 0: there is none.
    pub last: u64,
    /// How many of the last were checked.
    pub checked: u64,
    /// When the last was written, by the wall clock of its head.
    pub last_at_ms: i64,
    /// The cluster was taken down, by `pcluster down`.
    pub closed: bool,
    /// What is wrong, one line each; empty when all is well.
    pub wrong: Vec<String>,
}

/// Looks. A head may be running.
///
/// # Errors
/// No log, or one whose end does not read back.
pub fn quick(state: &Path) -> Result<Quick, UpkeepError> {
    let reader = Reader::open(&events_of(state)?)?;
    let end = reader.check_end(END)?;
    let meta = reader.row("meta", "cluster")?;
    let meta = meta.and_then(|row| serde_json::from_str::<Meta>(&row.body).ok());
    let offset = meta.as_ref().map_or(0, |meta| meta.clock_offset_ms);
    Ok(Quick {
        last: end.last,
        checked: end.checked,
        last_at_ms: end.at.0.saturating_add(offset),
        closed: meta.as_ref().is_none_or(|meta| meta.closing.is_some()),
        wrong: small_files(state, meta.as_ref().map_or("", |meta| meta.cluster.as_str())),
    })
}
