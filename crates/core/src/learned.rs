//! What nodes have reported of their image and shape: what jobs really get on such a machine.
//!
//! Invariant: a catalogue's figure less a guess is believed only until a node has reported; from then on
//! the newest report counts, for what is refused at submit, placed and launched alike. What the file
//! says to keep from jobs is no guess. Free disk is told too, and is believed for a while only: others
//! fill and empty it.
use crate::Cluster;
use crate::node::Node;
use alloc::string::String;
use pcluster_model::config::{Config, Pool};
use pcluster_model::{DurationMs, JobSpec, Shape, Timestamp};
use serde::{Deserialize, Serialize};

/// A report of free disk is believed for so long.
const DISK_BELIEVED: DurationMs = DurationMs::from_mins(10);

/// The newest report of one image on one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    pub image: String,
    pub shape: String,
    /// For jobs.
    pub memory_bytes: u64,
    /// Free for scratch.
    pub tmp_bytes: u64,
    pub at: Timestamp,
}

/// A configuration in which what nodes have reported stands in the place of guesses.
pub(crate) fn effective(config: &Config, learned: &[Learned]) -> Config {
    let mut config = config.clone();
    for pool in &mut config.pools {
        for shape in pool.shapes.iter_mut().filter(|shape| shape.reserve_is_guessed()) {
            if let Some(report) = find(learned, &pool.image, &shape.name) {
                shape.reserve_bytes = shape.total.memory_bytes.saturating_sub(report.memory_bytes);
            }
        }
    }
    config
}

fn find<'a>(learned: &'a [Learned], image: &str, shape: &str) -> Option<&'a Learned> {
    learned.iter().find(|known| known.image == image && known.shape == shape)
}

impl Cluster {
    /// What was last reported of this shape under its pool's image.
    #[must_use]
    pub fn learned_of(&self, pool: &Pool, shape: &Shape) -> Option<&Learned> {
        find(&self.meta.learned, &pool.image, &shape.name)
    }

    /// The file says nothing of the memory that is kept from jobs on this shape.
    #[must_use]
    pub fn is_guessed(&self, pool: &Pool, shape: &Shape) -> bool {
        let file = self.meta.config.as_ref().and_then(|config| config.pool(&pool.name));
        let own = file.and_then(|pool| pool.shapes.iter().find(|own| own.name == shape.name));
        own.is_some_and(Shape::reserve_is_guessed)
    }

    /// The same, of a node's pool and shape.
    pub(crate) fn guesses_of(&self, node: &Node) -> bool {
        self.pool(&node.offering.pool).is_some_and(|pool| self.is_guessed(pool, &node.shape))
    }

    /// Another machine of this shape would not have the scratch that a job asks for: the last one that came
    /// up had less.
    pub(crate) fn lacks_scratch(
        &self,
        pool: &Pool,
        shape: &Shape,
        spec: &JobSpec,
        now: Timestamp,
    ) -> bool {
        let report = self.learned_of(pool, shape).filter(|report| now < report.at + DISK_BELIEVED);
        report.is_some_and(|report| report.tmp_bytes < spec.tmp_bytes)
    }

    /// Takes in a report.
    pub(crate) fn learn(&mut self, at: Timestamp, node: &Node) {
        let (image, shape) = (node.image.clone(), node.shape.name.clone());
        let (memory_bytes, tmp_bytes) = (node.usable.memory_bytes, node.usable.tmp_bytes);
        self.meta.learned.retain(|known| known.image != image || known.shape != shape);
        self.meta.learned.push(Learned { image, shape, memory_bytes, tmp_bytes, at });
        self.touched.insert(crate::rows::RowKey::Meta);
        self.set_effective();
    }

    /// Keeps what planners read true to the file and to the reports.
    pub(crate) fn set_effective(&mut self) {
        let config = self.meta.config.as_ref();
        self.effective = config.map(|config| effective(config, &self.meta.learned));
    }
}
