//! The lines that a job finds at the end of its error file: what ended it. Pure: text in, text out.
//!
//! Invariant: the words are those that clients of other schedulers look for, time in the zone of the node.

use serde::{Deserialize, Serialize};

/// What the lines say of the job and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// The job's own number.
    pub job: String,
    /// The node's name for people.
    pub node: String,
    /// Local time less UTC, in seconds.
    #[serde(default)]
    pub utc_offset_s: i64,
}

impl Notices {
    /// The job was told to end; `why` may be empty.
    #[must_use]
    pub fn cancelled(&self, wall_ms: u64, why: &str) -> String {
        let Self { job, node, utc_offset_s } = self;
        let at = local(wall_ms, *utc_offset_s);
        let due = if why.is_empty() { String::new() } else { format!(" DUE TO {why}") };
        format!("slurmstepd-{node}: error: *** JOB {job} ON {node} CANCELLED AT {at}{due} ***\n")
    }

    /// The kernel ended processes of it for want of memory.
    #[must_use]
    pub fn out_of_memory(&self, kills: u64) -> String {
        let Self { job, node, .. } = self;
        let events = if kills == 1 { "event" } else { "events" };
        format!(
            "slurmstepd-{node}: error: Detected {kills} oom_kill {events} in StepId={job}.batch. Some of the step tasks \
             have been OOM Killed.\n"
        )
    }
}

/// The job starts in `/tmp`, because its own directory cannot be entered.
#[must_use]
pub fn elsewhere(dir: &str, why: &str) -> String {
    format!("slurmstepd: error: couldn't chdir to `{dir}': {why}: going to /tmp instead\n")
}

/// `2026-11-23T23:27:02`.
fn local(wall_ms: u64, offset_s: i64) -> String {
    let seconds = i64::try_from(wall_ms / 1000).unwrap_or(0) + offset_s;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar, counted in years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: u64, offset| local(seconds * 1000, offset);
        assert_eq!(at(0, 0), "1970-01-01T00:00:00");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00");
        assert_eq!(at(1_795_476_422, 0), "2026-11-23T23:27:02");
        assert_eq!(at(1_795_476_422, 3_600), "2026-11-24T00:27:02");
        assert_eq!(at(4_107_542_399, -18_000), "2100-02-28T18:59:59");
    }

    #[test]
    fn another_directory_is_told_as_slurm_tells_it() {
        assert_eq!(
            elsewhere("/x", "Permission denied"),
            "slurmstepd: error: couldn't chdir to `/x': Permission denied: going to /tmp instead\n"
        );
    }

    #[test]
    fn the_lines_are_what_clients_look_for() {
        let notices = Notices { job: "157".into(), node: "c1".into(), utc_offset_s: 0 };
        assert_eq!(
            notices.cancelled(1_795_476_422_000, "TIME LIMIT"),
            "slurmstepd-c1: error: *** JOB 157 ON c1 CANCELLED AT 2026-11-23T23:27:02 DUE TO TIME LIMIT ***\n"
        );
        assert!(notices.cancelled(0, "").ends_with("CANCELLED AT 1970-01-01T00:00:00 ***\n"));
        assert!(
            notices.out_of_memory(1).contains("Detected 1 oom_kill event in StepId=157.batch.")
        );
    }
}
