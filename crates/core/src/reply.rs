//! What an input is answered with, once its events are on disk.
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::{JobId, NodeId, RunId, SignalScope};

/// What kind of no. The HTTP room maps it to status and exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    Refused,
    NotFound,
    NotAllowed,
    BadRequest,
    /// Not now; the same may be granted later.
    Busy,
}

/// A no that users see: what, on what, why; facts below it; hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub kind: RejectionKind,
    pub message: String,
    pub facts: Vec<(String, String)>,
    pub hints: Vec<String>,
    /// A stable word for those who say it in their own words; empty where nobody needs one.
    pub word: &'static str,
}

impl Rejection {
    #[must_use]
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), facts: Vec::new(), hints: Vec::new(), word: "" }
    }

    /// Names it for programs.
    #[must_use]
    pub const fn word(mut self, word: &'static str) -> Self {
        self.word = word;
        self
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

/// The answer to one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say (ticks, providers, most of what agents say).
    None,
    Submitted {
        job: JobId,
        repeated: bool,
    },
    /// What was done, in words, and to how many tasks or jobs.
    Done {
        said: String,
        changed: u64,
    },
    /// Signals to be passed on now: node and run (volatile, not repeated).
    Signals {
        runs: Vec<(NodeId, RunId)>,
        signal: i32,
        scope: SignalScope,
    },
    /// The step may start.
    StepGranted {
        run: RunId,
        step: u32,
    },
    Rejected(Rejection),
    /// To the agent that said `Hello`.
    Welcome {
        node: NodeId,
        node_name: String,
        shares: Vec<String>,
        forget: Vec<RunId>,
    },
    /// To the agent: it is not wanted here.
    AgentRefused {
        node: NodeId,
        why: String,
        last: bool,
    },
    /// To the agent: these ends are committed.
    Forget {
        node: NodeId,
        runs: Vec<RunId>,
    },
}
