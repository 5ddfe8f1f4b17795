//! What is wrong with a file, and what else there is to say about it.
//!
//! Invariant: a problem is about the file's text, has a place in it where there is one, and says
//! what is allowed. Deliberately absent: rendering (`render`).
use serde::Serialize;
use std::ops::Range;

/// What sort of problem, for `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The text is not TOML.
    Syntax,
    UnknownKey,
    WrongType,
    BadValue,
    BadName,
    /// Something that must be there is not.
    Missing,
    /// Two things that cannot both be true.
    Conflict,
}

/// One error in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// One line, without a full stop.
    pub message: String,
    /// Bytes of the text; `None` when it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// Line of the span's first character, from 1; 0 without a span.
    pub line: usize,
    /// Column in characters, from 1; 0 without a span.
    pub column: usize,
    /// Stands beside the caret.
    pub label: String,
    pub hints: Vec<String>,
}

impl Problem {
    /// A problem at `span`; its line and column are filled in by [`Places::locate`].
    #[must_use]
    pub fn new(kind: ProblemKind, message: impl Into<String>, span: Option<Range<usize>>) -> Self {
        Self {
            kind,
            message: message.into(),
            span,
            line: 0,
            column: 0,
            label: String::new(),
            hints: Vec::new(),
        }
    }

    /// With the text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// How loud a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Note,
    Warning,
}

/// Something true about a right file that its writer should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub level: Level,
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    pub text: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
        };
        write!(f, "{level}: {}", self.text)
    }
}

/// A key of the file that this version does not act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inactive {
    /// As written: `pools.compute.spot`, or `[ec2]` for a whole table.
    pub path: String,
    pub line: usize,
    /// True when `pcluster up` refuses the file for it.
    pub up_refuses: bool,
}

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// The file, at this line.
    File {
        line: usize,
    },
    /// The file, at this line, by another key: a pool takes `provider` from the five lines.
    Inherited {
        line: usize,
        key: String,
    },
    Default,
    /// A default that depends on the provider.
    ProviderDefault {
        provider: String,
    },
    /// Computed from this machine's size or the file's place.
    Machine,
    Catalogue {
        region: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { line } => write!(f, "line {line}"),
            Self::Inherited { line, key } => write!(f, "line {line}, {key}"),
            Self::Default => f.write_str("default"),
            Self::ProviderDefault { provider } => write!(f, "default of {provider}"),
            Self::Machine => f.write_str("from this machine"),
            Self::Catalogue { region } => write!(f, "catalogue of {region}"),
        }
    }
}

/// One value that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveValue {
    /// `pools.compute.max`.
    pub path: String,
    /// As it would be written in the file, or in words in parentheses.
    pub value: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub origin: Origin,
    pub meaning: String,
    /// False when this version does not act on it.
    pub acts: bool,
}

/// Turns byte offsets into lines and columns.
#[derive(Debug)]
pub struct Places<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Places<'t> {
    /// Reads the line starts of `text` once.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect();
        Self { text, line_starts }
    }

    /// The line of a byte, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self, at: usize) -> usize {
        let start = self.line_starts[self.line(at) - 1];
        let end = at.min(self.text.len());
        self.text.get(start..end).map_or(1, |before| before.chars().count() + 1)
    }

    /// Fills in the line and column of a problem.
    pub fn locate(&self, problem: &mut Problem) {
        if let Some(span) = &problem.span {
            problem.line = self.line(span.start);
            problem.column = self.column(span.start);
        }
    }
}
