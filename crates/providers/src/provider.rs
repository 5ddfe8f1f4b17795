//! The trait and its types.
use crate::checkup::Asked;
use async_trait::async_trait;
use pcluster_api::Finding;
use pcluster_model::config::{Ec2Pool, ProviderKind};
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId, Price, Shape, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// One provider call for `count` machines of one offering. Byte for byte the same on every retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchOrder {
    pub cluster: ClusterId,
    pub cluster_name: String,
    pub launch: LaunchId,
    /// Machines wanted; fewer is normal.
    pub count: u32,
    pub shape: Shape,
    pub image: LaunchImage,
    pub spot: bool,
    /// Where, by the provider's own id; empty: its choice.
    #[serde(default)]
    pub subnet: String,
    /// Names for people, one for each index.
    pub names: Vec<String>,
    /// What the machine needs to join, the same for all indices but for the index: the provider
    /// hands it over out of reach of other users. JSON of `pcluster_wire::JoinOrder`, one for each
    /// index (a bulk provider sends them all as one text and the machine picks its own).
    pub joins: Vec<String>,
    /// Written on every machine, with the cluster's id and the launch in them.
    pub tags: BTreeMap<String, String>,
    /// What only EC2 has.
    #[serde(default)]
    pub ec2: Ec2Pool,
}

/// The image as the provider needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchImage {
    pub name: String,
    /// Directory (process); disk image (vm); id (ec2). Empty: the machine as it is.
    pub reference: String,
}

/// How one wanted machine was answered.
pub type LaunchAnswer = Result<Launched, ProviderError>;

/// A machine that the provider accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    pub index: u32,
    pub instance: InstanceRef,
    /// The provider's time, from which it bills.
    pub launched_at: Timestamp,
    /// As in [`Listed`].
    #[serde(default)]
    pub address: Option<IpAddr>,
}

/// What to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Instance(InstanceRef),
    /// Everything of a launch, known or not: its answer may have been lost.
    Launch(LaunchId),
}

/// Where a machine is in the provider's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Pending,
    Running,
    Stopping,
    /// Ended; listed for a while with its end time.
    Ended,
}

/// A machine with our cluster's tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub instance: InstanceRef,
    pub launch: LaunchId,
    /// The provider's launch index; `None` where it has none (list order decides then).
    pub index: Option<u32>,
    pub phase: Phase,
    pub launched_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// True when nobody wrote down the end at the time and it was noticed later.
    #[serde(default)]
    pub ended_estimated: bool,
    /// The provider takes it back at this moment, its own time.
    #[serde(default)]
    pub notice_at: Option<Timestamp>,
    /// It has ended because the provider took it back.
    #[serde(default)]
    pub reclaimed: bool,
    /// Its name for people; empty where the provider keeps none.
    #[serde(default)]
    pub name: String,
    /// As its launch order had them.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// In the network of the head and nodes, where the provider gives it one.
    #[serde(default)]
    pub address: Option<IpAddr>,
}

impl Listed {
    /// The node id where the index is known.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.index.map(|index| NodeId { launch: self.launch, index })
    }
}

/// What a thing that stands is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingKind {
    Head,
    Storage,
}

/// Something of the cluster that costs whether or not there is work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The provider's name of it.
    pub reference: String,
    pub kind: StandingKind,
    /// `t3.large`, `500 GB gp3`.
    pub label: String,
    /// Per hour; `None` when nobody knows it.
    pub price: Option<Price>,
    /// The provider bills at least this much of it, in milliseconds.
    pub minimum_billing_ms: u64,
    /// The provider's time, from which it bills.
    pub since: Timestamp,
    /// `None` while it stands.
    pub until: Option<Timestamp>,
    /// `until` is when the end was noticed.
    pub estimated: bool,
}

/// What the provider can launch and for how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offering {
    pub shape: Shape,
    pub zone: String,
    /// One of those that the provider was given; empty where it was given none.
    #[serde(default)]
    pub subnet: String,
    pub spot: bool,
    pub price: Option<Price>,
}

/// How a call failed; each class has one fixed action in core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    NoCapacity,
    Quota { limit: String, used: String },
    RateLimited { retry_at: Timestamp },
    NeverFits,
    Denied,
    BadConfig,
    Unknown,
}

/// A classified failure with the provider's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub class: ErrorClass,
    /// What the provider said, fit for people.
    pub message: String,
}

impl ProviderError {
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// A source of machines. Five verbs and a checkup, no state but credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    fn kind(&self) -> ProviderKind;

    /// Starts machines. The same order again (also after a crash) gives the same machines.
    /// One answer for each index; the outer error is for the call as a whole.
    ///
    /// # Errors
    /// The class says what core does.
    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError>;

    /// Ends machines for good. Idempotent: ending what is gone is well.
    ///
    /// # Errors
    /// The class says what core does; the caller repeats it until `list` shows the end.
    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError>;

    /// Every machine with the cluster's tag, ended ones for as long as the provider knows them.
    ///
    /// # Errors
    /// A failed list says nothing about machines: nobody is gone for it.
    async fn list(&self) -> Result<Vec<Listed>, ProviderError>;

    /// What can be launched now.
    ///
    /// # Errors
    /// As `list`.
    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError>;

    /// The machine's console from its first byte, at most the last 64 KiB, as it was written: whoever
    /// shows it takes out what terminals obey.
    ///
    /// # Errors
    /// As `list`.
    async fn console(&self, instance: &InstanceRef) -> Result<String, ProviderError>;

    /// Whether launches can succeed, found out without one: programs, permissions, quota, images.
    async fn checkup(&self, _asked: &Asked<'_>) -> Vec<Finding> {
        Vec::new()
    }

    /// The head's own machine and its storage, where they are this provider's: what stands, and what has ended
    /// for as long as the provider knows it.
    ///
    /// # Errors
    /// As `list`: nothing is gone for a failed call.
    async fn standing(&self) -> Result<Vec<Standing>, ProviderError> {
        Ok(Vec::new())
    }

    /// How long after a call `list` may still be wrong, in milliseconds.
    fn consistency_window_ms(&self) -> u64;

    /// Removes what it made beside machines, once all machines have ended. What was removed, and what stays
    /// and why, a line for each.
    ///
    /// # Errors
    /// When it cannot find out.
    async fn clean_up(&self) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }
}

/// Wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
