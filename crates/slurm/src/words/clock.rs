//! Moments and spans as Slurm writes them, and moments as its commands read them.
//!
//! Invariant: a moment is shown in the zone and the form of the reader (`SLURM_TIME_FORMAT`); text
//! that is no moment is refused, never guessed. Deliberately absent: the clock itself, which is read
//! in [`Clock::here`] only.
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// `YYYY-MM-DDTHH:MM:SS`.
const STANDARD: &str = "%Y-%m-%dT%H:%M:%S";

/// The moment, zone and form in which a command tells times.
#[derive(Debug, Clone)]
pub struct Clock {
    pub now_ms: i64,
    pub zone: TimeZone,
    /// As for `strftime`.
    pub format: String,
}

impl Clock {
    /// That of this process, now.
    #[must_use]
    pub fn here() -> Self {
        let format = match std::env::var("SLURM_TIME_FORMAT").unwrap_or_default().as_str() {
            "" | "standard" => STANDARD.to_owned(),
            "relative" => "relative".to_owned(),
            other => other.to_owned(),
        };
        Self { now_ms: Timestamp::now().as_millisecond(), zone: TimeZone::system(), format }
    }

    /// The same at the moment of the head's answer.
    #[must_use]
    pub fn at(mut self, now_ms: i64) -> Self {
        self.now_ms = now_ms;
        self
    }

    fn zoned(&self, at_ms: i64) -> Zoned {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone())
    }

    /// The present moment in the reader's zone.
    #[must_use]
    pub fn now(&self) -> Zoned {
        self.zoned(self.now_ms)
    }

    /// A moment in the reader's form.
    #[must_use]
    pub fn date(&self, at_ms: i64) -> String {
        if self.format == "relative" {
            return self.relative(at_ms);
        }
        self.form(&self.format, at_ms).unwrap_or_else(|| self.standard(at_ms))
    }

    /// A moment, or `none` where there is none.
    #[must_use]
    pub fn date_or(&self, at_ms: Option<i64>, none: &str) -> String {
        at_ms.map_or_else(|| none.to_owned(), |at| self.date(at))
    }

    /// `2026-11-23T23:25:22` whatever the reader's form.
    #[must_use]
    pub fn standard(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime(STANDARD).to_string()
    }

    /// `Mon Nov 23 23:25:25 2026`, the line above long lists.
    #[must_use]
    pub fn headline(&self) -> String {
        self.zoned(self.now_ms).strftime("%a %b %d %H:%M:%S %Y").to_string()
    }

    fn form(&self, format: &str, at_ms: i64) -> Option<String> {
        jiff::fmt::strtime::format(format, &self.zoned(at_ms)).ok()
    }

    fn relative(&self, at_ms: i64) -> String {
        let (at, now) = (self.zoned(at_ms), self.now());
        let days = (at.date() - now.date()).get_days();
        let format = match days {
            0 => "%H:%M:%S",
            -1 => "Ystday %H:%M",
            1 => "Tomorr %H:%M",
            -6..=6 => "%a %H:%M",
            _ if at.year() == now.year() => "%-d %b %H:%M",
            _ => "%-d %b %Y",
        };
        at.strftime(format).to_string()
    }
}

/// `0:07`, `5:00`, `1:00:00`, `1-02:00:00`: as `squeue` and `sinfo` write spans.
#[must_use]
pub fn short_span(seconds: i64) -> String {
    if seconds < 0 {
        return "INVALID".to_owned();
    }
    let (d, h, m, s) = split(seconds);
    match (d, h) {
        (0, 0) => format!("{m}:{s:02}"),
        (0, h) => format!("{h}:{m:02}:{s:02}"),
        (d, h) => format!("{d}-{h:02}:{m:02}:{s:02}"),
    }
}

/// `00:00:07`, `1-02:00:00`: as `sacct` and `scontrol` write spans.
#[must_use]
pub fn long_span(seconds: i64) -> String {
    if seconds < 0 {
        return "INVALID".to_owned();
    }
    match split(seconds) {
        (0, h, m, s) => format!("{h:02}:{m:02}:{s:02}"),
        (d, h, m, s) => format!("{d}-{h:02}:{m:02}:{s:02}"),
    }
}

