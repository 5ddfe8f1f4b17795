//! Time. The cluster lives by steady time, which never goes back and counts sleep of the machine;
//! the wall clock is for people and only enters as a difference.
//!
//! Invariant: steady time starts at the later of the wall clock and the last committed event, and
//! advances with `CLOCK_BOOTTIME`. Deliberately absent: reading a clock anywhere else in the head.
use pcluster_model::{DurationMs, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Where time comes from; tests have one of their own.
pub trait TimeSource: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Milliseconds since the machine's boot, sleep included.
    fn since_boot(&self) -> u64;
    /// Returns after about `span`.
    fn sleep(&self, span: DurationMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTime;

impl TimeSource for SystemTime {
    fn wall(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
    }

    fn since_boot(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or(0)
    }

    fn sleep(&self, span: DurationMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(span.0)))
    }
}

/// Steady time of one process of the head.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn TimeSource>,
    start: Timestamp,
    boot_at_start: u64,
}

impl Clock {
    /// Starts at the later of the wall clock and `last_at`, the time of the last committed event.
    #[must_use]
    pub fn start(source: Arc<dyn TimeSource>, last_at: Timestamp) -> Self {
        let (start, boot_at_start) = (source.wall().max(last_at), source.since_boot());
        Self { source, start, boot_at_start }
    }

    /// Steady time: what events, deadlines and answers carry.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.start + DurationMs(self.source.since_boot().saturating_sub(self.boot_at_start))
    }

    /// How far the wall clock is ahead of steady time, in milliseconds.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.source.wall().0 - self.now().0
    }

    /// Returns after about `span`.
    pub async fn sleep(&self, span: DurationMs) {
        self.source.sleep(span).await;
    }
}
