//! The real agent, keeper and process provider against a small head of this test's own.
mod fake_head;
mod jobs;
mod machines;
mod place;
