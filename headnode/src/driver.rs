//! The one loop: inputs in, one commit, mirror, replies, effects.
//!
//! Invariant: nobody hears of a batch before it is on disk; a batch that cannot be committed ends
//! the process, because memory is ahead of disk. Deliberately absent: policy ("if idle then …"),
//! and anything that waits for a network or a provider.
use crate::clock::Clock;
use crate::inbox::{Asked, From, Inbox};
use crate::limits;
use crate::mirror::Mirror;
use crate::outlet::{Log, Outlet};
use pcluster_core::event::Stamped;
use pcluster_core::input::{AgentSaid, Input};
use pcluster_core::reply::Reply;
use pcluster_core::{Cluster, Released};
use pcluster_model::config::Config;
use pcluster_model::{DurationMs, Timestamp};
use pcluster_store::StoreError;
use std::collections::VecDeque;
use tokio::sync::watch;

/// Why the loop came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop; nodes and jobs live on.
    Stopped,
    /// `down` is done: the provider's own list is empty.
    Closed,
}

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("a batch could not be written, so this head ends: {0}")]
    Commit(#[from] StoreError),
    #[error("the cluster contradicts itself, so this head ends: {}", .0.join("; "))]
    Violated(Vec<String>),
}

/// Everything the loop owns.
pub struct Driver<L, O> {
    cluster: Cluster,
    mirror: Mirror,
    log: L,
    outlet: O,
    clock: Clock,
    inbox: Inbox,
    changes: watch::Sender<u64>,
    /// Wall clock less steady time, as the cluster knows it.
    offset_ms: i64,
    /// When the loop means to look again at the latest.
    awake_by: Timestamp,
    closed_since: Option<Timestamp>,
    last_events: VecDeque<Stamped>,
}

/// What the loop is made of.
pub struct Parts<L, O> {
    pub cluster: Cluster,
    pub mirror: Mirror,
    pub log: L,
    pub outlet: O,
    pub clock: Clock,
    pub inbox: Inbox,
    pub changes: watch::Sender<u64>,
}

impl<L: Log, O: Outlet> Driver<L, O> {
    /// Puts the loop together; nothing happens before `start`.
    #[must_use]
    pub fn new(parts: Parts<L, O>) -> Self {
        let Parts { cluster, mirror, log, outlet, clock, inbox, changes } = parts;
        let (offset_ms, awake_by) = (clock.offset_ms(), clock.now());
        let last_events = VecDeque::with_capacity(limits::LAST_EVENTS);
        Self {
            cluster,
            mirror,
            log,
            outlet,
            clock,
            inbox,
            changes,
            offset_ms,
            awake_by,
            closed_since: None,
            last_events,
        }
    }

    /// The first batch: the cluster hears that a head has started, and every effect that is still
    /// owed goes out.
    ///
    /// # Errors
    /// As `run`.
    pub fn start(&mut self, version: &str, config: Config) -> Result<(), DriverError> {
        let now = self.clock.now();
        let started = Input::Started {
            version: version.to_owned(),
            config: Box::new(config),
            offset_ms: self.offset_ms,
        };
        self.turn(now, vec![Asked { input: started, from: From::Inside }])?;
        self.check()
    }

    fn check(&self) -> Result<(), DriverError> {
        let broken = self.cluster.check();
        if broken.is_empty() {
            return Ok(());
        }
        last_words(&self.last_events);
        Err(DriverError::Violated(broken))
    }

