//! Real keepers with real processes, each in a directory of its own. Nothing is asserted about how long things take;
//! every wait is for a condition and has a deadline. What needs root says NOT RUN without it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod cgroup;
mod commands;
mod end;
mod harness;
mod pure;
mod records;
mod start;
mod steps;
mod user;
