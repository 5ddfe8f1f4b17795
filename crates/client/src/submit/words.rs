//! The values of options that are more than a number: arrays, dependencies, signals, GPUs, moments.
//!
//! Invariant: every parser is total, and its error names the word, what is allowed and, where there
//! is one, the nearest right thing. Deliberately absent: sizes and times (`pcluster_model::units`).
use crate::failure::Failure;
use jiff::civil::{Date, DateTime, Time};
use jiff::{ToSpan, Zoned};
use pcluster_model::{
    ArraySpec, Dependency, DependencyKind, DurationMs, IndexRanges, JobId, MailEvent, Signal,
    Timestamp, WarnSignal,
};

/// Tasks of one array at most; the ranges of more than that are surely a mistake.
const MAX_ARRAY_TASKS: usize = 1_000_000;
/// The largest index, so that ids stay readable.
const MAX_ARRAY_INDEX: u32 = 4_000_000;

fn wrong(option: &str, word: &str, allowed: &str) -> Failure {
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

/// A job or one task of an array: `42`, `41_3`, `job:42`.
fn job_of(text: &str) -> Option<(JobId, Option<u32>)> {
    let text = text.strip_prefix("job:").unwrap_or(text);
    let (job, task) = match text.split_once('_') {
        Some((job, task)) => (job, Some(task.parse().ok()?)),
        None => (text, None),
    };
    let digits = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit());
    let job = if digits { job.parse().ok()? } else { return None };
    Some((JobId(job), task))
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

/// `afterok:41:42,afterany:43`; `?` between them means that one is enough. The second value says
/// which.
///
/// # Errors
/// An unknown kind, a kind not supported yet, or a word that is not the id of a job.
pub fn dependency(text: &str) -> Result<(Vec<Dependency>, bool), Failure> {
    const ALLOWED: &str = "afterok, afterany, afternotok or after with ids: afterok:41:42";
    let refuse = |word: &str| wrong("--dependency", word, ALLOWED);
    let any = text.contains('?');
    if any && text.contains(',') {
        return Err(refuse(text).hint("either `,` (all of them) or `?` (one is enough), not both"));
    }
    let mut found = Vec::new();
    // A bare id after a comma belongs to afterany, as Slurm reads it.
    for part in text.split([',', '?']) {
        let (kind, ids) = match part.split_once(':') {
            Some((kind, ids)) => (kind, ids),
            None if job_of(part).is_some() => ("afterany", part),
            None => (part, ""),
        };
        let kind = match kind.to_ascii_lowercase().as_str() {
            "after" => DependencyKind::After,
            "afterany" => DependencyKind::AfterAny,
            "afterok" => DependencyKind::AfterOk,
            "afternotok" => DependencyKind::AfterNotOk,
            "aftercorr" | "singleton" | "afterburstbuffer" | "expand" => {
                return Err(Failure::refused(format!("--dependency {kind} is not supported yet"))
                    .fact("allowed", ALLOWED));
            }
            _ => return Err(refuse(part)),
        };
        if ids.is_empty() {
            return Err(refuse(part));
        }
        for word in ids.split(':') {
            if word.contains('+') {
                return Err(Failure::refused(format!("a delay (`{word}`) is not supported yet"))
                    .hint("--begin now+5min with --after-start is near"));
            }
            let (job, task) = job_of(word).ok_or_else(|| refuse(word))?;
            found.push(Dependency { kind, job, task, delay_ms: DurationMs(0) });
        }
    }
    Ok((found, any))
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

/// `[B:]SIG[@SECONDS]`; 60 seconds when not said.
///
/// # Errors
/// No such signal, or seconds that are no number.
pub fn warn_signal(text: &str) -> Result<WarnSignal, Failure> {
    let (batch_only, rest) = match text.strip_prefix("B:") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("R:").unwrap_or(text)),
    };
    let (name, seconds) = rest.split_once('@').unwrap_or((rest, "60"));
    let seconds: u32 = seconds
        .parse()
        .map_err(|_| wrong("--signal", text, "a signal and seconds before the end: USR2@90"))?;
    let signal = signal("--signal", name)?;
    Ok(WarnSignal { signal, before_ms: DurationMs::from_secs(u64::from(seconds)), batch_only })
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

/// A moment: `now+2h`, `18:30`, `tomorrow`, `2026-11-24`, `2026-11-24T08:00`. A time of day that has
/// passed means the next day.
///
/// # Errors
/// Anything else.
pub fn moment(option: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let refuse = || wrong(option, text, "18:30, tomorrow, now+2h, 2026-11-24, 2026-11-24T08:00");
    let word = text.trim().to_ascii_lowercase();
    if let Some(rest) = word.strip_prefix("now") {
        let after = match rest.strip_prefix('+') {
            None if rest.is_empty() => DurationMs::ZERO,
            // A bare number is seconds, as Slurm reads it.
            Some(n) if n.bytes().all(|b| b.is_ascii_digit()) => {
                DurationMs::from_secs(n.parse::<u32>().map_err(|_| refuse())?.into())
            }
            Some(span) => pcluster_model::units::parse_duration(span).map_err(|_| refuse())?,
            None => return Err(refuse()),
        };
        return Ok(Timestamp(now.timestamp().as_millisecond()) + after);
    }
    let at_clock = |clock: Time| -> Result<DateTime, Failure> {
        let today = now.date().to_datetime(clock);
        if today > now.datetime() {
            Ok(today)
        } else {
            today.checked_add(1.day()).map_err(|_| refuse())
        }
    };
    let next_day = || now.date().tomorrow().map_err(|_| refuse());
    let at = match word.as_str() {
        "today" => now.datetime(),
        "tomorrow" => next_day()?.to_datetime(Time::midnight()),
        "midnight" => at_clock(Time::midnight())?,
        "noon" => at_clock(Time::constant(12, 0, 0, 0))?,
        other => match (clock_of(other), other.parse::<Date>()) {
            (Some(clock), _) => at_clock(clock)?,
            (None, Ok(date)) if !other.contains('t') => date.to_datetime(Time::midnight()),
            _ => text.trim().parse::<DateTime>().map_err(|_| refuse())?,
        },
    };
    let zoned = at.to_zoned(now.time_zone().clone()).map_err(|_| refuse())?;
    Ok(Timestamp(zoned.timestamp().as_millisecond()))
}

/// `18:30`, `18:30:15`, and nothing else.
fn clock_of(text: &str) -> Option<Time> {
    let mut fields = [0i8; 3];
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for (field, part) in fields.iter_mut().zip(&parts) {
        *field = part.parse().ok()?;
    }
    Time::new(fields[0], fields[1], fields[2], 0).ok()
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
    fn dependencies_are_read_as_slurm_reads_them() {
        let (found, any) = dependency("afterok:41:42_3,43").unwrap();
        let short: Vec<_> = found.iter().map(|d| (d.kind, d.job.0, d.task)).collect();
        assert_eq!(
            short,
            [
                (DependencyKind::AfterOk, 41, None),
                (DependencyKind::AfterOk, 42, Some(3)),
                (DependencyKind::AfterAny, 43, None),
            ]
        );
        assert!(!any);
        assert!(dependency("afterok:1?afterok:2").unwrap().1);
        for bad in ["afterok", "afterko:1", "singleton", "after:1+5", "afterok:x", ""] {
            assert!(dependency(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let warn = warn_signal("B:SIGUSR2@90").unwrap();
        assert_eq!((warn.signal.0, warn.before_ms.0, warn.batch_only), (12, 90_000, true));
        assert_eq!(warn_signal("10").unwrap().before_ms, DurationMs::from_secs(60));
        assert!(warn_signal("NOPE").is_err());
    }

    #[test]
    fn gpus_have_a_number_and_a_model() {
        assert_eq!(gres("gpu:A10G:2").unwrap(), (2, "a10g".into()));
        assert_eq!(gpus("--gpus", "2").unwrap(), (2, String::new()));
        assert!(gres("tpu:1").is_err());
    }

    #[test]
    fn moments_are_read_in_the_zone_of_the_reader() {
        // A zone without a database: tests run on machines that have none.
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
        let now = jiff::Timestamp::from_second(1_795_440_000).unwrap().to_zoned(zone);
        let said = |text| {
            let at = moment("--begin", text, &now).unwrap();
            let at = jiff::Timestamp::from_millisecond(at.0).unwrap();
            at.to_zoned(now.time_zone().clone()).strftime("%d %H:%M:%S").to_string()
        };
        assert_eq!(said("18:30"), "23 18:30:00");
        assert_eq!(said("14:00"), "24 14:00:00");
        assert_eq!(said("now+2h"), "23 16:20:00");
        assert_eq!(said("now+60"), "23 14:21:00");
        assert_eq!(said("tomorrow"), "24 00:00:00");
        assert_eq!(said("2026-11-30T08:00"), "30 08:00:00");
        assert!(moment("--begin", "soon", &now).is_err());
    }
}
