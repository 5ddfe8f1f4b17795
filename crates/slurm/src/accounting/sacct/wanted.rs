//! What a call of `sacct` asks for: options and variables become a value.
//!
//! Invariant: what cannot be meant is refused before the head is asked. Deliberately absent: reading
//! words of the command line (`options`).
use super::fields::{BRIEF, DEFAULT, FIELDS, LONG};
use super::rows::Row;
use crate::accounting::table::{Chosen, columns as chosen};
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::columns::Look;
use crate::words::jobid::{self, JobId};
use crate::words::{Clock, State, clock, hosts};
use pcluster_api::RecordsQuery;

/// The moments between which a job must have been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What is wanted. Lists are `None` where everything is.
#[derive(Debug)]
pub struct Wanted {
    pub jobs: Vec<JobId>,
    pub users: Option<Vec<String>>,
    pub accounts: Option<Vec<String>>,
    pub groups: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub partitions: Option<Vec<String>>,
    pub qos: Option<Vec<String>>,
    pub nodes: Option<Vec<String>>,
    pub features: Option<Vec<String>>,
    pub reasons: Option<Vec<String>>,
    pub states: Option<Vec<State>>,
    /// Seconds, at least and at most.
    pub limit: (Option<i64>, Option<i64>),
    pub node_count: Option<(u64, u64)>,
    pub cpu_count: Option<(u64, u64)>,
    pub window: Window,
    /// `-X` is false.
    pub steps: bool,
    /// `-D`.
    pub attempts: bool,
    /// `--array`.
    pub unfolded: bool,
    pub header: bool,
    pub look: Look,
    pub unit: Option<char>,
    pub truncate: bool,
    pub columns: Vec<Chosen<Row>>,
    pub json: bool,
    /// `-B`.
    pub script: bool,
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn wrong(text: impl AsRef<str>) -> Refusal {
    Refusal::error("sacct", text, 1)
}

fn fatal(text: impl AsRef<str>) -> Refusal {
    Refusal::fatal("sacct", text)
}

/// All values of an option that may be said again: `-j 1 -j 2,3`.
fn said(words: &Words, name: &str) -> Option<String> {
    let values: Vec<&str> = words
        .said
        .iter()
        .filter(|said| said.option.name == name)
        .filter_map(|said| said.value.as_deref())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn states(text: &str) -> Result<Vec<State>, Refusal> {
    let state = |word: &String| {
        State::parse(word).ok_or_else(|| fatal(format!("unrecognized job state value '{word}'")))
    };
    list(text).iter().map(state).collect()
}

/// `2`, `2-4`.
fn range(option: &str, text: &str) -> Result<(u64, u64), Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parsed = first.trim().parse().ok().zip(last.trim().parse().ok());
    parsed.ok_or_else(|| wrong(format!("invalid {option} range '{text}'")))
}

/// Seconds of `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`.
fn limit(text: &str) -> Result<i64, Refusal> {
    let wrong = || fatal("Invalid time limit specification");
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<i64>().map_err(|_| wrong())?), rest),
        None => (None, text),
    };
    let parts: Vec<i64> =
        rest.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let seconds = match (days, parts.as_slice()) {
        (None, [m]) => m * 60,
        (None, [m, s]) => m * 60 + s,
        (Some(_), [h]) => h * 3600,
        (Some(_), [h, m]) => h * 3600 + m * 60,
        (_, [h, m, s]) => h * 3600 + m * 60 + s,
        _ => return Err(wrong()),
    };
    Ok(days.unwrap_or(0) * 86_400 + seconds)
}

fn window(words: &Words, has_states: bool, now: &Clock) -> Result<Window, Refusal> {
    let moment = |name: &str| -> Result<Option<i64>, Refusal> {
        let Some(text) = words.value(name) else { return Ok(None) };
        let read = clock::moment(text, &now.now());
        read.map(Some).ok_or_else(|| {
            Refusal::plain(format!("Invalid time specification (pos=0): {text}"), 1)
                .hint("2026-11-24T08:00, 08:00, now-2hours, midnight")
        })
    };
    let (from, to) = (moment("starttime")?, moment("endtime")?);
    let by_id = words.has("jobs");
    let from_ms = from.unwrap_or_else(|| match (by_id, has_states) {
        (true, _) => 0,
        (false, false) => clock::midnight(&now.now()),
        (false, true) => to.unwrap_or(now.now_ms),
    });
    let to_ms = to.unwrap_or(match (from, has_states) {
        // With states a moment is meant, where only its beginning was said.
        (Some(from), true) => from,
        _ => now.now_ms,
    });
    // What has just been submitted is within `now`, whatever the clocks of two machines say.
    let to_ms = if to_ms >= now.now_ms { i64::MAX } else { to_ms };
    if from_ms > to_ms {
        let (from, to) = (now.standard(from_ms), now.standard(to_ms));
        return Err(wrong(format!("Start time ({from}) requested is after end time ({to}).")));
    }
    Ok(Window { from_ms, to_ms })
}

