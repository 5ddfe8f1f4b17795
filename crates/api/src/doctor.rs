//! What `doctor` finds: one thing that was looked at, how it is, and what to do about it.
//!
//! Invariant: whoever looks (the command, the head's program, a provider) says it in these words, and
//! a finding that needs somebody says what to do. Deliberately absent: looking, and how it is shown.
use serde::{Deserialize, Serialize};

/// What a finding is about; also what `pcluster doctor` may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// `cluster.toml`.
    Config,
    /// The head itself, and the state it keeps.
    Head,
    /// The machine that this is: programs, user, memory, disk, clock, open files.
    Machine,
    /// Where nodes come from, and nodes that did not come.
    Provider,
    /// What nodes boot from.
    Image,
    /// How nodes reach the head, and what it reaches.
    Network,
    /// Shared paths, and the disks below them.
    Storage,
}

impl Topic {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Config,
        Self::Head,
        Self::Machine,
        Self::Provider,
        Self::Image,
        Self::Network,
        Self::Storage,
    ];

    /// The word of the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Head => "head",
            Self::Machine => "machine",
            Self::Provider => "provider",
            Self::Image => "image",
            Self::Network => "network",
            Self::Storage => "storage",
        }
    }
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Good to know; nothing has to be done.
    Note,
    /// Jobs fail or wait for it, or soon will.
    Attention,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub topic: Topic,
    pub level: Level,
    /// One line without a full stop.
    pub what: String,
    /// Why it matters, or what was seen; empty where `what` says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do, each a command or a line for `cluster.toml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Finding {
    fn new(topic: Topic, level: Level, what: impl Into<String>) -> Self {
        Self { topic, level, what: what.into(), why: String::new(), hints: Vec::new() }
    }

    /// It is as it should be.
    #[must_use]
    pub fn ok(topic: Topic, what: impl Into<String>) -> Self {
        Self::new(topic, Level::Ok, what)
    }

    /// Good to know.
    #[must_use]
    pub fn note(topic: Topic, what: impl Into<String>) -> Self {
        Self::new(topic, Level::Note, what)
    }

    /// Somebody must do something.
    #[must_use]
    pub fn attention(topic: Topic, what: impl Into<String>) -> Self {
        Self::new(topic, Level::Attention, what)
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Everything that was looked at: `pcluster doctor --json`, and what the head's program tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorView {
    /// `pcluster.doctor/1`.
    pub schema: String,
    /// Empty where no file names it.
    pub cluster: String,
    /// How many findings need somebody.
    pub attention: usize,
    /// By topic, in the order of [`Topic::ALL`].
    pub findings: Vec<Finding>,
}

impl DoctorView {
    /// Sorted by topic; what was found first stays first, and nothing is said twice.
    #[must_use]
    pub fn new(cluster: impl Into<String>, found: Vec<Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::with_capacity(found.len());
        for one in found {
            if !findings.contains(&one) {
                findings.push(one);
            }
        }
        findings.sort_by_key(|one| one.topic);
        let attention = findings.iter().filter(|one| one.level == Level::Attention).count();
        Self { schema: "pcluster.doctor/1".into(), cluster: cluster.into(), attention, findings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_by_topic_and_nothing_is_said_twice() {
        let disk = Finding::attention(Topic::Storage, "the disk is full").hint("make room");
        let found = vec![disk.clone(), Finding::ok(Topic::Config, "right"), disk.clone()];
        let view = DoctorView::new("lab", found);
        assert_eq!((view.attention, view.findings.len()), (1, 2));
        assert_eq!(view.findings[1], disk);
        let json = serde_json::to_string(&view.findings[0]).unwrap();
        assert_eq!(json, r#"{"topic":"config","level":"ok","what":"right"}"#);
    }

    #[test]
    fn the_words_of_topics_are_those_of_the_json() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.word());
        }
    }
}
