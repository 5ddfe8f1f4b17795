//! The real `pcluster-headnode`, started, asked, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
mod head;
mod nodes;
mod nonsense;
mod process;
mod users;
