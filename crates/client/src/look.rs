//! How the reader sees things: width of the page, the moment, and the reader's time zone.
//!
//! Invariant: renderers get all three as a value, so a page is a pure function of its view and its
//! look. Deliberately absent: the clock and the terminal, which are read here only, in [`Look::of`].
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use pcluster_model::DurationMs;

/// Wide enough for every page, and what is assumed without a terminal.
pub const DEFAULT_WIDTH: usize = 80;

/// Width, moment and zone of a page.
#[derive(Debug, Clone)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Milliseconds since the epoch: the head's clock where a view carries it.
    pub now_ms: i64,
    pub zone: TimeZone,
}

impl Look {
    /// That of this process, at the moment the head gave.
    #[must_use]
    pub fn of(now_ms: i64) -> Self {
        Self { width: terminal_width(), now_ms, zone: TimeZone::system() }
    }

    /// That of this process, now.
    #[must_use]
    pub fn here() -> Self {
        Self::of(Timestamp::now().as_millisecond())
    }

    fn zoned(&self, at_ms: i64) -> Zoned {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone())
    }

    fn said(&self, at_ms: i64, clock: &str) -> String {
        let (at, now) = (self.zoned(at_ms), self.zoned(self.now_ms));
        let format = if at.date() == now.date() {
            clock.to_owned()
        } else if at.year() == now.year() {
            format!("%-d %b {clock}")
        } else {
            format!("%-d %b %Y {clock}")
        };
        at.strftime(&format).to_string()
    }

    /// `14:21`, `24 Nov 14:21` on another day, with the year in another year.
    #[must_use]
    pub fn clock(&self, at_ms: i64) -> String {
        self.said(at_ms, "%H:%M")
    }

    /// As [`Self::clock`], with seconds.
    #[must_use]
    pub fn clock_seconds(&self, at_ms: i64) -> String {
        self.said(at_ms, "%H:%M:%S")
    }

    /// `1-23 Nov 2026 14:20 CET`: a span of days up to a moment.
    #[must_use]
    pub fn days(&self, from_ms: i64, to_ms: i64) -> String {
        let (from, to) = (self.zoned(from_ms), self.zoned(to_ms));
        let end = to.strftime("%-d %b %Y %H:%M %Z");
        if from.date() == to.date() {
            return end.to_string();
        }
        let format = if from.year() != to.year() {
            "%-d %b %Y - "
        } else if from.month() != to.month() {
            "%-d %b - "
        } else {
            "%-d-"
        };
        format!("{}{end}", from.strftime(format))
    }

    /// `November`: the month of `at_ms`.
    #[must_use]
    pub fn month(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%B").to_string()
    }
}

/// `COLUMNS` before the terminal, so that a script can choose; 80 where there is neither.
fn terminal_width() -> usize {
    let given = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    if let Some(columns) = given.filter(|columns| *columns >= 20) {
        return columns;
    }
    let seen = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    match seen.map(|size| usize::from(size.ws_col)) {
        Some(columns) if columns >= 20 => columns,
        _ => DEFAULT_WIDTH,
    }
}

/// A time limit in a table: `1 h`, `90 min`, `1 d`, `1:30:05` where no unit fits; `-` without one.
#[must_use]
pub fn limit_short(limit_ms: Option<u64>) -> String {
    let Some(ms) = limit_ms.filter(|ms| *ms > 0) else { return "-".to_owned() };
    let s = ms / 1000;
    if s > 0 && s.is_multiple_of(86_400) {
        format!("{} d", s / 86_400)
    } else if s > 0 && s.is_multiple_of(3600) {
        format!("{} h", s / 3600)
    } else if s > 0 && s.is_multiple_of(60) && s < 100 * 60 {
        format!("{} min", s / 60)
    } else if s < 100 {
        format!("{s} s")
    } else {
        DurationMs(ms).to_string()
    }
}

/// Time passed: `0:48`, `12:31`, `1:02:00`.
#[must_use]
pub fn elapsed(ms: u64) -> String {
    DurationMs(ms).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        // 23 Nov 2026, 14:20 in Berlin.
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        Look { width: 80, now_ms: 1_795_440_000_000, zone }
    }

    #[test]
    fn a_moment_says_its_day_only_where_it_is_another() {
        let look = look();
        assert_eq!(look.clock(look.now_ms + 60_000), "14:21");
        assert_eq!(look.clock(look.now_ms + 86_400_000), "24 Nov 14:20");
        assert_eq!(look.clock(look.now_ms + 60 * 86_400_000), "22 Jan 2027 14:20");
    }

    #[test]
    fn limits_are_said_in_the_unit_that_fits() {
        assert_eq!(limit_short(Some(86_400_000)), "1 d");
        assert_eq!(limit_short(Some(5_400_000)), "90 min");
        assert_eq!(limit_short(None), "-");
    }
}
