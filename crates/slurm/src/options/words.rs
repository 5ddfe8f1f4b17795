//! What was said: options with their values and where each was said, in order of importance.
use super::{Opt, Table, Takes};
use std::fmt;

/// Where an option was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Line,
    /// The variable of this name.
    Variable(String),
    /// This line of the script, and the mark that it starts with.
    Script { line: usize, mark: &'static str },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("the command line"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Script { line, mark } => write!(f, "line {line} of the script ({mark})"),
        }
    }
}

/// One option as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub option: &'static Opt,
    /// `None`: it takes none, or none was given to one that may have one.
    pub value: Option<String>,
    pub origin: Origin,
}

/// Options in order of importance, the last one counts; and the words after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    pub said: Vec<Said>,
    pub rest: Vec<String>,
}

impl Words {
    /// The last time that one of these options was said.
    #[must_use]
    pub fn last_of(&self, names: &[&str]) -> Option<&Said> {
        self.said.iter().rev().find(|said| names.contains(&said.option.name))
    }

    /// The last time that this option was said.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Said> {
        self.last_of(&[name])
    }

    /// True when the option was said.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// The value that counts; empty when the option was said without one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.last(name).map(|said| said.value.as_deref().unwrap_or(""))
    }

    /// How often it was said: `-vvv`.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.said.iter().filter(|said| said.option.name == name).count()
    }

    /// Adds what is more important.
    #[must_use]
    pub fn then(mut self, more: Self) -> Self {
        self.said.extend(more.said);
        self.rest.extend(more.rest);
        self
    }
}

/// A flag is said this often at most.
const MOST_TIMES: usize = 8;

/// Options of variables: `(variable, long name)` in the order of `pairs`. A flag's variable counts
/// unless it says `no` or `0`; a number says how often (`SBATCH_DEBUG=2` is `-vv`).
pub fn from_environment(
    table: &Table,
    pairs: &[(&str, &str)],
    variable: impl Fn(&str) -> Option<String>,
) -> Words {
    let mut words = Words::default();
    for (name, long) in pairs {
        let (Some(option), Some(value)) = (table.long(long), variable(name)) else { continue };
        let origin = Origin::Variable((*name).to_owned());
        let refused = ["no", "n", "0", "false"].iter().any(|no| value.eq_ignore_ascii_case(no));
        match option.takes {
            Takes::Nothing if refused => {}
            Takes::Nothing => {
                let times = value.parse().unwrap_or(1).clamp(1, MOST_TIMES);
                words.said.extend(vec![Said { option, value: None, origin }; times]);
            }
            Takes::Value(_) if value.is_empty() => {}
            Takes::Value(_) | Takes::Maybe(_) | Takes::MaybeNext(_) => {
                let value = Some(value).filter(|value| !value.is_empty());
                words.said.push(Said { option, value, origin });
            }
        }
    }
    words
}
