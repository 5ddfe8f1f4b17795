//! What is said to the program and what it answers: one JSON object each.
//!
//! Invariant: fields are only added; a program ignores what it does not know, and so does this side.
use crate::provider::{ErrorClass, LaunchOrder, Listed, ProviderError, now};
use pcluster_model::{ClusterId, DurationMs, InstanceRef, LaunchId, Price, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Of the protocol; raised when a program must answer otherwise than before.
pub const VERSION: u32 = 1;

/// To the program, on its standard input; the verb is its last word, too.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    pub version: u32,
    /// Every machine carries it as a tag, and only those with it are listed or ended.
    pub cluster: &'a ClusterId,
    /// The agent's program on the head.
    pub agent: &'a Path,
    #[serde(flatten)]
    pub verb: Verb<'a>,
}

/// What is wanted.
#[derive(Debug, Serialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb<'a> {
    Launch(Launch<'a>),
    Terminate {
        instances: Vec<&'a InstanceRef>,
        /// Everything of these launches, known or not, and nothing of them from now on.
        launches: Vec<LaunchId>,
    },
    List {},
    Shapes {},
    Console {
        instance: &'a InstanceRef,
    },
}

impl Verb<'_> {
    /// The last word of the command.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Launch(_) => "launch",
            Self::Terminate { .. } => "terminate",
            Self::List {} => "list",
            Self::Shapes {} => "shapes",
            Self::Console { .. } => "console",
        }
    }
}

/// Machines of one shape.
#[derive(Debug, Serialize)]
pub struct Launch<'a> {
    pub cluster_name: &'a str,
    /// Of this launch for ever: the same number again is the same machines.
    pub launch: LaunchId,
    pub shape: &'a str,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub gpus: u32,
    pub spot: bool,
    /// Name and reference of the image.
    pub image: &'a str,
    pub image_reference: &'a str,
    pub machines: Vec<Machine<'a>>,
    pub tags: &'a BTreeMap<String, String>,
}

/// One machine of a launch.
#[derive(Debug, Serialize)]
pub struct Machine<'a> {
    pub index: u32,
    /// For people.
    pub name: &'a str,
    /// The text of `join.json`, which its agent needs; it holds a one-time secret.
    pub join: &'a str,
}

impl<'a> From<&'a LaunchOrder> for Launch<'a> {
    fn from(order: &'a LaunchOrder) -> Self {
        let machine = |index: u32| Machine {
            index,
            name: order.names.get(index as usize).map_or("", String::as_str),
            join: order.joins.get(index as usize).map_or("", String::as_str),
        };
        Self {
            cluster_name: &order.cluster_name,
            launch: order.launch,
            shape: &order.shape.name,
            cpus: order.shape.total.cpus,
            memory_bytes: order.shape.total.memory_bytes,
            gpus: order.shape.total.gpus,
            spot: order.spot,
            image: &order.image.name,
            image_reference: &order.image.reference,
            machines: (0..order.count).map(machine).collect(),
            tags: &order.tags,
        }
    }
}

/// From the program, on its standard output: `error`, or what its verb wants.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub error: Option<Trouble>,
    /// `launch`
    #[serde(default)]
    pub launched: Option<Vec<LaunchEntry>>,
    /// `list`
    #[serde(default)]
    pub machines: Option<Vec<Listed>>,
    /// `shapes`: the names of those that can be had now; none at all: every shape of the pools.
    #[serde(default)]
    pub shapes: Option<Vec<String>>,
    /// `shapes`: what spot machines cost, by shape, in micro-dollars an hour.
    #[serde(default)]
    pub spot_prices: BTreeMap<String, Price>,
    /// `console`
    #[serde(default)]
    pub console: Option<String>,
}

/// How one machine was answered: `instance` and `launched_at`, or `error`.
#[derive(Debug, Clone, Deserialize)]
pub struct LaunchEntry {
    pub index: u32,
    #[serde(default)]
    pub instance: Option<InstanceRef>,
    #[serde(default)]
    pub launched_at: Option<Timestamp>,
    #[serde(default)]
    pub error: Option<Trouble>,
}

/// A failure in the program's words.
#[derive(Debug, Clone, Deserialize)]
pub struct Trouble {
    /// `no_capacity`, `quota`, `rate_limited`, `never_fits`, `denied`, `bad_config` or `unknown`;
    /// a word that is none of them is `unknown`.
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub message: String,
    /// `quota`
    #[serde(default)]
    pub limit: String,
    #[serde(default)]
    pub used: String,
    /// `rate_limited`: wait this long.
    #[serde(default)]
    pub retry_after_ms: DurationMs,
}

impl From<Trouble> for ProviderError {
    fn from(said: Trouble) -> Self {
        let class = match said.class.as_str() {
            "no_capacity" => ErrorClass::NoCapacity,
            "quota" => ErrorClass::Quota { limit: said.limit, used: said.used },
            "rate_limited" => ErrorClass::RateLimited { retry_at: now() + said.retry_after_ms },
            "never_fits" => ErrorClass::NeverFits,
            "denied" => ErrorClass::Denied,
            "bad_config" => ErrorClass::BadConfig,
            _ => ErrorClass::Unknown,
        };
        let message = if said.message.is_empty() { said.class } else { said.message };
        Self::new(class, message)
    }
}
