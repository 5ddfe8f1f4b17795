//! Sizes, times, prices and amounts as people write them, and back.
//!
//! Invariant: every parser is exact (integers only, no floating point) and total: it answers a
//! value or says what is allowed, whatever the text. A number without a unit is never guessed
//! here; callers that have a rule for one (`--time`, `--mem`) have a function of their own.
//! Deliberately absent: dates, currencies other than USD.
use crate::money::{MicroUsd, Price};
use crate::time::DurationMs;
use alloc::format;
use alloc::string::{String, ToString};

/// What kind of value a text was meant to be; each knows how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Size,
    Duration,
    /// The value of `--time`, where a bare number is minutes.
    TimeLimit,
    /// The value of `--mem`, where a bare number is MB.
    Memory,
    Price,
    Money,
}

impl Unit {
    /// The word for it, with its article.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Size => "a size",
            Self::Duration => "a length of time",
            Self::TimeLimit => "a time limit",
            Self::Memory => "an amount of memory",
            Self::Price => "a price per hour",
            Self::Money => "an amount of money",
        }
    }

    /// How one is written, by example.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Size => "\"500 GB\", \"512 MB\" or \"1.5 TB\" (powers of 1024)",
            Self::Duration => "\"90 s\", \"10 min\", \"2 h\", \"1 d\" or \"1-12:00:00\"",
            Self::TimeLimit => "minutes (90), 10m, 2h, 1d, 1:30:00 or 1-12:00:00",
            Self::Memory => "16G, 512M or a number of MB",
            Self::Price => "\"$0.05/h\"",
            Self::Money => "\"$500\" or \"$1,250.50\"",
        }
    }
}

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not of that form at all.
    #[error("`{text}` is not {}: write {}", unit.noun(), unit.allowed())]
    Form { text: String, unit: Unit },
    /// A number and no unit: `did` is the text with a likely unit added.
    #[error("`{text}` has no unit: did you mean \"{did}\"?")]
    NoUnit { text: String, did: String },
    /// A unit that does not exist.
    #[error("`{text}`: `{name}` is not a unit of {}: write {}", unit.noun(), unit.allowed())]
    UnknownUnit { text: String, name: String, unit: Unit },
    /// Finer than the smallest unit (a byte, a millisecond, a micro-dollar).
    #[error("`{text}` is finer than {smallest}")]
    TooFine { text: String, smallest: &'static str },
    /// More than fits.
    #[error("`{text}` is more than pcluster can count")]
    TooLarge { text: String },
    /// Below zero.
    #[error("`{text}` is negative")]
    Negative { text: String },
}

impl UnitError {
    /// What is wrong, without what is allowed: for callers that show that beside it.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Form { text, unit } => format!("`{text}` is not {}", unit.noun()),
            Self::NoUnit { text, .. } => format!("`{text}` has no unit"),
            Self::UnknownUnit { name, unit, .. } => {
                format!("`{name}` is not a unit of {}", unit.noun())
            }
            other => other.to_string(),
        }
    }

    /// How a right one is written, by example; `None` where the form was right.
    #[must_use]
    pub const fn allowed(&self) -> Option<&'static str> {
        match self {
            Self::Form { unit, .. } | Self::UnknownUnit { unit, .. } => Some(unit.allowed()),
            _ => None,
        }
    }
}

const KIB: u64 = 1024;
const MIB: u64 = KIB * 1024;
const GIB: u64 = MIB * 1024;
const TIB: u64 = GIB * 1024;

/// Shows at most this much of a wrong text, so that an error stays a line.
fn shown(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= 40 {
        return text.to_string();
    }
    let head: String = text.chars().take(37).collect();
    format!("{head}...")
}

fn form(text: &str, unit: Unit) -> UnitError {
    UnitError::Form { text: shown(text), unit }
}

/// Splits `1.5 GB` into the number's text and the unit's.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `number` (decimal digits, at most one point) times `scale`, exactly. `None`: not a number.
fn scaled(
    number: &str,
    scale: u64,
    text: &str,
    smallest: &'static str,
) -> Option<Result<u64, UnitError>> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || number.ends_with('.') {
        return None;
    }
    let part = part.trim_end_matches('0');
    let too_large = || UnitError::TooLarge { text: shown(text) };
    let too_fine = || UnitError::TooFine { text: shown(text), smallest };
    if part.len() > 12 {
        return Some(Err(too_fine()));
    }
    let value = || -> Result<u64, UnitError> {
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let whole = u128::from(whole) * u128::from(scale);
        let part_value: u64 =
            if part.is_empty() { 0 } else { part.parse().map_err(|_| too_fine())? };
        let divisor = 10u128.pow(u32::try_from(part.len()).map_err(|_| too_fine())?);
        let product = u128::from(part_value) * u128::from(scale);
        if product % divisor != 0 {
            return Err(too_fine());
        }
        // Kept below i64, which money and timestamps are made of.
        u64::try_from(whole + product / divisor)
            .ok()
            .filter(|value| i64::try_from(*value).is_ok())
            .ok_or_else(too_large)
    };
    Some(value())
}

