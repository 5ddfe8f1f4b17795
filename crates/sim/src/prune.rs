//! The head forgets what is old, and cuts its log a slice at a time; it may die between any two.
//!
//! Invariant: what is drawn here comes from a stream of its own, so a world without pruning is what it
//! was before there was any.
use crate::faults::{Faults, Kind};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::store::Pruned;
use crate::world::{What, World};
use pcluster_core::event::{Event, Stamped};
use pcluster_model::DurationMs;

/// In a world in which a head may die while it prunes, configurations keep little.
pub fn keep_little(scenario: &mut Scenario, faults: &Faults, rng: &mut Rng) {
    if faults.parts(Kind::CrashInPruning) == 0 {
        return;
    }
    let keep = DurationMs::from_mins(rng.between(5, 45));
    for config in scenario.configs_mut() {
        config.head.keep_jobs_ms = keep;
    }
}

impl World {
    /// A head that has come up looks for what is old from time to time.
    pub fn head_will_prune(&mut self, life: u32) {
        if self.faults.parts(Kind::CrashInPruning) > 0 {
            let delay = self.pruning.between(1_000, 600_000);
            self.after(delay, What::HeadPrunes { life });
        }
    }

    /// One slice.
    pub fn head_prunes(&mut self, life: u32) {
        let (now, most) = (self.now, self.pruning.between(1, 60));
        let Some(head) = self.awake(life, || Some(What::HeadPrunes { life })) else { return };
        let keep = head.cluster.config().map(|config| config.head.keep_jobs_ms);
        let before = head.steady(now) - keep.unwrap_or_default();
        let most = usize::try_from(most).unwrap_or(1);
        let done = self.disk.prune(before, most, self.plant);
        self.seen.pruned = matches!(done, Pruned::Based(_));
        if done == Pruned::Nothing {
            return self.head_will_prune(life);
        }
        self.figures.slices += 1;
        self.trace.line(now, format_args!("pruning: {done:?}"));
        if self.healed.is_none() && self.pruning.chance(self.faults.parts(Kind::CrashInPruning)) {
            let word = Kind::ALL[Kind::CrashInPruning as usize].1;
            *self.figures.faults.entry(word).or_default() += 1;
            self.trace.line(now, format_args!("FAULT {word}"));
            return self.head_dies();
        }
        let delay = self.pruning.between(5, 3_000);
        self.after(delay, What::HeadPrunes { life });
    }

    /// The checkers keep the last rows of what is forgotten, and see what it was.
    pub fn remember_forgotten(&mut self, stamped: &Stamped) {
        let Event::JobsForgotten { jobs } = &stamped.event else { return };
        let rows = self.log.rows_of_jobs(jobs).into_iter();
        self.past.extend(rows.filter_map(|row| Some(((row.table, row.key), row.body?))));
        let jobs = jobs.iter().filter_map(|job| self.log.jobs.get(job));
        let jobs = jobs.map(|job| (job.clone(), self.log.dependants(job.id).count()));
        self.seen.forgotten.extend(jobs);
    }
}
