//! What every request handler may use. Reads go to the mirror and the files, writes to the inbox.
use crate::agents::Hub;
use crate::agents::streams::Streams;
use crate::bundles::Bundles;
use crate::clock::Clock;
use crate::disk::DiskWatch;
use crate::hands::cleaning::Cleaned;
use crate::hands::consoles::Consoles;
use crate::inbox::InboxHandle;
use crate::limits;
use crate::logs::{BootLogs, OutputTails};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::people::People;
use pcluster_api::rates::Rates;
use pcluster_api::seats::Seats;
use pcluster_core::input::Principal;
use pcluster_model::Timestamp;
use pcluster_upkeep::blobs::Blobs;
use pcluster_views::Cx;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Everything that the HTTP room needs. Cheap to clone.
///
/// The caller's `pcluster_core::input::Principal` is an extension of every request.
#[derive(Clone)]
pub struct AppState {
    /// The cluster as of the last commit; `state.mirror.read()` must not be held across an await.
    pub mirror: Mirror,
    /// The way to the loop: `state.submit.ask(input).await`.
    pub submit: InboxHandle,
    /// Scripts and environments by hash.
    pub blobs: Blobs,
    /// The end of the output of every run.
    pub logs: OutputTails,
    /// What nodes said while they booted.
    pub boot_logs: BootLogs,
    /// What is kept of nodes whose boot failed.
    pub bundles: Bundles,
    /// What machines show now.
    pub consoles: Consoles,
    pub cleaned: Cleaned,
    pub facts: Arc<HeadFacts>,
    /// For `pcluster_store::Reader::open`: history and events.
    pub store_path: Arc<Path>,
    pub clock: Clock,
    pub disk: DiskWatch,
    pub people: People,
    pub metrics: Metrics,
    /// The connections of agents.
    pub hub: Hub,
    /// Streams to nodes.
    pub streams: Streams,
    /// What many ask for at once.
    pub bounds: Bounds,
    /// Changes whenever the mirror may show something new; long polls and followers wait on it.
    pub changes: watch::Receiver<u64>,
}

/// What is counted while it lasts, by user. Cheap to clone.
#[derive(Clone)]
pub struct Bounds {
    /// Bytes of requests that are being answered.
    pub bodies: Seats<u32>,
    /// Bytes of answers that nobody has read yet.
    pub answers: Seats<u32>,
    /// Who listens to events.
    pub listeners: Seats<u32>,
    /// Lists of everything that are being made.
    pub lists: Arc<Semaphore>,
    /// How often a user may make a step.
    pub steps: Rates,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bodies: Seats::new(limits::BODIES, limits::BODIES_OF_ONE),
            answers: Seats::new(limits::ANSWERS, limits::ANSWERS_OF_ONE),
            listeners: Seats::new(limits::LISTENERS, limits::LISTENERS_OF_ONE),
            lists: Arc::new(Semaphore::new(limits::LISTS)),
            steps: Rates::new(limits::STEP_EVERY, limits::STEPS_AT_ONCE),
        }
    }
}

impl AppState {
    /// What this reader sees now. Nobody writes meanwhile: short, and without waiting.
    pub fn seen<T>(&self, reader: &Principal, view: impl FnOnce(&Cx<'_>) -> T) -> T {
        let cluster = self.mirror.read();
        view(&Cx { cluster: &cluster, now: self.clock.now(), reader })
    }
}

/// What does not change while the process lives.
#[derive(Debug, Clone)]
pub struct HeadFacts {
    pub version: &'static str,
    pub pid: u32,
    /// The user who started the head.
    pub uid: u32,
    /// Steady time.
    pub started_at: Timestamp,
    pub state_dir: PathBuf,
    /// The file as it was named at the start, absolute.
    pub config_file: PathBuf,
    /// `HOST:PORT` that nodes dial.
    pub node_address: String,
    /// Said once: what this machine cannot do, what was assumed.
    pub notes: Vec<String>,
}
