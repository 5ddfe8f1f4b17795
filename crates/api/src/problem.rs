//! What went wrong, as people and programs read it.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds, each with its HTTP status and the exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request itself is malformed. 400, exit code 2.
    BadRequest,
    /// Understood and refused. 409, exit code 3.
    Refused,
    /// No such job, node or pool. 404, exit code 4.
    NotFound,
    /// The caller has no right to do this. 403, exit code 5.
    NotAllowed,
    /// The head cannot take this now (starting, stopping, disk full). 503, exit code 3.
    Unavailable,
    /// The time given ran out. 504, exit code 7.
    Timeout,
    /// Other steps of the allocation hold what this one needs: later. 429, exit code 3.
    Busy,
}

impl ProblemKind {
    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Refused => 409,
            Self::NotFound => 404,
            Self::NotAllowed => 403,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Busy => 429,
        }
    }

    /// Exit code of the documented table.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::BadRequest => 2,
            Self::Refused | Self::Unavailable | Self::Busy => 3,
            Self::NotFound => 4,
            Self::NotAllowed => 5,
            Self::Timeout => 7,
        }
    }
}

/// An error as the head tells it: `error:` line, facts below it, `hint:` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub kind: ProblemKind,
    /// One line: what, on what, why.
    pub message: String,
    /// Label and text, shown below the message in order.
    #[serde(default)]
    pub facts: Vec<(String, String)>,
    /// What to do; each becomes a `hint:` line.
    #[serde(default)]
    pub hints: Vec<String>,
    /// A stable word for those who say it in their own words: `no_pool`, `too_large`, … Empty where
    /// nobody needs one.
    #[serde(default)]
    pub word: String,
}

impl Problem {
    #[must_use]
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            facts: Vec::new(),
            hints: Vec::new(),
            word: String::new(),
        }
    }

    #[must_use]
    pub fn fact(mut self, label: &str, text: impl Into<String>) -> Self {
        self.facts.push((label.into(), text.into()));
        self
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }
}
