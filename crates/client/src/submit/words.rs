//! The values of options that are more than a number: arrays, signals, GPUs, mails.
//!
//! Invariant: every parser is total, and its error names the word, what is allowed and, where there
//! is one, the nearest right thing. Deliberately absent: sizes and times (`pcluster_model::units`).
pub use super::dependency::dependency;
pub use super::moment::moment;

use super::dependency::job_of;
use crate::failure::Failure;
use pcluster_model::job::SpotAsk;
use pcluster_model::units::parse_money;
use pcluster_model::{
    ArraySpec, Dependency, DependencyKind, DurationMs, IndexRanges, MailEvent, MicroUsd, Signal,
    WarnSignal,
};

/// Tasks of one array at most; the ranges of more than that are surely a mistake.
const MAX_ARRAY_TASKS: usize = 1_000_000;
/// The largest index, so that ids stay readable.
const MAX_ARRAY_INDEX: u32 = 4_000_000;

pub(super) fn wrong(option: &str, word: &str, allowed: &str) -> Failure {
    Failure::usage(format!("`{word}` is not a value of {option}")).fact("allowed", allowed)
}

/// `1-96`, `0-15:4`, `1,3,7`, `1-96%8`.
///
/// # Errors
/// Anything else, a range that runs backwards, too many tasks.
pub fn array(text: &str) -> Result<ArraySpec, Failure> {
    const ALLOWED: &str = "ranges with a step and a limit: 1-96, 0-15:4, 1,3,7, 1-96%8";
    let refuse = || wrong("--array", text, ALLOWED);
    let number = |word: &str| word.parse::<u32>().map_err(|_| refuse());
    let (ranges, throttle) = match text.split_once('%') {
        Some((ranges, limit)) => (ranges, Some(number(limit)?)),
        None => (text, None),
    };
    let mut indices = IndexRanges::new();
    let mut tasks = 0usize;
    for part in ranges.split(',') {
        let (range, step) = match part.split_once(':') {
            Some((range, step)) => (range, number(step)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(range)?, number(range)?),
        };
        if step == 0 {
            return Err(refuse().hint("a step is at least 1"));
        }
        if last < first {
            return Err(refuse().hint(format!("did you mean `{last}-{first}`?")));
        }
        tasks = tasks.saturating_add(((last - first) / step) as usize + 1);
        if last > MAX_ARRAY_INDEX || tasks > MAX_ARRAY_TASKS {
            return Err(Failure::refused(format!("the array {text} is too large")).fact(
                "at most",
                format!("{MAX_ARRAY_TASKS} tasks, indices to {MAX_ARRAY_INDEX}"),
            ));
        }
        let mut index = Some(first);
        while let Some(at) = index.filter(|at| *at <= last) {
            indices.insert(at);
            index = at.checked_add(step);
        }
    }
    Ok(ArraySpec { indices, throttle: throttle.filter(|limit| *limit > 0) })
}

/// The ids of `--after 41,42` and its like.
///
/// # Errors
/// A word that is not the id of a job.
pub fn after(
    option: &str,
    kind: DependencyKind,
    texts: &[String],
) -> Result<Vec<Dependency>, Failure> {
    let words = texts.iter().flat_map(|text| text.split([',', ':', ' '])).filter(|w| !w.is_empty());
    words
        .map(|word| match job_of(word) {
            Some((job, task)) => Ok(Dependency { kind, job, task, delay_ms: DurationMs(0) }),
            None => Err(wrong(option, word, "ids of jobs: 42, 41_3, 42,43")),
        })
        .collect()
}

/// Names of the signals that people send, with their numbers on Linux.
const SIGNALS: [(&str, i32); 18] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
];

/// `USR1`, `SIGUSR1`, `10`.
///
/// # Errors
/// No such signal.
pub fn signal(option: &str, text: &str) -> Result<Signal, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = known.or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)));
    number.map(Signal).ok_or_else(|| wrong(option, text, "a signal: TERM, USR1, 10"))
}

/// `[B:]SIG[@SECONDS]`; 60 seconds when not said. `R:` (only for a reservation's end) is taken and
/// means nothing here.
///
/// # Errors
/// No such signal, or seconds that are no number.
pub fn warn_signal(text: &str) -> Result<WarnSignal, Failure> {
    let (flags, rest) = text.split_once(':').unwrap_or(("", text));
    let flags = flags.to_ascii_uppercase();
    let allowed = || wrong("--signal", text, "a signal and seconds before the end: USR2@90");
    if !flags.chars().all(|flag| matches!(flag, 'B' | 'R')) {
        return Err(allowed());
    }
    let (name, seconds) = rest.split_once('@').unwrap_or((rest, "60"));
    let seconds: u16 =
        if seconds.is_empty() { 0 } else { seconds.parse().map_err(|_| allowed())? };
    let signal = signal("--signal", name)?;
    let before_ms = DurationMs::from_secs(u64::from(seconds));
    Ok(WarnSignal { signal, before_ms, batch_only: flags.contains('B') })
}

