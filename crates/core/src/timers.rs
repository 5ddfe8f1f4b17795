//! Deadlines: what happens to a node because time passes. Timeouts run on lack of progress, and a
//! node in use is stopped by no timer but its grace after silence.
use crate::Cluster;
use crate::event::{Event, StopCause};
use crate::limits::{REST_MOST, STOP_ALLOWANCE, SUSPECT_MOST, SUSPECT_NODES, SUSPECT_SPAN};
use crate::node::{Node, NodeState};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Pool, ProviderKind};
use pcluster_model::units::format_duration;
use pcluster_model::{DurationMs, NodeId, Timestamp};

/// `base` doubled `times`, at most `REST_MOST`.
#[must_use]
pub(crate) fn doubled(base: DurationMs, times: u32) -> DurationMs {
    DurationMs(base.0.saturating_mul(1 << times.min(20))).min(REST_MOST)
}

/// The next thing that time does to a node.
struct Deadline {
    at: Timestamp,
    events: Vec<Event>,
    /// A node stops for want of work.
    idle: bool,
}

impl Cluster {
    /// What time has brought about by `now`, but for stops of idle nodes.
    pub(crate) fn timers(&self, now: Timestamp) -> Vec<Event> {
        let mut events = self.due(now, false);
        events.extend(self.job_timers(now));
        events
    }

    /// Idle nodes whose time is over. Asked after the placement: with `idle_timeout = "0"` a node
    /// would otherwise stop in the batch in which it became ready, before the job that it was
    /// launched for could be placed on it.
    pub(crate) fn idle_stops(&self, now: Timestamp) -> Vec<Event> {
        self.due(now, true)
    }

    fn due(&self, now: Timestamp, idle: bool) -> Vec<Event> {
        self.nodes
            .values()
            .filter_map(|node| self.deadline(node, now))
            .filter(|deadline| deadline.at <= now && deadline.idle == idle)
            .flat_map(|deadline| deadline.events)
            .collect()
    }

