//! The clock of a run's time limit: running time, by instants that the caller hands in.
//!
//! Invariant: suspended time does not count, and a warning is given at most once per limit. Pure: it reads no clock.

use std::time::{Duration, Instant};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// The warning signal; said once.
    Warning,
    /// The limit is over; said every time.
    Limit,
}

/// The clock of one run.
#[derive(Debug, Clone)]
pub struct Clock {
    began: Instant,
    limit_ms: Option<u64>,
    warn_before_ms: Option<u64>,
    warned: bool,
    suspended_since: Option<Instant>,
    suspended: Duration,
}

impl Clock {
    /// A clock that starts at `began`; limit and warning in milliseconds.
    #[must_use]
    pub fn new(began: Instant, limit_ms: Option<u64>, warn_before_ms: Option<u64>) -> Self {
        Self {
            began,
            limit_ms,
            warn_before_ms,
            warned: false,
            suspended_since: None,
            suspended: Duration::ZERO,
        }
    }

    /// Time since the start, suspended or not.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Stands still from `now` on.
    pub fn suspend(&mut self, now: Instant) {
        self.suspended_since.get_or_insert(now);
    }

    /// Runs on from `now` on.
    pub fn resume(&mut self, now: Instant) {
        if let Some(since) = self.suspended_since.take() {
            self.suspended += now.saturating_duration_since(since);
        }
    }

    /// Another limit, counted from the start. A warning that lies in the future again is given again.
    pub fn set_limit(&mut self, now: Instant, limit_ms: Option<u64>) {
        self.limit_ms = limit_ms;
        self.warned = self.warned && self.warn_at().is_some_and(|at| at <= now);
    }

    /// The next instant at which something may be due; `None` if nothing will be.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let warn = self.warn_at().filter(|_| !self.warned);
        warn.into_iter().chain(self.limit_at()).min()
    }

    /// What is due.
    pub fn due(&mut self, now: Instant) -> Due {
        if self.limit_at().is_some_and(|at| at <= now) {
            return Due::Limit;
        }
        if !self.warned && self.warn_at().is_some_and(|at| at <= now) {
            self.warned = true;
            return Due::Warning;
        }
        Due::Nothing
    }

    fn limit_at(&self) -> Option<Instant> {
        self.running_for(self.limit_ms?)
    }

    fn warn_at(&self) -> Option<Instant> {
        self.running_for(self.limit_ms?.saturating_sub(self.warn_before_ms?))
    }

    /// When `ms` of running time will have passed; `None` while suspended, and beyond what instants can hold.
    fn running_for(&self, ms: u64) -> Option<Instant> {
        match self.suspended_since {
            Some(_) => None,
            None => self.began.checked_add(self.suspended)?.checked_add(Duration::from_millis(ms)),
        }
    }
}