    /// Runs until it is told to stop or the cluster is closed.
    ///
    /// # Errors
    /// A batch that could not be committed, or a cluster that contradicts itself.
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<Ended, DriverError> {
        loop {
            let wait = self.wait(self.clock.now());
            let first = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return self.finish(),
                asked = self.inbox.next() => asked,
                () = self.clock.sleep(wait) => None,
            };
            let now = self.clock.now();
            let batch = self.gather(now, first);
            if !batch.is_empty() {
                self.turn(now, batch)?;
            }
            // From the moment the inbox was read: a batch that took long is a stall as well.
            self.awake_by = now + self.wait(self.clock.now());
            if self.is_over(now) {
                return Ok(Ended::Closed);
            }
        }
    }

    /// What is already in the inbox is still answered.
    fn finish(&mut self) -> Result<Ended, DriverError> {
        let now = self.clock.now();
        let batch = self.gather(now, None);
        if !batch.is_empty() {
            self.turn(now, batch)?;
        }
        Ok(Ended::Stopped)
    }

    fn wait(&self, now: Timestamp) -> DurationMs {
        let due = self.cluster.next_due(now).map_or(limits::LONGEST_SLEEP, |due| due.since(now));
        due.clamp(limits::SHORTEST_SLEEP, limits::LONGEST_SLEEP)
    }

    /// Closed, by the provider's own lists, for long enough that whoever waits for it has seen it.
    fn is_over(&mut self, now: Timestamp) -> bool {
        if !self.cluster.is_proven() || !self.cluster.is_closed() || !self.outlet.is_clean() {
            self.closed_since = None;
            return false;
        }
        now.since(*self.closed_since.get_or_insert(now)) >= limits::CLOSED_LINGER
    }

    /// The next batch: what the clocks say, then what has come in.
    fn gather(&mut self, now: Timestamp, first: Option<Asked>) -> Vec<Asked> {
        let mut batch = Vec::new();
        let inside = |input| Asked { input, from: From::Inside };
        let late = now.since(self.awake_by);
        if late > limits::STALL {
            tracing::warn!(ms = late.0, "the loop stood still");
            batch.push(inside(Input::Stalled { span: late }));
        }
        let offset_ms = self.clock.offset_ms();
        if offset_ms.abs_diff(self.offset_ms) > limits::CLOCK_STEP.0 {
            self.offset_ms = offset_ms;
            batch.push(inside(Input::ClockStepped { offset_ms }));
        }
        let mut next = first.or_else(|| self.inbox.try_next());
        while let Some(asked) = next {
            // A `Hello` makes its connection the newest of its node: what comes after it is
            // admitted or dropped by that, so it ends the batch.
            let hello =
                matches!(asked.input, Input::AgentSaid { said: AgentSaid::Hello { .. }, .. });
            if self.admits(&asked) {
                batch.push(asked);
            }
            if hello || batch.len() >= limits::BATCH {
                break;
            }
            next = self.inbox.try_next();
        }
        if batch.is_empty() && self.cluster.next_due(now).is_some_and(|due| due <= now) {
            batch.push(inside(Input::Tick));
        }
        batch
    }

    fn admits(&self, asked: &Asked) -> bool {
        match (&asked.from, &asked.input) {
            (From::Link { link, node }, Input::AgentSaid { node: speaker, said }) => {
                node == speaker && self.outlet.admits(*link, *node, said)
            }
            (From::Link { .. }, _) => false,
            (From::Inside | From::Client(_), _) => true,
        }
    }

    /// One batch, from inputs to effects.
    fn turn(&mut self, now: Timestamp, batch: Vec<Asked>) -> Result<(), DriverError> {
        let quiet = batch.iter().all(|asked| is_quiet(&asked.input));
        let (inputs, places): (Vec<Input>, Vec<From>) =
            batch.into_iter().map(|asked| (asked.input, asked.from)).unzip();
        let prepared = self.cluster.prepare(now, inputs.clone());
        let log = &mut self.log;
        let committed = match prepared.commit(|events, rows| log.commit(events, rows)) {
            Ok(committed) => committed,
            Err(error) => {
                last_words(&self.last_events);
                return Err(error.into());
            }
        };
        self.mirror.follow(now, &inputs, committed.events());
        self.mirror.hear(&self.cluster.volatile.report);
        let Released { events, replies, effects } = committed.release(&mut self.cluster, now);
        if !quiet || !events.is_empty() {
            self.changes.send_modify(|count| *count += 1);
        }
        // Counted and told first: who has an answer finds it in the metrics and in the log.
        self.outlet.committed(&events);
        for (place, reply) in places.into_iter().zip(replies) {
            self.deliver(place, reply);
        }
        self.outlet.take(effects);
        self.outlet.settled(&self.cluster);
        self.remember(events);
        // A full look costs as much as there are jobs: after every batch only where bugs are hunted.
        if cfg!(debug_assertions) { self.check() } else { Ok(()) }
    }

    fn deliver(&self, place: From, reply: Reply) {
        if let Reply::Signals { runs, signal, scope } = &reply {
            self.outlet.signal(runs, *signal, *scope);
        }
        match place {
            From::Inside => {}
            // A client that has gone away hears nothing; what it asked for is done.
            From::Client(sender) => drop(sender.send(reply)),
            From::Link { link, .. } => self.outlet.answer(link, reply),
        }
    }

    fn remember(&mut self, events: Vec<Stamped>) {
        for event in events {
            if self.last_events.len() == limits::LAST_EVENTS {
                self.last_events.pop_front();
            }
            self.last_events.push_back(event);
        }
    }
}

impl<L, O> Drop for Driver<L, O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            last_words(&self.last_events);
        }
    }
}

/// For whoever must find out what happened.
fn last_words(events: &VecDeque<Stamped>) {
    for event in events {
        tracing::error!(seq = event.seq, at = event.at.0, event = ?event.event, "before the end");
    }
}

/// True for inputs that readers of the mirror cannot see.
fn is_quiet(input: &Input) -> bool {
    matches!(input, Input::Tick | Input::AgentSaid { said: AgentSaid::Heartbeat, .. })
}

#[cfg(test)]
mod tests;
