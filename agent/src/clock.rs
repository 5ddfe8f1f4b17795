//! The node's clocks, and lines with the time of day.
//!
//! The steady clock starts at the wall clock and then only follows the boot clock: no step of the
//! wall clock makes a node give up its head, and a sleeping machine's time counts.
use pcluster_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn boot_ms() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The steady clock.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    ahead: i64,
}

impl Steady {
    pub fn new() -> Self {
        Self { ahead: wall().0 - boot_ms() }
    }

    pub fn now(self) -> Timestamp {
        Timestamp(boot_ms() + self.ahead)
    }
}

/// `12:00:01`, UTC.
pub fn time_of_day() -> String {
    let seconds = wall().0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A line on the console. Nobody may be listening: that is no reason to stop.
pub fn say(line: &str) {
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    drop(writeln!(std::io::stderr(), "{} {clean}", time_of_day()));
}

/// Local time less UTC now, in seconds.
pub fn utc_offset_s() -> i64 {
    let now = jiff::Timestamp::now();
    i64::from(jiff::tz::TimeZone::system().to_offset(now).seconds())
}
