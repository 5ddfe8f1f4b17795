//! I4: a task has one end, set once, and it is the one that its keeper wrote down: nobody's report
//! makes a failure of a success or the other way round.
use super::Check;
use crate::world::World;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::job::{Outcome, TaskEnd};
use pcluster_model::JobId;
use pcluster_model::job::JobKind;
use pcluster_wire::Exit;
use std::collections::{BTreeMap, BTreeSet};

/// I4.
#[derive(Debug, Default)]
pub struct Outcomes {
    ends: BTreeMap<(JobId, u32), Outcome>,
}

/// The job whose tasks an event may end or take up again, and whether it may take them up.
fn touched(stamped: &Stamped) -> Option<(JobId, bool)> {
    match &stamped.event {
        Event::RequeueWanted { job, .. } => Some((*job, true)),
        Event::RunEnded { job, .. }
        | Event::TasksEnded { job, .. }
        | Event::CancelWanted { job, .. }
        | Event::EndWanted { job, .. } => Some((*job, false)),
        _ => None,
    }
}

impl Check for Outcomes {
    fn number(&self) -> u8 {
        4
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let mut jobs = BTreeSet::new();
        for (job, again) in world.seen.events.iter().filter_map(touched) {
            if again {
                // Its owner wants it to run once more.
                self.ends.retain(|(other, _), _| *other != job);
            }
            jobs.insert(job);
        }
        for job in jobs.iter().filter_map(|job| world.log.jobs.get(job)) {
            for ((_, task), before) in self.ends.range((job.id, 0)..=(job.id, u32::MAX)) {
                let now = job.finished.get(task).map(|end| &end.outcome);
                if now != Some(before) {
                    return Err(format!("task {}_{task} was {before:?}, is {now:?}", job.id));
                }
            }
            for (task, end) in &job.finished {
                if self.ends.insert((job.id, *task), end.outcome.clone()).is_none() {
                    true_end(world, end, job.spec.kind)
                        .map_err(|words| format!("{}_{task}: {words}", job.id))?;
                }
            }
        }
        Ok(())
    }
}

/// What the log says of the last run is what the keeper of its first node wrote down.
fn true_end(world: &World, end: &TaskEnd, kind: JobKind) -> Result<(), String> {
    let Some(last) = &end.last else { return Ok(()) };
    let Some(told) = &last.exit else { return Ok(()) };
    let truths = world.procs.exits.iter().filter(|((run, _), _)| *run == last.run);
    let mut truths = truths.map(|(_, exit)| exit).peekable();
    if truths.peek().is_none() {
        return Ok(());
    }
    if !truths.any(|truth| truth == told) {
        return Err(format!("run {} is said to have ended with {told:?}; it did not", last.run));
    }
    let fits = match (&end.outcome, told) {
        (Outcome::Completed, exit) => *exit == Exit::Code(0),
        (Outcome::Failed { code }, exit) => *exit == Exit::Code(*code),
        (Outcome::Signaled { signal }, exit) => *exit == Exit::Signal(*signal),
        // Where the first node was ended because the time of another was over, that one says it.
        (Outcome::TimedOut, Exit::Ended { .. }) => {
            let exits = || world.procs.exits.iter().filter(|((run, _), _)| *run == last.run);
            let is = |wanted: Exit| exits().any(|(_, exit)| *exit == wanted);
            is(Exit::TimedOut) && !is(Exit::KeeperLost)
        }
        (Outcome::TimedOut, exit) => *exit == Exit::TimedOut,
        (Outcome::OutOfMemory, exit) => *exit == Exit::OutOfMemory,
        _ => true,
    };
    // How an allocation ends is said by who gives it back.
    let fits = fits || kind == JobKind::Allocation;
    if fits { Ok(()) } else { Err(format!("{:?} of a run that ended with {told:?}", end.outcome)) }
}