    /// When a `Tick` is due at the latest; `None`: nothing waits for time.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let nodes = self.nodes.values().filter_map(|node| self.deadline(node, now)).map(|d| d.at);
        let retries = self.volatile.retry_at.values().copied().filter(|at| *at > now);
        let offset = self.meta.clock_offset_ms;
        let begins = self
            .queued_jobs()
            .filter_map(|job| job.spec.begin)
            .map(|at| Timestamp(at.0.saturating_sub(offset)))
            .filter(|at| *at > now);
        let rests = self
            .meta
            .offerings
            .iter()
            .flat_map(|(_, health)| {
                let boots = health.boots.values().map(|boots| boots.rest_until);
                boots.chain([health.rest_until]).flatten()
            })
            .filter(|at| *at > now);
        let jobs = self.next_job_due(now).into_iter().chain(self.next_forgetting());
        let fallback = self.volatile.report.on_demand_at.filter(|at| *at > now);
        nodes.chain(retries).chain(begins).chain(rests).chain(jobs).chain(fallback).min()
    }

    /// When a stopping node is due to go: used by views.
    #[must_use]
    pub fn idle_stop_at(&self, node: &Node) -> Option<Timestamp> {
        let pool = self.pool(&node.offering.pool)?;
        let idle = node.idle_since.filter(|_| node.is_ready() && node.runs.is_empty())?;
        (!self.is_kept(node, pool, self.last_at)).then(|| idle + pool.idle_timeout_ms)
    }

    /// How long after a call a provider's list may still be wrong. EC2 documents eventual consistency
    /// without a bound; a minute is what its own tools wait. Processes are read from the machine.
    pub(crate) fn consistency_window(&self, provider: &ProviderKind) -> DurationMs {
        match provider {
            // Read from this machine itself.
            ProviderKind::Process | ProviderKind::Vm => DurationMs::ZERO,
            ProviderKind::Ssh => DurationMs::from_secs(10),
            ProviderKind::Ec2 => DurationMs::from_secs(60),
            ProviderKind::External(name) => {
                let external = self.config().and_then(|config| config.external(name));
                external.map_or(DurationMs::from_secs(60), |external| external.consistency_ms)
            }
        }
    }

    /// How soon a provider's list is to be read again, in milliseconds: often while something is
    /// about to change, else by the sweep.
    #[must_use]
    pub fn list_every_ms(&self, provider: &ProviderKind) -> u64 {
        let changing = self.nodes.values().any(|node| {
            matches!(
                node.state,
                NodeState::Wanted | NodeState::Stopping { .. } | NodeState::Lost { .. }
            ) || node.is_reclaimed() && node.state.is_alive()
        });
        let sweep = self.config().map_or(60_000, |config| config.head.sweep_ms.0);
        let closing = self.meta.closing.is_some();
        match provider {
            ProviderKind::Process | ProviderKind::Vm if changing || closing => 200,
            ProviderKind::Process | ProviderKind::Vm => sweep.min(2_000),
            ProviderKind::Ssh | ProviderKind::Ec2 | ProviderKind::External(_) => {
                if changing || closing { sweep.min(5_000) } else { sweep }
            }
        }
    }

    /// The next thing that time does to this node.
    fn deadline(&self, node: &Node, now: Timestamp) -> Option<Deadline> {
        let pool = self.pool(&node.offering.pool);
        if let Some(closing) = self.closing_deadline(node, now) {
            return Some(closing);
        }
        match (&node.state, pool) {
            (NodeState::Ready, _) if self.runs_unknown(node) => Some(Deadline {
                at: now,
                events: vec![Event::NodeDraining { node: node.id, cause: StopCause::RunsUnknown }],
                idle: false,
            }),
            (NodeState::Wanted | NodeState::Booting | NodeState::Ready, None) => {
                // Its pool has left the configuration.
                Some(self.leave_at(node, now, StopCause::Unneeded))
            }
            (NodeState::Wanted | NodeState::Booting, Some(pool)) => {
                Some(self.boot_deadline(node, pool))
            }
            (NodeState::Ready, Some(pool)) => {
                earliest(self.silence_deadline(node), self.idle_deadline(node, pool, now))
            }
            (NodeState::Draining { cause }, _) if !self.is_busy(node) => Some(Deadline {
                at: now,
                events: vec![Event::NodeStopping { node: node.id, cause: cause.clone() }],
                idle: false,
            }),
            (NodeState::Draining { .. }, _) => {
                let preempted = self.preemption(node);
                let preempted =
                    preempted.map(|(at, events)| Deadline { at: at.max(now), events, idle: false });
                earliest(preempted, self.silence_deadline(node))
            }
            (NodeState::Lost { since, .. }, _) => self.lost_deadline(node, *since, pool),
            (
                NodeState::Stopping { .. } | NodeState::Refused { .. } | NodeState::Gone { .. },
                _,
            ) => None,
        }
    }

    fn leave_at(&self, node: &Node, at: Timestamp, cause: StopCause) -> Deadline {
        let (id, stop) = (node.id, cause.clone());
        let events = match node.state {
            NodeState::Ready if node.runs.is_empty() => vec![
                Event::NodeDraining { node: id, cause },
                Event::NodeStopping { node: id, cause: stop },
            ],
            NodeState::Ready => vec![Event::NodeDraining { node: id, cause }],
            NodeState::Wanted
            | NodeState::Booting
            | NodeState::Draining { .. }
            | NodeState::Lost { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => vec![Event::NodeStopping { node: id, cause }],
        };
        Deadline { at, events, idle: false }
    }

    fn closing_deadline(&self, node: &Node, now: Timestamp) -> Option<Deadline> {
        self.meta.closing.as_ref()?;
        match &node.state {
            NodeState::Wanted | NodeState::Booting | NodeState::Ready => {
                Some(self.leave_at(node, now, StopCause::Down))
            }
            NodeState::Lost { .. } if node.runs.is_empty() => {
                Some(self.leave_at(node, now, StopCause::Down))
            }
            NodeState::Draining { .. }
            | NodeState::Lost { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => None,
        }
    }

    fn boot_deadline(&self, node: &Node, pool: &Pool) -> Deadline {
        let settle = self.volatile.settle_until;
        let progress = self
            .volatile
            .links
            .get(&node.id)
            .map(|link| link.phase_since)
            .max(node.seen_at)
            .unwrap_or(node.wanted_at);
        let stuck_at = match node.state {
            // The call itself is retried; only the whole time counts.
            NodeState::Wanted => node.wanted_at + pool.boot_limit_ms,
            _ => progress + pool.boot_timeout_ms,
        };
        let late_at = node.wanted_at + pool.boot_limit_ms;
        let (at, why) = if stuck_at < late_at {
            (stuck_at, format!("no progress for {}", format_duration(pool.boot_timeout_ms)))
        } else {
            (late_at, format!("not ready after {}", format_duration(pool.boot_limit_ms)))
        };
        let cause = StopCause::BootFailed { phase: self.boot_phase(node.id), why };
        Deadline {
            at: at.max(settle),
            events: vec![Event::NodeStopping { node: node.id, cause }],
            idle: false,
        }
    }

    fn idle_deadline(&self, node: &Node, pool: &Pool, now: Timestamp) -> Option<Deadline> {
        let idle = node.idle_since.filter(|_| node.runs.is_empty())?;
        let claimed = self.volatile.report.claims.contains_key(&pool.name);
        if claimed {
            return Some(Deadline { idle: true, ..self.leave_at(node, now, StopCause::Unneeded) });
        }
        let gang = self.volatile.report.gangs.contains(&node.id) && self.can_keep(node, now);
        if gang || self.is_kept(node, pool, now) {
            return None;
        }
        let mut at = idle + pool.idle_timeout_ms;
        let paid_until = (node.reserved_until - STOP_ALLOWANCE).max(idle);
        if at > paid_until && self.is_overdrawn(now) {
            // The idle time was raised after the money for it was reserved.
            at = paid_until;
        }
        let at = at.max(self.volatile.settle_until);
        Some(Deadline { idle: true, ..self.leave_at(node, at, StopCause::Idle) })
    }

    /// One of the pool's minimum, which money allows to keep: the newest go first.
    fn is_kept(&self, node: &Node, pool: &Pool, now: Timestamp) -> bool {
        if pool.min == 0 || !self.can_keep(node, now) {
            return false;
        }
        let older = self
            .living_nodes(&pool.name)
            .filter(|other| !matches!(other.state, NodeState::Stopping { .. }))
            .filter(|other| other.id < node.id)
            .count();
        older < pool.min as usize
    }

    /// When a connected or once-connected node counts as silent.
    fn silence_deadline(&self, node: &Node) -> Option<Deadline> {
        let silent_after = self.config()?.head.silent_after_ms;
        let word = self.volatile.links.get(&node.id).map(|link| link.last_word);
        let heard = word.unwrap_or(self.volatile.settle_until).max(self.volatile.settle_until);
        let heard = heard.max(node.ready_at.or(node.seen_at).unwrap_or_default());
        Some(Deadline {
            at: heard + silent_after,
            events: vec![Event::NodeLost { node: node.id }],
            idle: false,
        })
    }

    fn lost_deadline(
        &self,
        node: &Node,
        since: Timestamp,
        pool: Option<&Pool>,
    ) -> Option<Deadline> {
        let grace = match pool {
            Some(pool) if !self.is_busy(node) => pool.lost_grace_idle_ms?,
            Some(pool) => pool.lost_grace_busy_ms?,
            None => DurationMs::from_mins(10),
        };
        // The trouble may be here; but what is not heard for that long is not paid for ever.
        let grace = if self.suspects_itself(since) { grace.max(SUSPECT_MOST) } else { grace };
        let at = (since + grace).max(self.volatile.settle_until);
        let cause = StopCause::Lost;
        let events = vec![Event::NodeStopping { node: node.id, cause }];
        Some(Deadline { at, events, idle: false })
    }

    /// More than half of at least three nodes fell silent together: the trouble is likely here, and
    /// no node is ended for it before `SUSPECT_MOST`.
    #[must_use]
    pub fn suspects_itself(&self, since: Timestamp) -> bool {
        let mut known = 0;
        let mut together: Vec<NodeId> = Vec::new();
        for node in self.nodes.values() {
            match &node.state {
                NodeState::Ready | NodeState::Draining { .. } => known += 1,
                NodeState::Lost { since: other, .. } => {
                    known += 1;
                    let apart = other.since(since).max(since.since(*other));
                    if apart <= SUSPECT_SPAN {
                        together.push(node.id);
                    }
                }
                NodeState::Wanted
                | NodeState::Booting
                | NodeState::Stopping { .. }
                | NodeState::Refused { .. }
                | NodeState::Gone { .. } => {}
            }
        }
        known >= SUSPECT_NODES && together.len() * 2 > known
    }
}

fn earliest(a: Option<Deadline>, b: Option<Deadline>) -> Option<Deadline> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (a, b) => a.or(b),
    }
}
