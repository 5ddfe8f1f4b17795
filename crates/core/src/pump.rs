//! Persist before act, as types: `Prepared` events become `Committed` only through a commit, and
//! only what is committed can be released. The simulator crashes the head between these steps.
use crate::Cluster;
use crate::effect::Effect;
use crate::event::{Event, Stamped};
use crate::input::Input;
use crate::reply::Reply;
use crate::rows::RowChange;
use alloc::vec::Vec;
use pcluster_model::Timestamp;

/// A batch that has been decided and applied in memory and is not yet on disk.
#[derive(Debug)]
#[must_use = "an uncommitted batch must be committed, or the process must end"]
pub struct Prepared {
    events: Vec<Stamped>,
    rows: Vec<RowChange>,
    replies: Vec<Reply>,
}

/// A batch that is on disk: only now may anybody hear of it.
#[derive(Debug)]
#[must_use = "replies wait for their release"]
pub struct Committed {
    events: Vec<Stamped>,
    replies: Vec<Reply>,
}

/// What leaves the core after a commit.
#[derive(Debug, Default)]
pub struct Released {
    /// For the log and the metrics.
    pub events: Vec<Stamped>,
    /// One for each input, in order.
    pub replies: Vec<Reply>,
    pub effects: Vec<Effect>,
}

impl Prepared {
    /// Events to be written; empty when nothing happened (then a commit costs nothing).
    #[must_use]
    pub fn events(&self) -> &[Stamped] {
        &self.events
    }

    /// Rows that changed, complete, one for each.
    #[must_use]
    pub fn rows(&self) -> &[RowChange] {
        &self.rows
    }

    /// Writes the batch by `write`, which must return only when it is durable.
    ///
    /// # Errors
    /// Those of `write`. Memory is then ahead of disk: the process must end.
    pub fn commit<E>(
        self,
        write: impl FnOnce(&[Stamped], &[RowChange]) -> Result<(), E>,
    ) -> Result<Committed, E> {
        if !self.events.is_empty() {
            write(&self.events, &self.rows)?;
        }
        Ok(Committed { events: self.events, replies: self.replies })
    }
}

impl Committed {
    /// Events of the batch, for a mirror to apply before replies leave.
    #[must_use]
    pub fn events(&self) -> &[Stamped] {
        &self.events
    }

    /// Hands out replies and the effects that are due.
    #[must_use]
    pub fn release(self, cluster: &mut Cluster, now: Timestamp) -> Released {
        Released { events: self.events, replies: self.replies, effects: cluster.due_effects(now) }
    }
}

impl Cluster {
    /// Decides and applies a batch of inputs, then plans once.
    pub fn prepare(&mut self, now: Timestamp, inputs: Vec<Input>) -> Prepared {
        let first = self.log_length();
        let mut events = Vec::new();
        let mut replies = Vec::with_capacity(inputs.len());
        for input in inputs {
            self.note(now, &input);
            let decision = self.decide(now, input);
            self.apply_all(now, decision.events, &mut events);
            replies.push(decision.reply);
        }
        let timed = self.timers(now);
        self.apply_all(now, timed, &mut events);
        let forgotten = self.forgetting(now);
        self.apply_all(now, forgotten, &mut events);
        let placed = self.place(now);
        self.apply_all(now, placed.events, &mut events);
        let scaled = self.scale(now, placed.report);
        self.apply_all(now, scaled.events, &mut events);
        self.volatile.report = scaled.report;
        let idle = self.idle_stops(now);
        self.apply_all(now, idle, &mut events);
        debug_assert_eq!(first + events.len() as u64, self.log_length());
        Prepared { events, rows: self.take_row_changes(), replies }
    }

    fn apply_all(&mut self, now: Timestamp, decided: Vec<Event>, log: &mut Vec<Stamped>) {
        for event in decided {
            if self.joins_last(now, &event, log) {
                continue;
            }
            let stamped = Stamped { seq: self.log_length() + 1, at: now, event };
            self.apply(&stamped);
            log.push(stamped);
        }
    }

    /// Tasks of one array that end one after another in a batch share one event.
    fn joins_last(&mut self, now: Timestamp, event: &Event, log: &mut [Stamped]) -> bool {
        let Event::TasksEnded { job, ended } = event else { return false };
        let Some(Stamped { event: Event::TasksEnded { job: last, ended: rows }, .. }) =
            log.last_mut()
        else {
            return false;
        };
        if last != job {
            return false;
        }
        rows.extend(ended.iter().cloned());
        self.apply_event(now, event);
        true
    }
}
