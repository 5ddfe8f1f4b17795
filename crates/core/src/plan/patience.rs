//! How long a job waits for a spot machine before it gets one on demand.
//!
//! Invariant: the patience counts from moments that are in the log (when the job could first start, when
//! spot was first refused), so that every head decides the same. Deliberately absent: prices (`offers`).
use super::Wait;
use super::offers::use_of;
use crate::Cluster;
use crate::event::OfferingKey;
use crate::job::Job;
use crate::node::OfferingHealth;
use alloc::boxed::Box;
use alloc::string::String;
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::{JobSpec, Timestamp};

/// Spot offerings that could hold a job and rest: the one that is tried again first.
pub(super) struct Refused {
    offering: OfferingKey,
    class: String,
    message: String,
    next_try: Timestamp,
    /// The earliest "no" of the series.
    since: Timestamp,
}

impl Refused {
    /// Takes in one more offering that may not be opened; only those that rest for a while count.
    pub(super) fn note(known: &mut Option<Self>, wait: &Wait, health: &OfferingHealth) {
        let Wait::Rested { offering, class, message, next_try } = wait else { return };
        let passes = matches!(class.as_str(), "no_capacity" | "quota" | "rate_limited" | "unknown");
        if !offering.spot || !passes {
            return;
        }
        let since = health.refused_since.unwrap_or(*next_try);
        let earlier = known.as_ref().map_or(since, |refused| refused.since.min(since));
        if known.as_ref().is_some_and(|refused| refused.next_try <= *next_try) {
            if let Some(refused) = known {
                refused.since = earlier;
            }
            return;
        }
        *known = Some(Self {
            offering: offering.clone(),
            class: class.clone(),
            message: message.clone(),
            next_try: *next_try,
            since: earlier,
        });
    }

    pub(super) fn wait(&self, on_demand_at: Option<Timestamp>) -> Box<Wait> {
        Box::new(Wait::Spot {
            offering: self.offering.clone(),
            class: self.class.clone(),
            message: self.message.clone(),
            next_try: self.next_try,
            on_demand_at,
        })
    }
}

impl Cluster {
    /// From when on a job that spot machines were refused to gets one on demand; `None`: never. Without a
    /// job, for the pool's minimum.
    pub(super) fn on_demand_from(
        &self,
        pool: &Pool,
        job: Option<(&Job, &JobSpec)>,
        refused: &Refused,
    ) -> Option<Timestamp> {
        if use_of(pool, job.map(|(_, spec)| spec)) == SpotUse::Only {
            return None;
        }
        let Some((job, spec)) = job else { return Some(refused.since + pool.spot_patience_ms) };
        let since = self.could_start_at(job).max(refused.since);
        let patient = since + pool.spot_patience_ms;
        // So late that boot and run still fit before the deadline.
        let latest = spec.deadline.map(|at| {
            let needs = pool.boot_limit_ms + spec.time_limit_ms.unwrap_or_default();
            Timestamp(at.0.saturating_sub(self.meta.clock_offset_ms)) - needs
        });
        Some(latest.map_or(patient, |latest| patient.min(latest.max(since))))
    }

    /// When nothing but room kept a job any more: submitted or put back, its time has come, and what it
    /// waited for has ended.
    fn could_start_at(&self, job: &Job) -> Timestamp {
        let offset = self.meta.clock_offset_ms;
        let begin = job.spec.begin.map(|at| Timestamp(at.0.saturating_sub(offset)));
        let put_back = job.past.last().map(|past| past.ended_at);
        let before = job.spec.dependencies.iter();
        let before = before.filter_map(|dependency| self.ended_at.get(&dependency.job));
        let moments = [begin, put_back].into_iter().flatten().chain(before.copied());
        moments.fold(job.submitted_at, Timestamp::max)
    }
}
