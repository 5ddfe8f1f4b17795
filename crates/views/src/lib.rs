//! Views: pure functions from the cluster to what the API answers.
//!
//! Invariant: a view depends on the cluster, the moment and the reader only; everything that hides
//! something from a reader hides it here. Times go out as the wall clock, the cluster counts in
//! steady time. Deliberately absent: I/O, locks, and texts that depend on a terminal.
pub mod allocation;
pub mod cost;
pub mod detail;
pub mod estimate;
pub mod history;
pub mod money;
pub mod node;
pub mod outcome;
pub mod pools;
pub mod reason;
pub mod records;
pub mod rows;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod standing;
pub mod start;
pub mod status;
pub mod step_record;
pub mod why;
mod why_launch;
pub mod why_node;
mod why_room;
mod why_spot;
pub mod words;

#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod why_launch_tests;
#[cfg(test)]
mod why_spot_tests;
#[cfg(test)]
mod why_tests;

use pcluster_core::input::Principal;
use pcluster_core::{Cluster, Job};
use pcluster_model::{IndexRanges, JobId, Timestamp, UserName};
use std::collections::BTreeMap;

/// Each job once, with all the tasks of it that are named: naming them again costs nothing.
#[must_use]
pub fn merged(ids: &[(JobId, Option<IndexRanges>)]) -> BTreeMap<JobId, Option<IndexRanges>> {
    let mut all: BTreeMap<JobId, Option<Vec<(u32, u32)>>> = BTreeMap::new();
    for (id, tasks) in ids {
        match (all.entry(*id).or_insert_with(|| Some(Vec::new())), tasks) {
            (Some(known), Some(more)) => known.extend(more.ranges()),
            // The whole job, or all of it already.
            (whole, _) => *whole = None,
        }
    }
    all.into_iter().map(|(id, tasks)| (id, tasks.map(IndexRanges::of_ranges))).collect()
}

/// What every view is made from.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    pub cluster: &'a Cluster,
    /// Steady time.
    pub now: Timestamp,
    pub reader: &'a Principal,
}

impl Cx<'_> {
    /// Wall clock, in milliseconds since the epoch, of a steady moment.
    #[must_use]
    pub fn wall(&self, at: Timestamp) -> i64 {
        self.cluster.wall(at).0
    }

    /// Wall clock now.
    #[must_use]
    pub fn wall_now(&self) -> i64 {
        self.wall(self.now)
    }

    /// True for the owner and for admins: they see cost, output, working directory and comment.
    #[must_use]
    pub fn sees_all_of(&self, job: &Job) -> bool {
        self.reader.admin || self.reader.uid == job.owner.uid
    }

    /// `you`, or the name.
    #[must_use]
    pub fn name_of(&self, user: &UserName) -> String {
        if *user == self.reader.user { "you".into() } else { user.to_string() }
    }

    fn zone_offset_ms(&self) -> i64 {
        self.cluster.config().map_or(0, |config| config.zone_offset_ms)
    }

    /// `14:21`, or `24 Nov 14:21` on another day, in the head's zone.
    #[must_use]
    pub fn clock(&self, wall_ms: i64) -> String {
        words::clock(wall_ms, self.wall_now(), self.zone_offset_ms(), "%H:%M")
    }

    /// As `clock`, with seconds.
    #[must_use]
    pub fn clock_seconds(&self, wall_ms: i64) -> String {
        words::clock(wall_ms, self.wall_now(), self.zone_offset_ms(), "%H:%M:%S")
    }
}

/// `pcluster.NAME/1`: the schema word of an answer.
#[must_use]
pub fn schema(name: &str) -> String {
    format!("pcluster.{name}/1")
}
