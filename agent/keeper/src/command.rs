//! The commands a keeper takes: one line each on its control FIFO.
//!
//! Invariant: `Command::from_str(&command.to_string())` is the command. A line is shorter than `PIPE_BUF`, so lines of
//! several writers do not mix.

use std::{fmt, str::FromStr};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// Longest reason of an `end`, in characters.
const MAX_REASON: usize = 200;

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every process of the run, the main process included; the step daemon is none of the user's and spared.
    #[default]
    All,
    /// The main process only: the batch shell, or the program it became by `exec`.
    Batch,
    /// Every process but the main one.
    Children,
    /// The tasks of steps, and what they started.
    Steps,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `signal NAME_OR_NUMBER [all|batch|children|steps]`: send a signal.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Who gets it.
        target: Target,
    },
    /// `end GRACE_MS REASON`: TERM to all, KILL after the grace; the outcome is `Cancelled{reason}`.
    End {
        /// Milliseconds from TERM to KILL.
        grace_ms: u64,
        /// Why; line ends and control characters become spaces.
        reason: String,
    },
    /// `full USED_BYTES WORDS`: as `end`, with the grace of the order; the outcome is `DiskFull{used_bytes}`.
    Full {
        /// What the run uses of the node's disk.
        used_bytes: u64,
        /// The same for people.
        words: String,
    },
    /// `kill`: KILL to all, now.
    Kill,
    /// `suspend`: all stand still, and so does the time limit.
    Suspend,
    /// `resume`: CONT to all.
    Resume,
    /// `extend LIMIT_MS`: another time limit, counted from the start; 0 is none.
    Extend {
        /// The new limit in milliseconds, `None` for none.
        limit_ms: Option<u64>,
    },
    /// `steps`: start the step daemon of the order beside the main process, unless it runs.
    Steps,
    /// `done`: the agent has collected the records. Keepers leave by themselves; the word is kept for later ones.
    Done,
}

/// A line that is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The first word is not known.
    #[error("unknown command {0:?}")]
    Unknown(String),
    /// A signal that is neither a known name nor a known number.
    #[error("unknown signal {0:?}")]
    Signal(String),
    /// A word that should be another one.
    #[error("{0:?} is not {1}")]
    Word(String, &'static str),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal { signal, target } => {
                let target = match target {
                    Target::All => "all",
                    Target::Batch => "batch",
                    Target::Children => "children",
                    Target::Steps => "steps",
                };
                write!(f, "signal {signal} {target}")
            }
            Self::End { grace_ms, reason } => write!(f, "end {grace_ms} {}", clean(reason).trim()),
            Self::Full { used_bytes, words } => {
                write!(f, "full {used_bytes} {}", clean(words).trim())
            }
            Self::Kill => f.write_str("kill"),
            Self::Suspend => f.write_str("suspend"),
            Self::Resume => f.write_str("resume"),
            Self::Extend { limit_ms } => write!(f, "extend {}", limit_ms.unwrap_or(0)),
            Self::Steps => f.write_str("steps"),
            Self::Done => f.write_str("done"),
        }
    }
}

/// Line ends and control characters become spaces.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "signal" => {
                let (name, target) = rest.split_once(' ').unwrap_or((rest, "all"));
                let signal =
                    signal_number(name).ok_or_else(|| CommandError::Signal(name.into()))?;
                let target = match target.trim() {
                    "all" => Target::All,
                    "batch" => Target::Batch,
                    "children" => Target::Children,
                    "steps" => Target::Steps,
                    other => {
                        let known = "all, batch, children or steps";
                        return Err(CommandError::Word(other.into(), known));
                    }
                };
                Ok(Self::Signal { signal, target })
            }
            "end" => {
                let (grace, reason) = rest.split_once(' ').unwrap_or((rest, "cancel"));
                Ok(Self::End {
                    grace_ms: millis(grace)?,
                    reason: reason.trim().chars().take(MAX_REASON).collect(),
                })
            }
            "full" => {
                let (used, words) = rest.split_once(' ').unwrap_or((rest, ""));
                let used_bytes = used
                    .parse()
                    .map_err(|_| CommandError::Word(used.into(), "a number of bytes"))?;
                Ok(Self::Full {
                    used_bytes,
                    words: words.trim().chars().take(MAX_REASON).collect(),
                })
            }
            "kill" => Ok(Self::Kill),
            "suspend" => Ok(Self::Suspend),
            "resume" => Ok(Self::Resume),
            "extend" => Ok(Self::Extend { limit_ms: Some(millis(rest)?).filter(|ms| *ms > 0) }),
            "steps" => Ok(Self::Steps),
            "done" => Ok(Self::Done),
            other => Err(CommandError::Unknown(other.chars().take(80).collect())),
        }
    }
}

fn millis(word: &str) -> Result<u64, CommandError> {
    word.parse().map_err(|_| CommandError::Word(word.into(), "a number of milliseconds"))
}

/// The signals users may name. Real-time signals are left out: no scheduler command sends them.
const SIGNALS: [(&str, Signal); 29] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("SYS", Signal::SYS),
];

/// The number of a signal given as `TERM`, `SIGTERM`, `term` or `15`; `None` for anything else.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return signal_name(number).map(|_| number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.iter().find(|(known, _)| *known == short).map(|(_, signal)| signal.as_raw())
}

/// The name of a signal without `SIG`, or `None` for a number that users cannot send.
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number).map(|(name, _)| *name)
}
