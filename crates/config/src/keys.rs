//! The one key table: every key of `cluster.toml` with its type, default, meaning and whether this
//! version acts on it. The parser, `config explain` and `docs/config.md` all read it.
//!
//! Invariant: a key that is not here does not exist. A `*` in a path stands for a name that the
//! file chooses. Deliberately absent: any code that acts on a key.
mod general;
mod pools;

use std::sync::LazyLock;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A path; `~` is the home of whoever started `pcluster`.
    Path,
    Bool,
    /// A whole number within bounds, both included.
    Count {
        min: u64,
        max: u64,
    },
    /// `80` or `"80 %"`.
    Percent,
    Size,
    Duration,
    /// A duration or this word, which switches the limit off.
    DurationOr(&'static str),
    Price,
    Money,
    /// `2` or `"2 rtx4090"`.
    Gpus,
    Texts,
    /// Host lists: `["ws[01-08]"]`.
    Hosts,
    OneOf(&'static [&'static str]),
    /// `true`, `false` or this word.
    BoolOr(&'static str),
    /// `head`, `mounted`, `nfs:HOST:/PATH`, `efs:ID`, `fsx:ID/MOUNTNAME`.
    ShareFrom,
    /// `ADDRESS:PORT`.
    Listen,
    /// A table whose keys are rows of their own.
    Table,
    /// `[[name]]`: several tables of the same keys.
    TableList,
}

impl Kind {
    /// What it is, as a noun with its article.
    #[must_use]
    pub fn noun(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Path => "a path".into(),
            Self::Bool => "true or false".into(),
            Self::Count { .. } => "a whole number".into(),
            Self::Percent => "a percentage".into(),
            Self::Size => "a size".into(),
            Self::Duration => "a length of time".into(),
            Self::DurationOr(word) => format!("a length of time or \"{word}\""),
            Self::Price => "a price per hour".into(),
            Self::Money => "an amount of money".into(),
            Self::Gpus => "a number of GPUs, with or without their type".into(),
            Self::Texts => "a list of texts".into(),
            Self::Hosts => "a list of hosts".into(),
            Self::OneOf(words) => format!("one of {}", quoted(words)),
            Self::BoolOr(word) => format!("true, false or \"{word}\""),
            Self::ShareFrom => "who holds a shared path".into(),
            Self::Listen => "an address with a port".into(),
            Self::Table => "a table".into(),
            Self::TableList => "a list of tables".into(),
        }
    }

    /// A right value, as it is written in the file.
    #[must_use]
    pub fn example(self) -> String {
        match self {
            Self::Text => "\"text\"".into(),
            Self::Path => "\"/shared\"".into(),
            Self::Bool => "true".into(),
            Self::Count { min, max } => 10.clamp(min, max).to_string(),
            Self::Percent => "\"80 %\"".into(),
            Self::Size => "\"500 GB\"".into(),
            Self::Duration | Self::DurationOr(_) => "\"10 min\"".into(),
            Self::Price => "\"$0.05/h\"".into(),
            Self::Money => "\"$500\"".into(),
            Self::Gpus => "\"1 rtx4090\"".into(),
            Self::Texts => "[\"one\", \"two\"]".into(),
            Self::Hosts => "[\"ws[01-08]\"]".into(),
            Self::OneOf(words) => format!("\"{}\"", words.first().unwrap_or(&"")),
            Self::BoolOr(word) => format!("true or \"{word}\""),
            Self::ShareFrom => "\"head\", \"mounted\" or \"nfs:HOST:/PATH\"".into(),
            Self::Listen => "\"10.0.0.1:7443\"".into(),
            Self::Table => "{ … }".into(),
            Self::TableList => "[[…]]".into(),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// Whether this version acts on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Acts,
    /// Accepted, with one note.
    Noted,
    /// Accepted by `config check`; `up` refuses, because money or safety hangs on it.
    UpRefuses,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `head.address`, `pools.*.max`.
    pub path: &'static str,
    pub kind: Kind,
    /// As it would be written, or in words in parentheses; empty when there is none.
    pub default: &'static str,
    pub status: Status,
    pub meaning: &'static str,
}

/// Short form for the tables of this module.
const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    status: Status,
    meaning: &'static str,
) -> Key {
    Key { path, kind, default, status, meaning }
}

/// All rows, in the order of `docs/config.md`.
#[must_use]
pub fn all() -> &'static [Key] {
    static ALL: LazyLock<Vec<Key>> =
        LazyLock::new(|| [general::FIRST, pools::ROWS, general::REST].concat());
    &ALL
}

/// The row of exactly this pattern.
#[must_use]
pub fn find(pattern: &str) -> Option<&'static Key> {
    all().iter().find(|key| key.path == pattern)
}

/// The last segment of each row directly below `pattern` (the top level for an empty one),
/// wildcards left out.
#[must_use]
pub fn children(pattern: &str) -> Vec<&'static str> {
    let names = all().iter().filter_map(|key| {
        let rest = if pattern.is_empty() {
            key.path
        } else {
            key.path.strip_prefix(pattern)?.strip_prefix('.')?
        };
        (!rest.contains('.') && rest != "*").then_some(rest)
    });
    names.collect()
}

/// `pattern` with one more segment.
#[must_use]
pub fn join(pattern: &str, segment: &str) -> String {
    if pattern.is_empty() { segment.to_string() } else { format!("{pattern}.{segment}") }
}

/// The short form of the file where there is one: `compute` rather than `pools.*`.
#[must_use]
pub fn spoken(pattern: &str) -> &str {
    match pattern {
        "" => "the file",
        "pools.*" => "a pool",
        "shapes.*" => "a shape",
        "images.*" => "an image",
        "hosts.*" => "a host",
        "shares.*" => "a shared path",
        "maintenance" => "a maintenance window",
        "external.*" => "an external provider",
        other => other,
    }
}

/// The row that a path of the file follows: `pools.gpu.max` follows `pools.*.max`.
#[must_use]
pub fn of_path<S: AsRef<str>>(path: &[S]) -> Option<&'static Key> {
    let fits = |key: &&Key| {
        let mut segments = key.path.split('.');
        path.iter().all(|part| {
            segments.next().is_some_and(|segment| segment == "*" || segment == part.as_ref())
        }) && segments.next().is_none()
    };
    all().iter().find(fits)
}
