//! The real agent, keeper and process provider against a small head of this test's own.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
mod door;
mod fake_head;
mod jobs;
mod machines;
mod place;
