//! What a job needs on one node, and what a machine offers.
use crate::money::Price;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// An amount of each counted resource of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Hardware threads (cores where the pool says `smt = false`).
    pub cpus: u32,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// GPUs.
    #[serde(default)]
    pub gpus: u32,
    /// Local scratch disk in bytes.
    #[serde(default)]
    pub tmp_bytes: u64,
}

impl Resources {
    /// True when `self` has room for `other` in every resource.
    #[must_use]
    pub const fn holds(&self, other: &Self) -> bool {
        self.cpus >= other.cpus
            && self.memory_bytes >= other.memory_bytes
            && self.gpus >= other.gpus
            && self.tmp_bytes >= other.tmp_bytes
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpus: self.cpus + other.cpus,
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            gpus: self.gpus + other.gpus,
            tmp_bytes: self.tmp_bytes.saturating_add(other.tmp_bytes),
        }
    }

    /// What is left; a resource never goes below zero.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            cpus: self.cpus.saturating_sub(other.cpus),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            gpus: self.gpus.saturating_sub(other.gpus),
            tmp_bytes: self.tmp_bytes.saturating_sub(other.tmp_bytes),
        }
    }
}

/// One kind of machine that a pool may launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The provider's or the file's name: `c6i.4xlarge`, or `2c` for one made from `cpus`.
    pub name: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// The whole machine.
    pub total: Resources,
    /// GPU model in lower case, empty without GPUs.
    #[serde(default)]
    pub gpu_type: String,
    /// List price per hour; `None` when nobody knows it.
    pub price: Option<Price>,
    /// Spot price per hour where the catalogue has one.
    #[serde(default)]
    pub spot_price: Option<Price>,
    /// Memory kept from jobs in bytes until a node of this image and shape has reported.
    pub reserve_bytes: u64,
}

impl Shape {
    /// Memory kept from jobs where nobody says how much, until a node has reported.
    #[must_use]
    pub const fn guessed_reserve(memory_bytes: u64) -> u64 {
        memory_bytes / 20 + (256 << 20)
    }

    /// Nobody has said how much memory is kept from jobs.
    #[must_use]
    pub fn reserve_is_guessed(&self) -> bool {
        let whole = self.total.memory_bytes;
        self.reserve_bytes == Self::guessed_reserve(whole).min(whole)
    }

    /// What jobs can use: the machine less what is kept back. A scratch disk whose size nobody
    /// knows yet bounds nothing; the node's own report does.
    #[must_use]
    pub fn usable(&self) -> Resources {
        let known = self.total.tmp_bytes;
        Resources {
            memory_bytes: self.total.memory_bytes.saturating_sub(self.reserve_bytes),
            tmp_bytes: if known == 0 { u64::MAX } else { known },
            ..self.total
        }
    }
}
