//! The month's money: what is spent, what is reserved, and what a launch or placement may add.
//!
//! I14: spent + reserved never passes the cap at a launch or placement. What can pass it is only
//! a node that the provider fails to stop, or one that went silent, until its grace is over; both
//! are shown as overrun.
use crate::Cluster;
use crate::event::Event;
use crate::job::{Job, Run};
use crate::ledger::{day_of, month_of};
use crate::limits::{NEVER, STOP_ALLOWANCE};
use crate::node::{Node, NodeState};
use crate::plan::Wait;
use crate::reply::{Rejection, RejectionKind};
use alloc::format;
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::{DurationMs, IndexRanges, MicroUsd, Price, Timestamp};

/// The month's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    pub cap: MicroUsd,
    /// Closed spans, by the month in which the second falls, and what stood up to now.
    pub spent: MicroUsd,
    /// What living nodes have cost and may still cost, and what stands will cost until the month's end.
    pub reserved: MicroUsd,
}

impl Account {
    #[must_use]
    pub fn left(&self) -> MicroUsd {
        self.cap.saturating_sub(self.spent + self.reserved)
    }
}

impl Cluster {
    /// The account of this month; `None` without a budget.
    #[must_use]
    pub fn account(&self, now: Timestamp) -> Option<Account> {
        let cap = self.config()?.budget.month?;
        let (stood, will_stand) = self.standing_this_month(now);
        let spent = self.spent_this_month(now) + stood;
        Some(Account { cap, spent, reserved: self.living_cost(now) + will_stand })
    }

    /// Why a job waits that needs this much more than the month has left.
    pub(crate) fn budget_wait(&self, now: Timestamp, needs: MicroUsd) -> Wait {
        let Account { cap, spent, reserved } = self.account(now).unwrap_or_default();
        Wait::Budget { cap, spent, reserved, needs }
    }

    /// Living nodes may still cost more than the month has left: a configuration changed under them,
    /// or the provider did not stop one.
    #[must_use]
    pub(crate) fn is_overdrawn(&self, now: Timestamp) -> bool {
        self.account(now).is_some_and(|account| account.spent + account.reserved > account.cap)
    }

    /// Closed spans' charges of the calendar month that `now` is in, in the head's zone.
    #[must_use]
    pub fn spent_this_month(&self, now: Timestamp) -> MicroUsd {
        let (first, next) = month_of(day_of(self.wall(now), self.zone_offset_ms()));
        self.ledger
            .spans
            .values()
            .flat_map(|span| &span.charges)
            .filter(|charge| (first..next).contains(&charge.0))
            .map(|charge| charge.2)
            .sum()
    }

    fn living_cost(&self, now: Timestamp) -> MicroUsd {
        self.nodes
            .values()
            .filter(|node| node.state.is_alive())
            .map(|node| self.most_cost(node, self.may_live_until(node, now)))
            .sum()
    }

    /// What a node costs in all when it lives until then.
    fn most_cost(&self, node: &Node, until: Timestamp) -> MicroUsd {
        let from = node.launched_at.unwrap_or(node.wanted_at).min(node.wanted_at);
        let minimum = node.minimum_billing_ms;
        node.most_price().unwrap_or_default().for_span(until.since(from).max(minimum))
    }

    /// The latest moment up to which a node may bill if all goes as the limits say.
    #[must_use]
    pub fn may_live_until(&self, node: &Node, now: Timestamp) -> Timestamp {
        let Some(pool) = self.pool(&node.offering.pool) else { return now + STOP_ALLOWANCE };
        let idle = pool.idle_timeout_ms + STOP_ALLOWANCE;
        let last =
            node.runs.iter().filter_map(|run| self.runs.get(run)).map(|run| self.ends_by(run));
        let until = match (&node.state, last.max()) {
            (NodeState::Wanted | NodeState::Booting, _) => {
                node.wanted_at + pool.boot_limit_ms + idle
            }
            (NodeState::Stopping { since, .. }, _) => *since + STOP_ALLOWANCE,
            (_, Some(last)) => last + idle,
            (_, None) => node.idle_since.unwrap_or(now) + idle,
        };
        until.max(now + STOP_ALLOWANCE)
    }

    fn ends_by(&self, run: &Run) -> Timestamp {
        let grace = self.config().map(|config| config.term_grace_ms).unwrap_or_default();
        match run.time_limit_ms {
            Some(limit) => run.placed_at + limit + grace,
            None => NEVER,
        }
    }

    /// What a new node for a job of this limit may cost, from the launch to its end.
    #[must_use]
    pub(crate) fn launch_cost(
        &self,
        pool: &Pool,
        price: Option<Price>,
        limit: Option<DurationMs>,
    ) -> MicroUsd {
        let grace = self.config().map(|config| config.term_grace_ms).unwrap_or_default();
        let span = pool.boot_limit_ms
            + limit.unwrap_or_default()
            + grace
            + pool.idle_timeout_ms
            + STOP_ALLOWANCE;
        price.unwrap_or_default().for_span(span.max(pool.minimum_billing_ms))
    }

    /// Until when money is reserved on a node that gets a run of this limit now.
    pub(crate) fn reserved_until(
        &self,
        pool: &Pool,
        limit: Option<DurationMs>,
        now: Timestamp,
    ) -> Timestamp {
        let grace = self.config().map(|config| config.term_grace_ms).unwrap_or_default();
        now + limit.unwrap_or_default() + grace + pool.idle_timeout_ms + STOP_ALLOWANCE
    }

    /// What a run of this limit on this node may add to the bill.
    pub(crate) fn placement_cost(&self, node: &Node, until: Timestamp, now: Timestamp) -> MicroUsd {
        let before = self.may_live_until(node, now);
        self.most_cost(node, before.max(until)) - self.most_cost(node, before)
    }

    /// True when an idle node of the pool's minimum can be kept for another idle time.
    pub(crate) fn can_keep(&self, node: &Node, now: Timestamp) -> bool {
        self.account(now).is_none_or(|account| {
            let pool = self.pool(&node.offering.pool);
            let span = pool.map(|pool| pool.idle_timeout_ms).unwrap_or_default() + STOP_ALLOWANCE;
            account.left() > node.price.unwrap_or_default().for_span(span)
        })
    }

    /// Money for the longer limit of what runs; refused when the budget does not hold it.
    pub(crate) fn reserve_for_longer(
        &self,
        job: &Job,
        tasks: Option<&IndexRanges>,
        limit: Option<DurationMs>,
    ) -> Result<Vec<Event>, Rejection> {
        let now = self.last_at;
        let Some(account) = self.account(now) else { return Ok(Vec::new()) };
        let Some(pool) = self.pool(&job.pool) else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let mut needs = MicroUsd::ZERO;
        for run in job.live_among(tasks).iter().filter_map(|(_, run)| self.runs.get(run)) {
            let until = self.reserved_until(pool, limit, run.placed_at);
            for node in run.parts.iter().filter_map(|part| self.nodes.get(&part.part.node)) {
                let amount = self.placement_cost(node, until, now);
                needs += amount;
                events.push(Event::MoneyReserved { node: node.id, until, amount });
            }
        }
        if needs > account.left() {
            return Err(Rejection::new(RejectionKind::Refused, "the budget does not hold that")
                .fact("needs", format!("{needs} more"))
                .fact("left", format!("{} of {}", account.left(), account.cap)));
        }
        Ok(events)
    }
}
