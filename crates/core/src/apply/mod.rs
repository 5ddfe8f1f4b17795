//! `apply`: the only mutator of truth. Infallible: an event that was committed has happened.
mod job;
mod node;

pub use node::share;
mod step;

use crate::Cluster;
use crate::event::{Event, Stamped};
use crate::rows::RowKey;
use pcluster_model::{LaunchId, Timestamp};

impl Cluster {
    /// Makes one committed fact part of the state. Events come in order and without gaps.
    pub fn apply(&mut self, stamped: &Stamped) {
        assert_eq!(stamped.seq, self.log_length + 1, "events are applied in order, without gaps");
        self.log_length = stamped.seq;
        self.last_at = self.last_at.max(stamped.at);
        self.apply_event(stamped.at, &stamped.event);
    }

    /// As `apply`, for rows that joined an event already applied in the same batch.
    pub(crate) fn apply_event(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::ClusterCreated { cluster } => {
                self.meta.cluster = cluster.clone();
                self.touched.insert(RowKey::Meta);
            }
            Event::HeadStarted { version } => {
                self.meta.version.clone_from(version);
                self.meta.closing = None;
                self.touched.insert(RowKey::Meta);
            }
            Event::ConfigChanged { config } => self.apply_config(config),
            Event::ClockStepped { offset_ms } => {
                self.meta.clock_offset_ms = *offset_ms;
                self.touched.insert(RowKey::Meta);
            }
            Event::DownWanted { by, now } => {
                self.meta.closing = Some(crate::Closing { by: by.clone(), now: *now });
                self.touched.insert(RowKey::Meta);
            }
            Event::NumbersSkipped { .. } => self.apply_skip(event),
            Event::JobSubmitted { .. }
            | Event::JobHeld { .. }
            | Event::JobReleased { .. }
            | Event::JobUpdated { .. }
            | Event::JobPlaced { .. }
            | Event::TasksPlaced { .. }
            | Event::CancelWanted { .. }
            | Event::RequeueWanted { .. }
            | Event::EndWanted { .. }
            | Event::JobSuspended { .. }
            | Event::RunEnded { .. }
            | Event::TasksEnded { .. }
            | Event::LimitChanged { .. } => self.apply_job_event(at, event),
            Event::JobsForgotten { jobs } => self.forget(jobs),
            Event::StandingSeen { standing } => self.apply_standing(standing),
            Event::StepStarted { step } => self.apply_step_start(at, step),
            Event::StepEnded { run, step, rank, end, .. } => {
                self.apply_step_end(at, (*run, *step), *rank, end);
            }
            Event::LaunchWanted { .. }
            | Event::InstanceAdopted { .. }
            | Event::InstanceSeen { .. }
            | Event::LaunchRefused { .. }
            | Event::OfferingRested { .. }
            | Event::NodeJoined { .. }
            | Event::NodeReady { .. }
            | Event::NodeRebooted { .. }
            | Event::NodeDraining { .. }
            | Event::NodeResumed { .. }
            | Event::NodeStopping { .. }
            | Event::NodeLost { .. }
            | Event::NodeReturned { .. }
            | Event::NodeGone { .. }
            | Event::SpanClosed { .. }
            | Event::MoneyReserved { .. } => self.apply_node_event(at, event),
        }
    }

    fn apply_skip(&mut self, event: &Event) {
        let Event::NumbersSkipped { launch, run, job, order, names, .. } = event else { return };
        let meta = &mut self.meta;
        let first = LaunchId(meta.last_launch + 1);
        match meta.unlogged_launches.last_mut() {
            // No launch of this log came between.
            Some((_, last)) if last.0 + 1 == first.0 => *last = *launch,
            _ => meta.unlogged_launches.push((first, *launch)),
        }
        meta.last_launch = meta.last_launch.max(launch.0);
        meta.last_run = meta.last_run.max(run.0);
        meta.last_job = meta.last_job.max(job.0);
        meta.last_order = meta.last_order.max(*order);
        let pools = meta.config.as_ref().map_or(&[][..], |config| &config.pools);
        for pool in pools {
            let next = meta.next_numbers.entry(pool.name.clone()).or_insert(1);
            *next = next.saturating_add(*names);
        }
        self.touched.insert(RowKey::Meta);
    }

    fn apply_config(&mut self, config: &pcluster_model::config::Config) {
        self.meta.config = Some(config.clone());
        self.set_effective();
        // A new file is a new chance for what the old one got wrong.
        for (_, health) in &mut self.meta.offerings {
            *health = crate::node::OfferingHealth::default();
        }
        self.touched.insert(RowKey::Meta);
    }
}