/// CPU time: `00:00:00`, `00:12.345`, `01:02:03`.
#[must_use]
pub fn cpu_span(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    match split(seconds) {
        (0, 0, m, s) if !ms.is_multiple_of(1000) => format!("{m:02}:{s:02}.{:03}", ms % 1000),
        _ => long_span(seconds),
    }
}

fn split(seconds: i64) -> (i64, i64, i64, i64) {
    (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// A moment as `--starttime` and `--endtime` name it, in milliseconds since the epoch; `None` for
/// what is none. A time of day is today's, in the future or not, as accounting looks back.
#[must_use]
pub fn moment(text: &str, now: &Zoned) -> Option<i64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("now") {
        return relative_to_now(rest, now);
    }
    if let Ok(seconds) = lower.strip_prefix("uts").unwrap_or("-").parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    let at = match lower.as_str() {
        "today" | "midnight" => now.date().to_datetime(Time::midnight()),
        "tomorrow" => now.date().tomorrow().ok()?.to_datetime(Time::midnight()),
        "noon" => now.date().to_datetime(Time::constant(12, 0, 0, 0)),
        "elevenses" => now.date().to_datetime(Time::constant(11, 0, 0, 0)),
        "fika" => now.date().to_datetime(Time::constant(15, 0, 0, 0)),
        "teatime" => now.date().to_datetime(Time::constant(16, 0, 0, 0)),
        _ => date_and_time(&lower, now)?,
    };
    Some(at.to_zoned(now.time_zone().clone()).ok()?.timestamp().as_millisecond())
}

fn relative_to_now(rest: &str, now: &Zoned) -> Option<i64> {
    let at = now.timestamp().as_millisecond();
    let rest = rest.trim();
    let (sign, count) = match rest.split_at_checked(1) {
        None => return Some(at),
        Some(("+", count)) => (1, count),
        Some(("-", count)) => (-1, count),
        Some(_) => return None,
    };
    let digits = count.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = count.split_at(digits);
    let unit = unit.trim();
    let known =
        [("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400), ("weeks", 604_800)];
    let scale = match unit {
        "" => 1,
        "min" => 60,
        // As Slurm: any beginning of the word, `m` being minutes.
        _ => known.iter().find(|(word, _)| word.starts_with(unit))?.1,
    };
    let ms = number.parse::<i64>().ok()?.checked_mul(scale)?.checked_mul(1000)?;
    at.checked_add(sign * ms)
}

fn date_and_time(text: &str, now: &Zoned) -> Option<DateTime> {
    if let Some(time) = time_of_day(text) {
        return Some(now.date().to_datetime(time));
    }
    if let Some(date) = iso_date(text) {
        return Some(date.to_datetime(Time::midnight()));
    }
    if let Some((date, time)) = text.split_once(['t', ' '])
        && let Some(date) = iso_date(date)
    {
        return Some(date.to_datetime(time_of_day(time)?));
    }
    let (date, time) = match text.split_once('-') {
        Some((date, time)) => (date, time_of_day(time)?),
        None => (text, Time::midnight()),
    };
    Some(american_date(date, now)?.to_datetime(time))
}

/// `2026-11-23`, also with parts of one digit.
fn iso_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    if parts.next().is_some() { None } else { Date::new(year, month, day).ok() }
}

/// `1123`, `112326`, `11/23`, `11.23.26`: month and day, with a year of two digits or this one.
fn american_date(text: &str, now: &Zoned) -> Option<Date> {
    let parts: Vec<&str> = match text.contains(['/', '.']) {
        true => text.split(['/', '.']).collect(),
        false if matches!(text.len(), 4 | 6) && text.is_ascii() => {
            [text.get(..2), text.get(2..4), text.get(4..6)].into_iter().flatten().collect()
        }
        false => return None,
    };
    let year = match parts.get(2) {
        None | Some(&"") => now.year(),
        Some(year) => {
            let number: i16 = year.parse().ok()?;
            if year.len() == 4 { number } else { number.checked_add(2000)? }
        }
    };
    if parts.len() > 3 {
        return None;
    }
    Date::new(year, parts.first()?.parse().ok()?, parts.get(1)?.parse().ok()?).ok()
}

/// `14:20`, `14:20:05`, `2:20pm`.
fn time_of_day(text: &str) -> Option<Time> {
    let (clock, half) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(clock), _) => (clock.trim(), Some(0)),
        (_, Some(clock)) => (clock.trim(), Some(12)),
        _ => (text, None),
    };
    let parts: Vec<i8> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    let hour = match half {
        None => parts[0],
        Some(half) if (1..=12).contains(&parts[0]) => parts[0] % 12 + half,
        Some(_) => return None,
    };
    Time::new(hour, parts[1], parts.get(2).copied().unwrap_or(0), 0).ok()
}

