//! What a call of `squeue` asks for: options and variables become a value.
//!
//! Invariant: what cannot be meant is refused before the head is asked. Deliberately absent: reading
//! words of the command line (`options`).
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::State;
use crate::words::jobid::{self, JobId};
use pcluster_api::RecordsQuery;

/// `-o` or `-O`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Letters(String),
    Names(String),
}

/// What is printed where nothing is said.
const DEFAULT: &str = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R";
const LONG: &str = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R";
const START: &str = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R";

/// What is wanted. Lists are `None` where everything is.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub accounts: Option<Vec<String>>,
    pub jobs: Vec<JobId>,
    pub users: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub partitions: Option<Vec<String>>,
    pub qos: Option<Vec<String>>,
    pub nodes: Option<Vec<String>>,
    /// There are none: whoever asks for one gets nothing.
    pub reservation: Option<String>,
    /// `None`: those that have not ended.
    pub states: Option<Vec<State>>,
    /// `-r`.
    pub unfolded: bool,
    pub header: bool,
    pub long: bool,
    pub format: Format,
    /// `format` was asked for.
    pub format_given: bool,
    pub sort: Option<String>,
    /// `-s`: steps instead of jobs, all of them or these.
    pub steps: Option<Vec<JobId>>,
    pub json: bool,
    /// `--noconvert`.
    pub mebibytes: bool,
    pub iterate_seconds: Option<u64>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            accounts: None,
            jobs: Vec::new(),
            users: None,
            names: None,
            partitions: None,
            qos: None,
            nodes: None,
            reservation: None,
            states: None,
            unfolded: false,
            header: true,
            long: false,
            format: Format::Letters(DEFAULT.to_owned()),
            format_given: false,
            sort: None,
            steps: None,
            json: false,
            mebibytes: false,
            iterate_seconds: None,
        }
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn states(text: &str) -> Result<Vec<State>, Refusal> {
    let mut out = Vec::new();
    for word in list(text) {
        if word.eq_ignore_ascii_case("all") {
            let all = State::all_long();
            return Ok(all.into_iter().filter_map(State::parse).collect());
        }
        match State::parse(&word) {
            Some(state) => out.push(state),
            None => {
                let valid = State::all_long().join(",");
                let error = format!("Invalid job state specified: {word}");
                return Err(Refusal::error("squeue", error, 1)
                    .line(format!("squeue: error: Valid job states include: {valid}")));
            }
        }
    }
    Ok(out)
}

fn ids(text: &str) -> Result<Vec<JobId>, Refusal> {
    jobid::list(text).map_err(|word| Refusal::error("squeue", format!("Invalid job id: {word}"), 1))
}