/// `2`, `a10g`, `a10g:2`: number and model (empty for any).
///
/// # Errors
/// A number that is none.
pub fn gpus(option: &str, text: &str) -> Result<(u32, String), Failure> {
    let (model, number) = match text.rsplit_once([':', '=']) {
        Some((model, number)) => (model, number),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => ("", text),
        None => (text, "1"),
    };
    match number.parse() {
        Ok(number) if !model.contains(',') => Ok((number, model.to_ascii_lowercase())),
        _ => Err(wrong(option, text, "a number, or a model and a number: 2, a10g:1")),
    }
}

/// The part after `gpu` in `gpu:a10g:2`.
///
/// # Errors
/// Another resource than GPUs.
pub fn gres(text: &str) -> Result<(u32, String), Failure> {
    match text.strip_prefix("gpu") {
        Some("") => Ok((1, String::new())),
        Some(rest) if rest.starts_with(':') => gpus("--gres", &rest[1..]),
        _ => Err(wrong("--gres", text, "gpu:N or gpu:MODEL:N")),
    }
}

/// `BEGIN,END,FAIL,REQUEUE,ALL,NONE`; Slurm's other events are taken and mean nothing here.
///
/// # Errors
/// A word that is no event.
pub fn mail(text: &str) -> Result<Vec<MailEvent>, Failure> {
    use MailEvent::{Begin, End, Fail, Requeue};
    let mut events = Vec::new();
    for word in text.split(',').map(str::trim) {
        match word.to_ascii_uppercase().as_str() {
            "BEGIN" => events.push(Begin),
            "END" => events.push(End),
            "FAIL" | "INVALID_DEPEND" => events.push(Fail),
            "REQUEUE" => events.push(Requeue),
            "ALL" => events.extend([Begin, End, Fail, Requeue]),
            "NONE" => events.clear(),
            "STAGE_OUT" | "TIME_LIMIT" | "TIME_LIMIT_90" | "TIME_LIMIT_80" | "TIME_LIMIT_50"
            | "ARRAY_TASKS" => {}
            _ => return Err(wrong("--mail-type", word, "BEGIN, END, FAIL, REQUEUE, ALL, NONE")),
        }
    }
    events.dedup();
    Ok(events)
}

/// `$5`, `5`: what a job may cost at most.
///
/// # Errors
/// What is no amount, and nothing at all.
pub fn money(option: &str, text: &str) -> Result<MicroUsd, Failure> {
    let text = text.trim();
    let shown = if text.starts_with('$') { text.to_owned() } else { format!("${text}") };
    match parse_money(&shown) {
        Ok(amount) if amount.0 > 0 => Ok(amount),
        _ => Err(wrong(option, text, "an amount above 0: $5, $0.50")),
    }
}

/// Whether spot machines may run a job: `yes`, `no`, `only`; nothing after the option is `yes`.
///
/// # Errors
/// Any other word.
pub fn spot(text: &str) -> Result<SpotAsk, Failure> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "" | "yes" => SpotAsk::Yes,
        "no" => SpotAsk::No,
        "only" => SpotAsk::Only,
        _ => return Err(wrong("--spot", text, "yes, no, only")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_have_ranges_steps_and_a_limit() {
        let spec = array("0-7:4,9%2").unwrap();
        assert_eq!(spec.indices.to_string(), "0,4,9");
        assert_eq!(spec.throttle, Some(2));
        for bad in ["", "5-1", "1-", "a", "1-4%", "1-9:0", "-1", "1-4294967295", "{{7*7}}"] {
            assert!(array(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let warn = warn_signal("B:SIGUSR2@90").unwrap();
        assert_eq!((warn.signal.0, warn.before_ms.0, warn.batch_only), (12, 90_000, true));
        assert_eq!(warn_signal("10").unwrap().before_ms, DurationMs::from_secs(60));
        assert!(warn_signal("RB:10").unwrap().batch_only);
        assert_eq!(warn_signal("USR1@").unwrap().before_ms, DurationMs::ZERO);
        for bad in ["NOPE", "USR1@x", "USR1@65536", "0", "X:USR1", ""] {
            assert!(warn_signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spot_has_three_words() {
        let said = ["", "YES", "no", "only"].map(|text| spot(text).unwrap());
        assert_eq!(said, [SpotAsk::Yes, SpotAsk::Yes, SpotAsk::No, SpotAsk::Only]);
        assert!(spot("always").is_err());
    }

    #[test]
    fn gpus_have_a_number_and_a_model() {
        assert_eq!(gres("gpu:A10G:2").unwrap(), (2, "a10g".into()));
        assert_eq!(gpus("--gpus", "2").unwrap(), (2, String::new()));
        assert!(gres("tpu:1").is_err());
    }
}
