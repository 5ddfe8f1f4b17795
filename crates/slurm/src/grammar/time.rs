//! Time limits: `5`, `5:30`, `1:00:00`, `1-12`, `1-12:30`, `1-12:30:15`, `UNLIMITED`.
//!
//! Invariant: what `sbatch` takes and nothing else (`2h` is refused), with its rounding: a limit is
//! whole minutes, begun ones count.
use pcluster_model::DurationMs;

/// A time limit in whole minutes; `Some(None)` is no limit, `None` is no time.
#[must_use]
pub fn limit(text: &str) -> Option<Option<DurationMs>> {
    let no_limit = ["-1", "unlimited", "infinite"];
    if no_limit.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(None);
    }
    let minutes = seconds(text)?.div_ceil(60);
    let span = minutes.checked_mul(60_000).filter(|ms| i64::try_from(*ms).is_ok())?;
    Some(Some(DurationMs(span)).filter(|span| *span != DurationMs::ZERO))
}

/// The same forms to the second; a bare number is minutes.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(field(days)?), clock),
        None => (None, text),
    };
    // `1-` is one day.
    if days.is_some() && clock.is_empty() {
        return days?.checked_mul(86_400);
    }
    let fields: Vec<u64> = clock.split(':').map(field).collect::<Option<_>>()?;
    let scales: &[u64] = match (days.is_some(), fields.len()) {
        (true, 1..=3) | (false, 3) => &[3600, 60, 1],
        (false, 2) => &[60, 1],
        (false, 1) => &[60],
        _ => return None,
    };
    let clock = fields
        .iter()
        .zip(scales)
        .try_fold(0u64, |sum, (field, scale)| sum.checked_add(field.checked_mul(*scale)?))?;
    days.unwrap_or(0).checked_mul(86_400)?.checked_add(clock)
}

fn field(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_sbatch_reads_them() {
        let minutes = |text| limit(text).map(|limit| limit.map(|span| span.0 / 60_000));
        let cases = [
            ("5", 5),
            ("5:30", 6),
            ("0:300", 5),
            ("0:3", 1),
            ("1:2:3", 63),
            ("1:0:0", 60),
            ("1-", 1440),
            ("1-2", 1560),
            ("1-2:3", 1563),
            ("1-2:3:4", 1564),
            ("00:30:00", 30),
        ];
        for (text, expected) in cases {
            assert_eq!(minutes(text), Some(Some(expected)), "{text}");
        }
        for none in ["UNLIMITED", "infinite", "0", "0:0", "-1"] {
            assert_eq!(minutes(none), Some(None), "{none}");
        }
        for bad in [
            "",
            " 5",
            "5m",
            "2h",
            "5:",
            ":5",
            "1:2:",
            "1:2:3:4",
            "5.5",
            "1--2",
            "1:-2",
            "99:99:99:99",
            "NOT_SET",
            "1-2:3:4:5",
            "18446744073709551615",
            "9-99999999999999999999",
        ] {
            assert_eq!(minutes(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9:a-z -]{0,24}") {
            let _ = limit(&text);
        }
    }
}