impl Wanted {
    /// What these options mean for the user `uid`; `variable` reads the environment.
    ///
    /// # Errors
    /// A value that means nothing, or options that exclude each other.
    pub fn of(
        words: &Words,
        uid: u32,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Refusal> {
        let named = |option: &str, name: &str| {
            let said = words.value(option).map(str::to_owned);
            said.or_else(|| variable(name).filter(|value| !value.is_empty()))
                .map(|text| list(&text))
        };
        let mut wanted = Self {
            accounts: named("account", "SQUEUE_ACCOUNT"),
            users: named("user", "SQUEUE_USERS"),
            names: named("name", "SQUEUE_NAMES"),
            partitions: named("partition", "SQUEUE_PARTITION"),
            qos: named("qos", "SQUEUE_QOS"),
            reservation: words.value("reservation").map(str::to_owned),
            unfolded: words.has("array")
                || words.has("array-unique")
                || variable("SQUEUE_ARRAY").is_some(),
            header: !words.has("noheader"),
            long: words.has("long"),
            sort: words.value("sort").map(str::to_owned).or_else(|| variable("SQUEUE_SORT")),
            json: words.has("json"),
            mebibytes: words.has("noconvert"),
            ..Self::default()
        };
        if words.has("me") {
            wanted.users = Some(vec![uid.to_string()]);
        }
        let said_states =
            words.value("states").map(str::to_owned).or_else(|| variable("SQUEUE_STATES"));
        wanted.states = said_states.map(|text| states(&text)).transpose()?;
        wanted.read_ids(words)?;
        wanted.read_format(words, variable)?;
        if let Some(text) = words.value("nodelist") {
            let wrong =
                || Refusal::error("squeue", format!("'{text}' invalid entry for --nodelist"), 1);
            wanted.nodes = Some(super::nodes_of(text).ok_or_else(wrong)?);
        }
        if let Some(text) = words.value("iterate") {
            let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
            let wrong = || Refusal::error("squeue", format!("--iterate={text}"), 1);
            wanted.iterate_seconds = Some(seconds.ok_or_else(wrong)?);
        }
        Ok(wanted)
    }

    fn read_ids(&mut self, words: &Words) -> Result<(), Refusal> {
        let mut rest = words.rest.iter();
        for said in words.said.iter().filter(|said| said.option.name == "jobs") {
            self.jobs = ids(said.value.as_deref().unwrap_or(""))?;
        }
        if words.has("jobs") && self.jobs.is_empty() {
            self.jobs = rest.next().map_or(Ok(Vec::new()), |text| ids(text))?;
        }
        if words.has("steps") {
            let mut steps = ids(words.value("steps").unwrap_or(""))?;
            if steps.is_empty() {
                steps = rest.next().map_or(Ok(Vec::new()), |text| ids(text))?;
            }
            self.steps = Some(steps);
        }
        match rest.next() {
            Some(word) => Err(Refusal::error("squeue", format!("Unrecognized option: {word}"), 1)
                .hint("ids are given by -j: squeue -j 41,42")),
            None => Ok(()),
        }
    }

    fn read_format(
        &mut self,
        words: &Words,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Refusal> {
        let (letters, names) = (words.value("format"), words.value("Format"));
        self.format_given = letters.is_some() || names.is_some();
        self.format = match (letters, names) {
            (Some(_), Some(_)) => {
                let error = "-O (--Format) is incompatible with -o (--format)";
                return Err(Refusal::error("squeue", error, 1));
            }
            (Some(_), None) if self.long => {
                let error = "Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry.";
                return Err(Refusal::fatal("squeue", error));
            }
            (Some(text), None) => Format::Letters(text.to_owned()),
            (None, Some(text)) => Format::Names(text.to_owned()),
            (None, None) if words.has("start") => Format::Letters(START.to_owned()),
            (None, None) if self.long => Format::Letters(LONG.to_owned()),
            (None, None) if self.steps.is_some() => Format::Letters(DEFAULT.to_owned()),
            (None, None) => match (variable("SQUEUE_FORMAT"), variable("SQUEUE_FORMAT2")) {
                (Some(text), _) if !text.is_empty() => Format::Letters(text),
                (_, Some(text)) if !text.is_empty() => Format::Names(text),
                _ => Format::Letters(DEFAULT.to_owned()),
            },
        };
        if words.has("start") && self.steps.is_none() {
            self.sort.get_or_insert_with(|| "S".to_owned());
            self.states.get_or_insert_with(|| vec![State::Pending]);
        }
        Ok(())
    }

    /// The one question to the head.
    #[must_use]
    pub fn query(&self, now_ms: i64) -> RecordsQuery {
        let asked: Vec<String> = self.jobs.iter().map(JobId::asked).collect();
        // Users by number and names with commas are picked from the answer.
        let by_name = |list: &Option<Vec<String>>| {
            let plain = list.as_ref().filter(|list| {
                list.iter().all(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
            });
            plain.map(|list| list.join(","))
        };
        let ends = self.states.as_ref().is_some_and(|list| list.iter().any(|state| state.is_end()));
        RecordsQuery {
            ids: (!asked.is_empty()).then(|| asked.join(",")),
            users: by_name(&self.users),
            names: by_name(&self.names),
            ended_since_ms: (ends && asked.is_empty()).then(|| now_ms - super::MIN_JOB_AGE_MS),
            // Also when only living ones are wanted: one that has ended is known, and no error.
            ended: !asked.is_empty(),
            attempts: false,
            steps: self.steps.is_some() || self.json,
        }
    }
}
