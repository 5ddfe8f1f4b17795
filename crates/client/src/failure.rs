//! Why a command ends without having done what was asked, and with which exit code.
//!
//! Invariant: every failure that reaches `main` is a [`Failure`], shown once in one frame. The codes
//! are those of the documented table. Deliberately absent: writing to a terminal (`say`).
use crate::text::{clean, facts};
use pcluster_api::client::ClientError;
use pcluster_api::places::PlacesError;
use pcluster_api::{Problem, ProblemKind};
use std::io;

/// Exit codes of the documented table.
pub mod code {
    pub const DONE: u8 = 0;
    /// The job failed, or something needs attention.
    pub const ATTENTION: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const REFUSED: u8 = 3;
    pub const NO_SUCH: u8 = 4;
    pub const NO_HEAD: u8 = 6;
    pub const TIMEOUT: u8 = 7;
    /// `run`, `wait` and `--wait` give the job's own code; this is their own trouble.
    pub const OWN_TROUBLE: u8 = 255;
}

/// How a command ended: the exit code of a success, or why it failed.
pub type Outcome = Result<u8, Failure>;

/// What went wrong, in the words people see.
#[derive(Debug)]
pub enum Failure {
    /// `error:`, facts, `hint:` lines, exit code.
    Told { problem: Problem, code: u8 },
    /// Already rendered by somebody who knows better (configuration errors with their lines).
    Rendered { text: String, code: u8 },
    /// The reader of our output went away: not worth a word.
    ClosedPipe,
}

impl Failure {
    /// Understood and refused: exit code 3.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Told { problem: Problem::new(ProblemKind::Refused, message), code: code::REFUSED }
    }

    /// Not a way to call this command: exit code 2.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Told { problem: Problem::new(ProblemKind::BadRequest, message), code: code::USAGE }
    }

    /// There is no such thing: exit code 4.
    #[must_use]
    pub fn no_such(message: impl Into<String>) -> Self {
        Self::Told { problem: Problem::new(ProblemKind::NotFound, message), code: code::NO_SUCH }
    }

    /// Nobody answers: exit code 6.
    #[must_use]
    pub fn no_head(message: impl Into<String>) -> Self {
        Self::Told { problem: Problem::new(ProblemKind::Unavailable, message), code: code::NO_HEAD }
    }

    /// Time ran out: exit code 7.
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::Told { problem: Problem::new(ProblemKind::Timeout, message), code: code::TIMEOUT }
    }

    #[must_use]
    pub fn fact(mut self, label: &str, text: impl Into<String>) -> Self {
        if let Self::Told { problem, .. } = &mut self {
            problem.facts.push((label.into(), text.into()));
        }
        self
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { problem, .. } = &mut self {
            problem.hints.push(text.into());
        }
        self
    }

    /// The same failure of a command that gives a job's exit code: 255.
    #[must_use]
    pub fn own_trouble(mut self) -> Self {
        if let Self::Told { code, .. } | Self::Rendered { code, .. } = &mut self {
            *code = code::OWN_TROUBLE;
        }
        self
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Told { code, .. } | Self::Rendered { code, .. } => *code,
            Self::ClosedPipe => code::DONE,
        }
    }

    /// The whole frame as text, `width` columns wide.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        match self {
            Self::Told { problem, .. } => problem_frame(problem, width),
            Self::Rendered { text, .. } => text.clone(),
            Self::ClosedPipe => String::new(),
        }
    }
}

fn problem_frame(problem: &Problem, width: usize) -> String {
    let mut out = format!("error: {}\n", clean(&problem.message));
    // One label alone still stands apart from its text as in the other frames.
    let longest = problem.facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    out.push_str(&facts(&problem.facts, (longest + 2).max(9), width));
    for hint in &problem.hints {
        out.push_str(&format!("hint: {}\n", clean(hint)));
    }
    out
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => {
                let code = problem.kind.exit_code();
                Self::Told { problem, code }
            }
            ClientError::NoHead { place, source } => Self::no_head("no head answers")
                .fact("looked at", format!("{place}: {source}"))
                .hint("pcluster up         start it here"),
            ClientError::Lost(why) => Self::no_head("the head went away before it answered")
                .fact("cause", why)
                .hint("pcluster status     is it back? what was asked may have been done or not"),
            ClientError::Silent(waited) => {
                Self::timeout(format!("the head has not answered for {} s", waited.as_secs()))
                    .hint("pcluster status")
            }
            ClientError::Unreadable(why) => Self::refused("the head's answer cannot be read")
                .fact("cause", why)
                .hint("pcluster version    the head and this command may be of two versions"),
        }
    }
}

impl From<PlacesError> for Failure {
    fn from(error: PlacesError) -> Self {
        let failure = Self::refused(error.to_string());
        match error {
            PlacesError::SocketPathTooLong(_) => {
                failure.hint("PCLUSTER_RUNTIME_DIR=/tmp/pc names a shorter folder")
            }
            PlacesError::NoHome => failure.hint("export HOME, or PCLUSTER_STATE_DIR"),
            PlacesError::NotYours { .. }
            | PlacesError::OpenToOthers { .. }
            | PlacesError::Io { .. } => failure,
        }
    }
}

/// A failed write to stdout or stderr; a closed pipe ends a command silently.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::refused(format!("cannot write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_under_each_other_and_hints_below() {
        let failure = Failure::refused("no node of this cluster can hold this job")
            .fact("asked", "8 CPUs, 300 GB on one node")
            .fact("largest", "r6i.8xlarge in pool highmem: 32 CPUs, 242 GB")
            .hint("--mem 242G fits");
        insta::assert_snapshot!(failure.render(80), @r"
        error: no node of this cluster can hold this job
          asked    8 CPUs, 300 GB on one node
          largest  r6i.8xlarge in pool highmem: 32 CPUs, 242 GB
        hint: --mem 242G fits
        ");
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn control_characters_of_others_are_shown_and_not_obeyed() {
        let failure = Failure::no_such("no job `\u{1b}[2J\u{202e}x`");
        assert_eq!(failure.render(80), "error: no job `\\u{1b}[2J\\u{202e}x`\n");
    }
}