fn size_scale(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => TIB,
        "p" | "pb" | "pib" => TIB * 1024,
        _ => return None,
    })
}

fn size_with(text: &str, bare: Option<u64>, unit: Unit) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(UnitError::Negative { text: shown(text) });
    }
    let (number, name) = split_number(trimmed);
    let scale = if name.is_empty() {
        match bare {
            Some(scale) => scale,
            None if number == "0" => 1,
            None if !number.is_empty() => {
                let did = format!("{} GB", shown(number));
                return Err(UnitError::NoUnit { text: shown(text), did });
            }
            None => return Err(form(text, unit)),
        }
    } else if number.is_empty() {
        return Err(form(text, unit));
    } else {
        size_scale(name).ok_or_else(|| UnitError::UnknownUnit {
            text: shown(text),
            name: shown(name),
            unit,
        })?
    };
    scaled(number, scale, text, "a byte").unwrap_or_else(|| Err(form(text, unit)))
}

/// A size in bytes: `500 GB`, `1.5T`, `64k`; powers of 1024. A bare number other than 0 is
/// refused with the text it was probably meant to be.
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    size_with(text, None, Unit::Size)
}

/// Memory in bytes as `--mem` takes it: like [`parse_size`], and a bare number is MB.
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_memory(text: &str) -> Result<u64, UnitError> {
    size_with(text, Some(MIB), Unit::Memory)
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn duration_scale(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        _ => return None,
    })
}

/// `1-12:00:00`, `D-H`, `D-H:M`, `H:M:S`, `M:S`: Slurm's forms; fields may be large (`0:300`).
fn clock_form(text: &str, unit: Unit) -> Result<u64, UnitError> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(days), clock),
        None => (None, text),
    };
    let mut fields = [0u64; 3];
    let mut count = 0;
    for field in clock.split(':') {
        let slot = fields.get_mut(count).ok_or_else(|| form(text, unit))?;
        if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form(text, unit));
        }
        *slot = field.parse().map_err(|_| UnitError::TooLarge { text: shown(text) })?;
        count += 1;
    }
    let days: u64 = match days {
        None => 0,
        Some(d) if !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()) => {
            d.parse().map_err(|_| UnitError::TooLarge { text: shown(text) })?
        }
        Some(_) => return Err(form(text, unit)),
    };
    let scales = match (text.contains('-'), count) {
        (true, _) | (false, 3) => [HOUR, MINUTE, SECOND],
        (false, 2) => [MINUTE, SECOND, 0],
        (false, _) => return Err(form(text, unit)),
    };
    let sum = fields.iter().zip(scales).try_fold(days.checked_mul(DAY), |sum, (field, scale)| {
        Some(sum.and_then(|sum| sum.checked_add(field.checked_mul(scale)?)))
    });
    sum.flatten()
        .filter(|value| i64::try_from(*value).is_ok())
        .ok_or_else(|| UnitError::TooLarge { text: shown(text) })
}

fn duration_with(text: &str, bare: Option<u64>, unit: Unit) -> Result<DurationMs, UnitError> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(UnitError::Negative { text: shown(text) });
    }
    let plain = |c: char| c.is_ascii_digit() || c == ':' || c == '-';
    if trimmed.contains([':', '-']) && trimmed.chars().all(plain) {
        return clock_form(trimmed, unit).map(DurationMs);
    }
    let mut rest = trimmed;
    let mut sum = 0u64;
    let mut parts = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (name, next) = (&after[..end], after[end..].trim_start());
        let scale =
            match (number.is_empty(), name.is_empty(), bare) {
                (false, false, _) => duration_scale(name).ok_or_else(|| {
                    UnitError::UnknownUnit { text: shown(text), name: shown(name), unit }
                })?,
                (false, true, Some(scale)) if parts == 0 && next.is_empty() => scale,
                (false, true, None) if parts == 0 && next.is_empty() && number == "0" => 1,
                (false, true, None) if parts == 0 && next.is_empty() => {
                    let did = format!("{} min", shown(number));
                    return Err(UnitError::NoUnit { text: shown(text), did });
                }
                _ => return Err(form(text, unit)),
            };
        let part =
            scaled(number, scale, text, "a millisecond").ok_or_else(|| form(text, unit))??;
        sum = sum
            .checked_add(part)
            .filter(|value| i64::try_from(*value).is_ok())
            .ok_or_else(|| UnitError::TooLarge { text: shown(text) })?;
        parts += 1;
        rest = next;
    }
    if parts == 0 {
        return Err(form(text, unit));
    }
    Ok(DurationMs(sum))
}

