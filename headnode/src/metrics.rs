//! Metrics: folds over committed events, and a few gauges read from the mirror when asked.
use crate::disk::DiskWatch;
use crate::mirror::Mirror;
use pcluster_core::Cluster;
use pcluster_core::event::{Event, PartEnd, Stamped};
use pcluster_core::standing::StandingKind;
use pcluster_model::Timestamp;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::Arc;

/// The registry of this head. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    events: IntCounterVec,
    submitted: IntCounter,
    placed: IntCounter,
    ended: IntCounterVec,
    launches: IntCounter,
    refusals: IntCounterVec,
    nodes_ready: IntCounter,
    nodes_lost: IntCounter,
    spent: IntCounter,
    batches: IntCounter,
    queued: IntGauge,
    running: IntGauge,
    nodes: IntGaugeVec,
    disk_free: IntGauge,
    standing: IntGaugeVec,
    standing_price: IntGaugeVec,
}

/// Names and helps are constants of this file: registering them cannot fail.
const FIXED: &str = "a metric's name is a constant and is registered once";

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let made = IntCounter::new(name, help).expect(FIXED);
    registry.register(Box::new(made.clone())).expect(FIXED);
    made
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    let made = IntCounterVec::new(Opts::new(name, help), &[label]).expect(FIXED);
    registry.register(Box::new(made.clone())).expect(FIXED);
    made
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    let made = IntGaugeVec::new(Opts::new(name, help), &[label]).expect(FIXED);
    registry.register(Box::new(made.clone())).expect(FIXED);
    made
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let made = IntGauge::new(name, help).expect(FIXED);
    registry.register(Box::new(made.clone())).expect(FIXED);
    made
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own; nothing is global.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let inner = Inner {
            events: counters(r, "pcluster_events_total", "Events committed, by kind.", "kind"),
            submitted: counter(r, "pcluster_jobs_submitted_total", "Jobs accepted."),
            placed: counter(r, "pcluster_runs_placed_total", "Runs placed on nodes."),
            ended: counters(r, "pcluster_run_parts_ended_total", "Parts of runs ended.", "how"),
            launches: counter(r, "pcluster_launches_total", "Machines asked for."),
            refusals: counters(
                r,
                "pcluster_launch_refusals_total",
                "Machines that a provider refused, by class.",
                "class",
            ),
            nodes_ready: counter(r, "pcluster_nodes_ready_total", "Nodes that became ready."),
            nodes_lost: counter(r, "pcluster_nodes_lost_total", "Nodes that fell silent."),
            spent: counter(r, "pcluster_spent_micro_usd_total", "Cost of closed spans."),
            batches: counter(r, "pcluster_batches_total", "Batches with events committed."),
            queued: gauge(r, "pcluster_tasks_queued", "Tasks that wait for a run."),
            running: gauge(r, "pcluster_runs_live", "Runs on nodes."),
            disk_free: gauge(r, "pcluster_disk_free_bytes", "Free space of the state directory."),
            nodes: gauges(r, "pcluster_nodes", "Nodes that exist or may exist, by state.", "state"),
            standing: gauges(
                r,
                "pcluster_standing_micro_usd",
                "What the head's machine and storage have cost this month.",
                "kind",
            ),
            standing_price: gauges(
                r,
                "pcluster_standing_micro_usd_per_hour",
                "What the head's machine and storage cost in an hour.",
                "kind",
            ),
            registry,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Counts a committed batch.
    pub fn count(&self, events: &[Stamped]) {
        if !events.is_empty() {
            self.inner.batches.inc();
        }
        for stamped in events {
            self.inner.events.with_label_values(&[stamped.event.kind()]).inc();
            self.count_one(&stamped.event);
        }
    }

    fn count_one(&self, event: &Event) {
        let inner = &self.inner;
        match event {
            Event::JobSubmitted { .. } => inner.submitted.inc(),
            Event::JobPlaced { .. } => inner.placed.inc(),
            Event::TasksPlaced { placements, .. } => inner.placed.inc_by(placements.len() as u64),
            Event::RunEnded { ended, .. } => self.count_end(&ended.end),
            Event::TasksEnded { ended, .. } => {
                ended.iter().for_each(|one| self.count_end(&one.end))
            }
            Event::LaunchWanted { intent } => inner.launches.inc_by(intent.names.len() as u64),
            Event::LaunchRefused { class, .. } => {
                use pcluster_core::event::LaunchErrorClass as Class;
                let word = match class {
                    Class::NoCapacity => "no_capacity",
                    Class::Quota { .. } => "quota",
                    Class::RateLimited { .. } => "rate_limited",
                    Class::NeverFits => "never_fits",
                    Class::Denied => "denied",
                    Class::BadConfig => "bad_config",
                    Class::Unknown => "unknown",
                };
                inner.refusals.with_label_values(&[word]).inc();
            }
            Event::NodeReady { .. } => inner.nodes_ready.inc(),
            Event::NodeLost { .. } => inner.nodes_lost.inc(),
            Event::SpanClosed { span } => {
                inner.spent.inc_by(u64::try_from(span.total.0).unwrap_or(0));
            }
            _ => {}
        }
    }

    fn count_end(&self, end: &PartEnd) {
        let how = match end {
            PartEnd::Ended { .. } => "ended",
            PartEnd::NotStarted { .. } => "not_started",
            PartEnd::NodeGone { .. } => "node_gone",
        };
        self.inner.ended.with_label_values(&[how]).inc();
    }

    fn set_standing(&self, cluster: &Cluster, now: Timestamp) {
        for (kind, word) in [(StandingKind::Head, "head"), (StandingKind::Storage, "storage")] {
            let (spent, price) = cluster.standing_of(kind, now);
            self.inner.standing.with_label_values(&[word]).set(spent.0);
            self.inner.standing_price.with_label_values(&[word]).set(price.0);
        }
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self, mirror: &Mirror, disk: &DiskWatch, now: Timestamp) -> String {
        let inner = &self.inner;
        inner.nodes.reset();
        self.set_standing(&mirror.read(), now);
        {
            let cluster = mirror.read();
            let queued: usize = cluster.queued_jobs().map(|job| job.pending.len()).sum();
            inner.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
            inner.running.set(i64::try_from(cluster.runs.len()).unwrap_or(i64::MAX));
            for node in cluster.nodes.values().filter(|node| node.state.is_alive()) {
                inner.nodes.with_label_values(&[node.state.word()]).inc();
            }
        }
        inner.disk_free.set(i64::try_from(disk.free_bytes()).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        // Writing to memory fails only for metrics without values, which have nothing to say.
        if let Err(error) = TextEncoder::new().encode(&inner.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
