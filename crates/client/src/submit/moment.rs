//! Moments: `now+1hour`, `16:00`, `tomorrow 08:00`, `2026-11-24T08:00`, `12/24/26-08:00`.
//!
//! Invariant: Slurm's grammar, checked against it, and of our own only spans after `now+` with units
//! of one letter. The zone is the reader's. Deliberately absent: reading the clock.
use super::words::wrong;
use crate::failure::Failure;
use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan, Zoned};
use pcluster_model::Timestamp;

/// What was said of a moment so far.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    date: Option<Date>,
    clock: Option<Time>,
    now: bool,
    after: Option<Span>,
}

/// A moment. A time of day that has passed means the next day; a date without one its midnight.
///
/// # Errors
/// Anything that is none.
pub fn moment(option: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    const ALLOWED: &str = "16:00, tomorrow, now+2hours, 2026-11-24, 2026-11-24T08:00";
    parsed(text, now).ok_or_else(|| wrong(option, text, ALLOWED))
}

fn parsed(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(seconds) = text.strip_prefix("uts") {
        let seconds: u32 = seconds.parse().ok()?;
        return Some(Timestamp(i64::from(seconds) * 1000));
    }
    let mut said = Said::default();
    let mut rest = text.as_str();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        rest = piece(rest, now, &mut said)?.trim_start();
    }
    resolved(&said, now)
}

fn resolved(said: &Said, now: &Zoned) -> Option<Timestamp> {
    if said.now {
        if said.date.is_some() || said.clock.is_some() {
            return None;
        }
        let at = now.checked_add(said.after.unwrap_or_default()).ok()?;
        return Some(Timestamp(at.timestamp().as_millisecond()));
    }
    let today = now.date();
    let at: DateTime = match (said.date, said.clock) {
        (Some(date), clock) => date.to_datetime(clock.unwrap_or(Time::midnight())),
        (None, Some(clock)) if today.to_datetime(clock) > now.datetime() => {
            today.to_datetime(clock)
        }
        (None, Some(clock)) => today.tomorrow().ok()?.to_datetime(clock),
        (None, None) => return None,
    };
    let at = at.to_zoned(now.time_zone().clone()).ok()?;
    Some(Timestamp(at.timestamp().as_millisecond()))
}

/// Takes one piece off the front; `None`: there is none.
fn piece<'a>(text: &'a str, now: &Zoned, said: &mut Said) -> Option<&'a str> {
    let clock = |hour| Time::new(hour, 0, 0, 0).ok();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let today = now.date();
    match word {
        "" => {}
        "now" => {
            said.now = true;
            return span_after(rest, &mut said.after);
        }
        "today" => return put(&mut said.date, Some(today), rest),
        "tomorrow" => return put(&mut said.date, today.tomorrow().ok(), rest),
        "midnight" => return put(&mut said.clock, clock(0), rest),
        "noon" => return put(&mut said.clock, clock(12), rest),
        "fika" => return put(&mut said.clock, clock(15), rest),
        "teatime" => return put(&mut said.clock, clock(16), rest),
        "t" if said.date.is_some() => return clock_piece(rest, said),
        _ => return None,
    }
    if let Some(rest) = text.strip_prefix('-').filter(|_| said.date.is_some()) {
        return clock_piece(rest, said);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    match text.as_bytes().get(end) {
        Some(b':') => clock_piece(text, said),
        _ => date_piece(text, today, said),
    }
}

fn put<'a, T>(place: &mut Option<T>, value: Option<T>, rest: &'a str) -> Option<&'a str> {
    if place.is_some() {
        return None;
    }
    *place = Some(value?);
    Some(rest)
}

/// A number of up to `most` digits off the front.
fn number(text: &str, most: usize) -> Option<(i16, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 || end > most {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `+1hour`, `-30minutes`, `+90` (seconds); ours too: `+2h`, `+1h30m`.
fn span_after<'a>(text: &'a str, after: &mut Option<Span>) -> Option<&'a str> {
    let text = text.trim_start();
    let (sign, rest) = match text.chars().next() {
        None => return Some(text),
        Some('+') => (1, &text[1..]),
        Some('-') => (-1, &text[1..]),
        Some(_) => return None,
    };
    let rest = rest.trim();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let count: Option<i64> = rest[..end].parse::<u32>().ok().map(i64::from);
    let count = count? * sign;
    let span = match rest[end..].trim_start() {
        "" | "second" | "seconds" => Span::new().try_seconds(count),
        "minute" | "minutes" => Span::new().try_minutes(count),
        "hour" | "hours" => Span::new().try_hours(count),
        "day" | "days" => Span::new().try_days(count),
        "week" | "weeks" => Span::new().try_weeks(count),
        _ => {
            let ours = pcluster_model::units::parse_duration(rest).ok()?;
            Span::new().try_milliseconds(i64::try_from(ours.0).ok()? * sign)
        }
    };
    *after = Some(span.ok()?);
    Some("")
}