impl Wanted {
    /// What these options mean for the user `uid` at this moment; `variable` reads the environment.
    ///
    /// # Errors
    /// A value that means nothing, or options that exclude each other.
    pub fn of(
        words: &Words,
        uid: u32,
        now: &Clock,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Refusal> {
        if let Some(word) = words.rest.first() {
            return Err(wrong("Unknown arguments:").line(format!("sacct: error:  {word}")));
        }
        let named = |option: &str| said(words, option).map(|text| list(&text));
        let jobs = match said(words, "jobs") {
            Some(text) => jobid::list(&text)
                .map_err(|word| fatal(format!("Bad job/step specified: {word}")))?,
            None => Vec::new(),
        };
        let states = said(words, "state").map(|text| states(&text)).transpose()?;
        // As in Slurm, the later of both counts, and the user -1 is everybody.
        let last = words.last_of(&["allusers", "uid"]);
        let all = last.is_some_and(|said| said.value.as_deref().is_none_or(|who| who == "-1"));
        let everybody = all || words.has("jobs") || uid == 0;
        let users = named("uid").filter(|_| !all);
        let users = users.or_else(|| (!everybody).then(|| vec![uid.to_string()]));
        let nodes = words.value("nodelist").map(|text| {
            hosts::expand(text)
                .ok_or_else(|| wrong(format!("'{text}' invalid entry for --nodelist")))
        });
        let at = |name: &str| words.value(name).map(limit).transpose();
        Ok(Self {
            window: window(words, states.is_some(), now)?,
            users,
            accounts: named("accounts"),
            groups: named("gid"),
            names: named("name"),
            partitions: named("partition"),
            qos: named("qos"),
            nodes: nodes.transpose()?,
            features: named("constraints"),
            reasons: named("reason"),
            states,
            limit: (at("timelimit-min")?, at("timelimit-max")?),
            node_count: words.value("nnodes").map(|text| range("node", text)).transpose()?,
            cpu_count: words.value("ncpus").map(|text| range("cpu", text)).transpose()?,
            steps: !words.has("allocations"),
            attempts: words.has("duplicates"),
            unfolded: words.has("array"),
            header: !words.has("noheader"),
            look: look(words),
            unit: unit(words)?,
            truncate: words.has("truncate"),
            columns: columns(words, variable)?,
            json: words.has("json"),
            script: script(words)?,
            jobs,
        })
    }

    /// The one question to the head.
    #[must_use]
    pub fn query(&self) -> RecordsQuery {
        let asked: Vec<String> = self.jobs.iter().map(JobId::asked).collect();
        // Users by number are picked from the answer.
        let by_name = |list: &Option<Vec<String>>| {
            let number = |name: &String| name.starts_with(|c: char| c.is_ascii_digit());
            list.as_ref().filter(|list| !list.iter().any(number)).map(|list| list.join(","))
        };
        RecordsQuery {
            ids: (!asked.is_empty()).then(|| asked.join(",")),
            users: by_name(&self.users),
            names: by_name(&self.names),
            ended_since_ms: asked.is_empty().then_some(self.window.from_ms),
            ended: !asked.is_empty(),
            attempts: self.attempts,
            steps: true,
        }
    }
}

fn look(words: &Words) -> Look {
    let separator = words.value("delimiter").unwrap_or("|").to_owned();
    match words.last_of(&["parsable", "parsable2"]).map(|said| said.option.name) {
        Some("parsable2") => Look::Separated(separator),
        Some(_) => Look::Ended(separator),
        None => Look::Aligned,
    }
}

fn unit(words: &Words) -> Result<Option<char>, Refusal> {
    let Some(text) = words.value("units") else { return Ok(None) };
    let letter = text.chars().next().map(|c| c.to_ascii_uppercase());
    match letter.filter(|letter| "KMGTP".contains(*letter)) {
        Some(letter) => Ok(Some(letter)),
        None => Err(fatal("Invalid unit type")),
    }
}

fn script(words: &Words) -> Result<bool, Refusal> {
    if words.has("batch-script") && !words.has("jobs") {
        return Err(fatal(
            "When requesting batch script you must also request specific jobs with the '-j' option.",
        ));
    }
    Ok(words.has("batch-script"))
}

fn columns(
    words: &Words,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Chosen<Row>>, Refusal> {
    let format = said(words, "format");
    if format.is_some() && words.has("long") {
        let text = "Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry.";
        return Err(fatal(text));
    }
    let own = variable("SACCT_FORMAT").filter(|text| !text.is_empty());
    let text = match format {
        Some(text) => text,
        None if words.has("brief") => BRIEF.to_owned(),
        None if words.has("long") => LONG.to_owned(),
        None => own.unwrap_or_else(|| DEFAULT.to_owned()),
    };
    chosen("sacct", FIELDS, &text)
}
