//! Numbers as people read them in sentences of the head.
use pcluster_model::{DurationMs, Resources};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// A wall-clock moment in a zone; with its date on another day than `now_ms`.
#[must_use]
pub fn clock(at_ms: i64, now_ms: i64, zone_offset_ms: i64, format: &str) -> String {
    let seconds = i32::try_from(zone_offset_ms / 1000).unwrap_or(0);
    let offset = jiff::tz::Offset::from_seconds(seconds).unwrap_or(jiff::tz::Offset::UTC);
    let zoned = |ms: i64| {
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        offset.to_datetime(at)
    };
    let (at, now) = (zoned(at_ms), zoned(now_ms));
    if at.date() == now.date() {
        at.strftime(format).to_string()
    } else {
        at.strftime(&format!("%-d %b {format}")).to_string()
    }
}

/// `16 GB`, `14.1 GB`, `512 MB`: rounded down, so that what is named fits.
#[must_use]
pub fn size(bytes: u64) -> String {
    if bytes < GB {
        return format!("{} MB", bytes / MB);
    }
    let tenths = u128::from(bytes) * 10 / u128::from(GB);
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{} GB", tenths / 10)
    } else {
        format!("{}.{} GB", tenths / 10, tenths % 10)
    }
}

/// A value for `--mem` that is at most `bytes`: `14G`, `512M`.
#[must_use]
pub fn mem_option(bytes: u64) -> String {
    if bytes >= 4 * GB || (bytes >= GB && bytes.is_multiple_of(GB)) {
        format!("{}G", bytes / GB)
    } else {
        format!("{}M", bytes / MB)
    }
}

/// A value for `--mem` that is at least `bytes`: `12G`, `768M`.
#[must_use]
pub fn mem_option_above(bytes: u64) -> String {
    if bytes >= 4 * GB {
        format!("{}G", bytes.div_ceil(GB))
    } else {
        format!("{}M", bytes.div_ceil(64 * MB) * 64)
    }
}

/// A value for `--time` of at most `span`: `2h`, `90m`, `45s`.
#[must_use]
pub fn time_option(span: DurationMs) -> String {
    match span.as_secs() {
        s if s >= 3600 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s >= 60 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `1 job`, `3 jobs`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// `8 CPUs, 16 GB, 1 GPU`.
#[must_use]
pub fn resources(held: &Resources) -> String {
    let mut text = counted(u64::from(held.cpus), "CPU");
    if held.memory_bytes > 0 {
        text += &format!(", {}", size(held.memory_bytes));
    }
    if held.gpus > 0 {
        text += &format!(", {}", counted(u64::from(held.gpus), "GPU"));
    }
    text
}

/// `first`, `second` … for small numbers.
#[must_use]
pub fn ordinal(number: u32) -> String {
    let words = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];
    let at = number.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| words.get(at)).map_or_else(|| format!("{number}th"), |word| (*word).into())
}

/// The name of a signal, where it has one that people know.
#[must_use]
pub fn signal(number: i32) -> String {
    let name = match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        _ => return format!("signal {number}"),
    };
    format!("signal {number}, {name}")
}

/// Words joined by `, `, the rest counted: `41, 42, 43 and 7 more`.
#[must_use]
pub fn some_of(words: &[String], most: usize) -> String {
    let shown = words.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `2026-11-23`: a day since the epoch.
#[must_use]
pub fn date(day: i32) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    let span = jiff::Span::new().try_days(day);
    let date = span.ok().and_then(|span| epoch.checked_add(span).ok());
    date.map_or_else(|| day.to_string(), |date| date.to_string())
}
