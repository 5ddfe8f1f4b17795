//! I1: what was acknowledged survives every crash: a submission is one job for ever, a cancel
//! is never followed by a start, a hold by a placement, unless somebody asks for it later.
use super::Check;
use crate::scenario::Ask;
use crate::users::Answer;
use crate::world::World;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::job::TaskEnd;
use pcluster_core::{Cluster, Job};
use pcluster_model::JobId;
use pcluster_model::job::JobKind;
use std::collections::{BTreeMap, BTreeSet};

/// I1.
#[derive(Debug, Default)]
pub struct Promises {
    /// Jobs whose cancellation (of the whole job) or hold was acknowledged.
    stopped: BTreeMap<JobId, &'static str>,
    keys: BTreeMap<String, JobId>,
    /// Jobs that were forgotten, when they might be.
    forgotten: BTreeSet<JobId>,
    /// Length of the log at the last promise.
    promised_log: usize,
}

impl Check for Promises {
    fn number(&self) -> u8 {
        1
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for (job, waiting) in &world.seen.forgotten {
            self.may_forget(world, job, *waiting)?;
        }
        for stamped in &world.seen.events {
            self.happened(stamped)?;
        }
        for number in &world.seen.acknowledged {
            self.acknowledged(world, *number)?;
        }
        match &world.head {
            Some(head) if world.seen.started => self.kept(world, &head.cluster),
            _ => Ok(()),
        }
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        match &world.head {
            Some(head) => self.kept(world, &head.cluster),
            None => Ok(()),
        }
    }
}

impl Promises {
    /// What is over for long enough, and nobody waits for, may be forgotten; its key is free again.
    fn may_forget(&mut self, world: &World, job: &Job, waiting: usize) -> Result<(), String> {
        let keep = world.log.config().map(|config| config.head.keep_jobs_ms).unwrap_or_default();
        let young = |end: &TaskEnd| end.at + keep > world.log.last_at();
        if !job.is_finished() || job.finished.values().any(young) || waiting > 0 {
            return Err(format!("job {} was forgotten too early; {waiting} wait for it", job.id));
        }
        self.forgotten.insert(job.id);
        self.stopped.remove(&job.id);
        self.keys.retain(|_, known| *known != job.id);
        Ok(())
    }

    fn happened(&mut self, stamped: &Stamped) -> Result<(), String> {
        match &stamped.event {
            Event::JobSubmitted { job, key: Some(key), .. } => {
                match self.keys.insert(key.clone(), *job) {
                    Some(other) => Err(format!("{key} is both job {other} and job {job}")),
                    None => Ok(()),
                }
            }
            Event::JobReleased { job, .. } | Event::RequeueWanted { job, .. } => {
                self.stopped.remove(job);
                Ok(())
            }
            Event::JobPlaced { job, .. } | Event::TasksPlaced { job, .. } => {
                match self.stopped.get(job) {
                    Some(what) => Err(format!("job {job} was placed after its {what}")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn acknowledged(&mut self, world: &World, number: usize) -> Result<(), String> {
        let client = &world.users.clients[number];
        if let (Some((first, _)), Some(later)) = (&client.promised, &client.contradicted) {
            return Err(format!("client {number} was told {first:?} and then {later:?}"));
        }
        self.promised_log = world.disk.written();
        let Some(head) = &world.head else { return Ok(()) };
        // The newest acknowledgement of a client is what its last request led to.
        let job = client.job.and_then(|job| head.cluster.jobs.get(&job));
        match (&client.ask, job) {
            (Ask::Cancel { task: None, .. }, Some(job)) if job.pending.is_empty() => {
                self.stopped.insert(job.id, "cancellation");
            }
            (Ask::Finish { .. }, Some(job))
                if job.spec.kind == JobKind::Allocation && job.pending.is_empty() =>
            {
                self.stopped.insert(job.id, "end");
            }
            (Ask::Hold { .. }, Some(job)) if job.held_by.is_some() => {
                self.stopped.insert(job.id, "hold");
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything promised is in the state of a head and in the log on disk.
    fn kept(&self, world: &World, cluster: &Cluster) -> Result<(), String> {
        let log = world.disk.written();
        if log < self.promised_log {
            return Err(format!("{} events were promised, {log} are on disk", self.promised_log));
        }
        let mut seen = BTreeSet::new();
        for client in &world.users.clients {
            let Some((Answer::Submitted(id), _)) = &client.promised else { continue };
            let Some(job) = cluster.jobs.get(id) else {
                if self.forgotten.contains(id) {
                    continue;
                }
                return Err(format!("job {id} was acknowledged and is not there"));
            };
            if job.key != client.key || !seen.insert(*id) {
                return Err(format!("job {id} is not the job that was acknowledged"));
            }
        }
        for (id, what) in &self.stopped {
            let job = cluster.jobs.get(id);
            let lost = job.is_none_or(|job| match *what {
                "hold" => job.held_by.is_none() && !job.is_finished(),
                _ => !job.pending.is_empty() && job.live.is_empty(),
            });
            if lost {
                return Err(format!("the {what} of job {id} was acknowledged and is not there"));
            }
        }
        Ok(())
    }
}