/// The midnight before `now`, where `sacct` starts when nothing is said.
#[must_use]
pub fn midnight(now: &Zoned) -> i64 {
    let start = now.start_of_day().unwrap_or_else(|_| now.saturating_sub(24.hours()));
    start.timestamp().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        let clock = made_up::clock();
        moment(text, &clock.now()).map(|at| clock.standard(at))
    }

    #[test]
    fn moments_are_read_as_slurm_reads_them() {
        // The made-up clock stands at 2026-11-23T23:25:25.
        let said = |text: &str, at: &str| assert_eq!(read(text).as_deref(), Some(at), "{text}");
        said("now", "2026-11-23T23:25:25");
        said("now-1hour", "2026-11-23T22:25:25");
        said("now-30", "2026-11-23T23:24:55");
        said("now+2days", "2026-11-25T23:25:25");
        said("now-5m", "2026-11-23T23:20:25");
        said("midnight", "2026-11-23T00:00:00");
        said("noon", "2026-11-23T12:00:00");
        said("teatime", "2026-11-23T16:00:00");
        said("2026-11-21T23:00", "2026-11-21T23:00:00");
        said("2026-11-21", "2026-11-21T00:00:00");
        said("2026-1-5T3:04:05", "2026-01-05T03:04:05");
        said("1121", "2026-11-21T00:00:00");
        said("112125-08:30", "2025-11-21T08:30:00");
        said("11/21/25-08:30", "2025-11-21T08:30:00");
        said("11.21", "2026-11-21T00:00:00");
        said("08:30", "2026-11-23T08:30:00");
        said("8:30pm", "2026-11-23T20:30:00");
        for wrong in ["", "soon", "25:00", "2026-13-01", "1399", "now*2", "13:00pm", "1:2:3:4"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_have_the_width_of_their_command() {
        assert_eq!([short_span(0), short_span(300), short_span(3600)], ["0:00", "5:00", "1:00:00"]);
        assert_eq!(short_span(93_600), "1-02:00:00");
        assert_eq!([long_span(7), long_span(93_600)], ["00:00:07", "1-02:00:00"]);
        assert_eq!([cpu_span(0), cpu_span(12_345)], ["00:00:00", "00:12.345"]);
        assert_eq!(cpu_span(3_723_400), "01:02:03");
    }

    #[test]
    fn the_reader_chooses_how_moments_look() {
        let mut clock = made_up::clock();
        let at = clock.now_ms - 3000;
        assert_eq!(clock.date(at), "2026-11-23T23:25:22");
        clock.format = "%s".into();
        assert_eq!(clock.date(at), (at / 1000).to_string());
        clock.format = "%H.%M".into();
        assert_eq!(clock.date(at), "23.25");
        clock.format = "relative".into();
        assert_eq!(clock.date(at), "23:25:22");
        assert_eq!(clock.date(at - 86_400_000), "Ystday 23:25");
        // A form that cannot be written is not a reason to fail.
        clock.format = "%".into();
        assert_eq!(clock.date(at), "2026-11-23T23:25:22");
        assert_eq!(clock.headline(), "Mon Nov 23 23:25:25 2026");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,24}") {
            let _ = read(&text);
        }
    }
}
