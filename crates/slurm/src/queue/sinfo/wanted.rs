//! What a call of `sinfo` asks for: options and variables become a value.
//!
//! Invariant: what cannot be meant is refused before the head is asked. Deliberately absent: reading
//! words of the command line (`options`).
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::{NodeState, hosts};

const DEFAULT: &str = "%#P %.5a %.10l %.6D %.6t %N";
const SUMMARY: &str = "%#P %.5a %.10l %.16F %N";
const LONG: &str = "%#P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %N";
const NODES: &str = "%#N %.6D %.#P %6t";
const NODES_LONG: &str = "%#N %.6D %.#P %.11T %4c %.8z %.6m %.8d %.6w %.8f %20E";
const REASONS: &str = "%20E %9u %19H %N";
const REASONS_LONG: &str = "%20E %12U %19H %6t %N";

/// What is wanted. Lists are `None` where everything is.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub header: bool,
    pub long: bool,
    /// `-o`, or the format of the other options.
    pub letters: String,
    /// `-O`.
    pub names: Option<String>,
    pub by_node: bool,
    pub exact: bool,
    pub dead: bool,
    pub responding: bool,
    pub reasons: bool,
    pub reservations: bool,
    pub partitions: Option<Vec<String>>,
    pub nodes: Option<Vec<String>>,
    pub states: Option<Vec<String>>,
    pub sort: Option<String>,
    pub json: bool,
    pub iterate_seconds: Option<u64>,
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl Wanted {
    /// What these options mean; `variable` reads the environment.
    ///
    /// # Errors
    /// A value that means nothing.
    pub fn of(words: &Words, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let wrong = |text: String| Refusal::error("sinfo", text, 1);
        let partitions = words.value("partition").map(str::to_owned);
        let mut wanted = Self {
            header: !words.has("noheader"),
            long: words.has("long"),
            names: words.value("Format").map(str::to_owned),
            by_node: words.has("Node"),
            exact: words.has("exact"),
            dead: words.has("dead"),
            responding: words.has("responding"),
            reasons: words.has("list-reasons"),
            reservations: words.has("reservation"),
            partitions: partitions.or_else(|| variable("SINFO_PARTITION")).map(|text| list(&text)),
            sort: words.value("sort").map(str::to_owned).or_else(|| variable("SINFO_SORT")),
            json: words.has("json"),
            ..Self::default()
        };
        let own_lists = wanted.long || wanted.by_node || wanted.reasons || words.has("summarize");
        let told = variable("SINFO_FORMAT").filter(|text| !text.is_empty() && !own_lists);
        wanted.letters = match words.value("format") {
            Some(text) => text.to_owned(),
            None => told.unwrap_or_else(|| wanted.built_in(words.has("summarize")).to_owned()),
        };
        if let Some(text) = words.value("nodes") {
            let names = hosts::expand(text);
            wanted.nodes =
                Some(names.ok_or_else(|| wrong(format!("'{text}' invalid entry for --nodes")))?);
        }
        if let Some(text) = words.value("states") {
            let states = list(text);
            let known = |part: &str| NodeState::Idle.is_meant(part).is_some();
            if let Some(bad) = states.iter().find(|word| !word.split('&').all(known)) {
                let valid = "down,idle,allocated,mixed,drain,drained,draining,no_respond,powering_up,powering_down,all";
                return Err(wrong(format!("Bad state string: \"{bad}\""))
                    .line(format!("sinfo: error: valid states: {valid}")));
            }
            wanted.states = Some(states);
        }
        if let Some(text) = words.value("iterate") {
            let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
            wanted.iterate_seconds =
                Some(seconds.ok_or_else(|| wrong(format!("--iterate={text}")))?);
        }
        Ok(wanted)
    }

    const fn built_in(&self, summary: bool) -> &'static str {
        match (summary, self.by_node, self.reasons, self.long) {
            (true, ..) => SUMMARY,
            (_, true, _, false) => NODES,
            (_, true, _, true) => NODES_LONG,
            (_, _, true, false) => REASONS,
            (_, _, true, true) => REASONS_LONG,
            (.., true) => LONG,
            _ => DEFAULT,
        }
    }

    /// A partition without any node has a line of its own, unless only some nodes are wanted.
    #[must_use]
    pub const fn shows_empty(&self) -> bool {
        self.nodes.is_none() && self.states.is_none() && !self.by_node && !self.reasons
    }
}