/// A length of time: `90 s`, `10 min`, `2h`, `1 d`, `1 h 30 min`, `1-12:00:00`, `1:30:00`,
/// `200 ms`. A bare number other than 0 is refused with the text it was probably meant to be.
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_duration(text: &str) -> Result<DurationMs, UnitError> {
    duration_with(text, None, Unit::Duration)
}

/// A time limit as `--time` takes it: like [`parse_duration`], a bare number is minutes, and
/// `0` or `UNLIMITED` (any case; also `infinite`) is no limit, `None`.
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_time_limit(text: &str) -> Result<Option<DurationMs>, UnitError> {
    let trimmed = text.trim();
    if ["unlimited", "infinite"].iter().any(|word| trimmed.eq_ignore_ascii_case(word)) {
        return Ok(None);
    }
    let span = duration_with(text, Some(MINUTE), Unit::TimeLimit)?;
    Ok((span != DurationMs::ZERO).then_some(span))
}

fn dollars(text: &str, whole: &str, unit: Unit) -> Result<i64, UnitError> {
    let text = text.trim();
    if text.starts_with('-') || text.starts_with("$-") {
        return Err(UnitError::Negative { text: shown(whole) });
    }
    let number = text.strip_prefix('$').map(str::trim_start).ok_or_else(|| form(whole, unit))?;
    let (dollars, _) = number.split_once('.').unwrap_or((number, ""));
    let groups_right = dollars
        .split(',')
        .enumerate()
        .all(|(at, group)| if at == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 });
    if number.contains(',') && !groups_right {
        return Err(form(whole, unit));
    }
    let plain = number.replace(',', "");
    let value = scaled(&plain, 1_000_000, whole, "a millionth of a dollar")
        .unwrap_or_else(|| Err(form(whole, unit)))?;
    i64::try_from(value).map_err(|_| UnitError::TooLarge { text: shown(whole) })
}

/// An amount: `$500`, `$1,250.50`.
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_money(text: &str) -> Result<MicroUsd, UnitError> {
    dollars(text, text, Unit::Money).map(MicroUsd)
}

/// A price per hour: `$0.05/h` (also `/hour`).
///
/// # Errors
/// [`UnitError`], which names the text and what is allowed.
pub fn parse_price(text: &str) -> Result<Price, UnitError> {
    let trimmed = text.trim();
    let Some((amount, per)) = trimmed.rsplit_once('/') else {
        if trimmed.starts_with('$') && dollars(trimmed, trimmed, Unit::Price).is_ok() {
            return Err(UnitError::NoUnit { text: shown(text), did: format!("{}/h", shown(text)) });
        }
        return Err(form(text, Unit::Price));
    };
    if !["h", "hr", "hour"].iter().any(|word| per.trim().eq_ignore_ascii_case(word)) {
        return Err(form(text, Unit::Price));
    }
    dollars(amount, text, Unit::Price).map(Price)
}

/// Bytes in the largest unit that shows them exactly: `500 GB`, `1536 MB`; [`parse_size`]
/// reads it back to the same number.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (scale, name) in [(TIB, "TB"), (GIB, "GB"), (MIB, "MB"), (KIB, "KB")] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{} {name}", bytes / scale);
        }
    }
    format!("{bytes} B")
}

/// `used 2.1 GB of the 2 GB of --tmp`: what is used is rounded up, so that it is seen to be more.
#[must_use]
pub fn scratch_words(used_bytes: u64, asked_bytes: u64) -> String {
    let (unit, name) = if used_bytes >= GIB { (GIB, "GB") } else { (MIB, "MB") };
    let tenths = u128::from(used_bytes).saturating_mul(10).div_ceil(u128::from(unit));
    let used = match (tenths / 10, tenths % 10) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part}"),
    };
    format!("used {used} {name} of the {} of --tmp", format_size(asked_bytes))
}

/// Time in the largest unit that shows it exactly: `5 min`, `90 s`, `24 h`; [`parse_duration`]
/// reads it back to the same number. Days begin at two, as the product's defaults are written.
#[must_use]
pub fn format_duration(span: DurationMs) -> String {
    let ms = span.0;
    if ms == 0 {
        return "0 s".to_string();
    }
    for (scale, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s")] {
        let enough = if scale == DAY { 2 * DAY } else { scale };
        let one_and_a_half_minutes = scale == MINUTE && ms < 2 * MINUTE && ms != MINUTE;
        if ms >= enough && ms.is_multiple_of(scale) && !one_and_a_half_minutes {
            return format!("{} {name}", ms / scale);
        }
    }
    format!("{ms} ms")
}

/// How long, for people: `48 s`, `1 min 50 s`, `2 h 5 min`, `22 d 14 h`.
#[must_use]
pub fn span_words(span: DurationMs) -> String {
    let s = span.as_secs();
    let two = |big: u64, big_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {big_name}"),
        _ => format!("{big} {big_name} {small} {small_name}"),
    };
    match s {
        0..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s / 60 % 60, "min"),
        _ => two(s / 86_400, "d", s / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests;