/// `8:30`, `16:00:15`, `4:30pm`, `4:30 pm`.
fn clock_piece<'a>(text: &'a str, said: &mut Said) -> Option<&'a str> {
    let (hour, rest) = number(text, 2)?;
    let (minute, mut rest) = number(rest.strip_prefix(':')?, 2)?;
    let mut second = 0;
    if let Some(more) = rest.strip_prefix(':') {
        (second, rest) = number(more, 2)?;
    }
    let half = rest.trim_start();
    let hour = match half.get(..2) {
        Some("am" | "pm") if !(1..=12).contains(&hour) => return None,
        Some("am") => hour % 12,
        Some("pm") => hour % 12 + 12,
        _ => hour,
    };
    if matches!(half.get(..2), Some("am" | "pm")) {
        rest = &half[2..];
    }
    let field = |value: i16| i8::try_from(value).ok();
    let clock = Time::new(field(hour)?, field(minute)?, field(second)?, 0).ok();
    put(&mut said.clock, clock, rest)
}

/// `2026-11-24`, `11/24`, `11/24/26`, `11.24.26`, `1124`, `112426`.
fn date_piece<'a>(text: &'a str, today: Date, said: &mut Said) -> Option<&'a str> {
    let field = |value: i16| i8::try_from(value).ok();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 4 && text[end..].starts_with('-') {
        let (year, rest) = number(text, 4)?;
        let (month, rest) = number(rest.strip_prefix('-')?, 2)?;
        let (day, rest) = number(rest.strip_prefix('-')?, 2)?;
        return put(&mut said.date, Date::new(year, field(month)?, field(day)?).ok(), rest);
    }
    let (month, day, year, rest) = if end == 4 || end == 6 {
        let year = if end == 6 { Some(number(&text[4..6], 2)?.0) } else { None };
        (number(&text[..2], 2)?.0, number(&text[2..4], 2)?.0, year, &text[end..])
    } else {
        let (month, rest) = number(text, 2)?;
        let mark = rest.chars().next().filter(|mark| "/.".contains(*mark))?;
        let (day, rest) = number(&rest[1..], 2)?;
        match rest.strip_prefix(mark) {
            Some(rest) => {
                let (year, rest) = number(rest, 2)?;
                (month, day, Some(year), rest)
            }
            None => (month, day, None, rest),
        }
    };
    let (month, day) = (field(month)?, field(day)?);
    let date = match year {
        Some(year) => Date::new(2000 + year, month, day).ok(),
        // Without a year the next such day.
        None => Date::new(today.year(), month, day).ok().and_then(|date| {
            if date < today { date.checked_add(1.year()).ok() } else { Some(date) }
        }),
    };
    put(&mut said.date, date, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        // A zone without a database: tests run on machines that have none.
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
        jiff::Timestamp::from_second(1_795_440_000).unwrap().to_zoned(zone)
    }

    fn said(text: &str) -> String {
        let Ok(at) = moment("--begin", text, &now()) else { return "refused".into() };
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap();
        at.to_zoned(now().time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    #[test]
    fn moments_are_read_as_slurm_reads_them() {
        let cases = [
            ("now", "2026-11-23 14:20:00"),
            ("now+60", "2026-11-23 14:21:00"),
            ("now+1hour", "2026-11-23 15:20:00"),
            ("now + 2 days", "2026-11-25 14:20:00"),
            ("now+3weeks", "2026-12-14 14:20:00"),
            ("now-1hour", "2026-11-23 13:20:00"),
            ("now+2h", "2026-11-23 16:20:00"),
            ("18:30", "2026-11-23 18:30:00"),
            ("14:00", "2026-11-24 14:00:00"),
            ("4:30pm", "2026-11-23 16:30:00"),
            ("4:30 PM", "2026-11-23 16:30:00"),
            ("16:00:30", "2026-11-23 16:00:30"),
            ("today", "2026-11-23 00:00:00"),
            ("tomorrow", "2026-11-24 00:00:00"),
            ("tomorrow 08:00", "2026-11-24 08:00:00"),
            ("08:00 tomorrow", "2026-11-24 08:00:00"),
            ("midnight", "2026-11-24 00:00:00"),
            ("noon", "2026-11-24 12:00:00"),
            ("teatime", "2026-11-23 16:00:00"),
            ("fika", "2026-11-23 15:00:00"),
            ("2026-12-24", "2026-12-24 00:00:00"),
            ("2026-12-24T08:00", "2026-12-24 08:00:00"),
            ("2026-12-24T08:00:30", "2026-12-24 08:00:30"),
            ("2026-12-24 08:00", "2026-12-24 08:00:00"),
            ("12/24", "2026-12-24 00:00:00"),
            ("01/05", "2027-01-05 00:00:00"),
            ("12/24/26-08:00", "2026-12-24 08:00:00"),
            ("12.24.26", "2026-12-24 00:00:00"),
            ("122426", "2026-12-24 00:00:00"),
            ("1224", "2026-12-24 00:00:00"),
            ("uts1799999999", "2027-01-15 08:59:59"),
        ];
        for (text, at) in cases {
            assert_eq!(said(text), at, "{text}");
        }
        for bad in [
            "soon",
            "",
            "25:00",
            "24:00",
            "4pm",
            "8am",
            "13:00pm",
            "now+",
            "+5",
            "now+5x",
            "2026-13-01",
            "20261224",
            "1799999999",
            "today+2hours",
            "2026-12-24T8",
            "08:00:00.5",
            "now 08:00",
            "2026-12-24T08:00:00+01:00",
            "Saturday",
            "08:00 09:00",
            "tomorrow today",
        ] {
            assert_eq!(said(bad), "refused", "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:+./T é-]{0,20}") {
            let _ = moment("--begin", &text, &now());
        }
    }
}
