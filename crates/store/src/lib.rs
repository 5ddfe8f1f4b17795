//! The event log and its rows, in one SQLite file.
//!
//! Invariant: events are appended without gaps and never change; old ones go only from the front, once
//! a base (a copy of the living rows at a later number) stands in for them. The rows of a batch are written in
//! the transaction of its events, and `commit` returns only when both are on disk. A file that this
//! version does not know is refused before a byte of it is touched.
//! Deliberately absent: decisions, the meaning of rows (`pcluster-core` makes and reads them), and
//! job scripts (blobs are files of their own).
mod base;
mod error;
mod prune;
mod reader;
mod schema;
mod seal;
mod upkeep;
mod verify;
mod wal;
mod writer;

pub use error::StoreError;
pub use prune::{Pruned, Pruner};
pub use reader::{HistoryFilter, Reader};
pub use upkeep::rebuild;
pub use verify::{LogEnd, Verified, compare_rows};
pub use writer::{EventStore, Loaded};

#[cfg(test)]
mod prune_tests;
#[cfg(test)]
mod tests;
