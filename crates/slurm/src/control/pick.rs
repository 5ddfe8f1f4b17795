//! Which jobs the filters of `scancel` mean.
//!
//! Invariant: every filter that is said must hold. Deliberately absent: asking the head.
use crate::options::Words;
use crate::refusal::Refusal;
use crate::words::jobid::{self, JobId, Tasks};
use crate::words::{State, hosts, job};
use pcluster_api::JobRecord;

const COMMAND: &str = "scancel";

/// What the filters say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filters {
    pub users: Vec<String>,
    name: Option<String>,
    pool: Option<String>,
    account: Option<String>,
    qos: Option<String>,
    states: Vec<State>,
    nodes: Vec<String>,
    /// Reservations and keys that nothing here has.
    nothing: bool,
}

impl Filters {
    /// Reads them.
    ///
    /// # Errors
    /// A state that `scancel` does not know, a list of nodes that is none.
    pub fn of(words: &Words, me: &str) -> Result<Self, Refusal> {
        let said = |name: &str| words.value(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let mut users: Vec<String> = said("user").into_iter().collect();
        if words.has("me") {
            users.push(me.to_owned());
        }
        Ok(Self {
            users,
            name: said("name"),
            pool: said("partition"),
            account: said("account"),
            qos: said("qos"),
            states: states(words.value("state"))?,
            nodes: match words.value("nodelist") {
                None => Vec::new(),
                Some(text) => hosts::expand(text).ok_or_else(|| {
                    Refusal::error(COMMAND, format!("Invalid node name: {text}"), 1)
                })?,
            },
            nothing: words.has("reservation") || words.has("wckey"),
        })
    }

    /// True when none was said.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// True when the job is of one of the users.
    pub fn hold_user(&self, record: &JobRecord) -> bool {
        let user = |user: &String| *user == record.user || *user == record.uid.to_string();
        self.users.is_empty() || self.users.iter().any(user)
    }

    /// True when all of them hold.
    pub fn hold(&self, record: &JobRecord) -> bool {
        let is =
            |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|f| f == value);
        let on = |name: &String| record.node_names.contains(name);
        !self.nothing
            && self.hold_user(record)
            && is(&self.name, &record.name)
            && is(&self.pool, &record.pool)
            && is(&self.account, &record.account)
            && is(&self.qos, job::qos(record))
            && (self.states.is_empty() || self.states.contains(&cancelled_as(record)))
            && (self.nodes.is_empty() || self.nodes.iter().any(on))
    }
}

/// A job whose node boots counts as running: it has its nodes.
fn cancelled_as(record: &JobRecord) -> State {
    match State::of(record) {
        State::Configuring | State::Completing => State::Running,
        state => state,
    }
}

fn states(text: Option<&str>) -> Result<Vec<State>, Refusal> {
    let words = text.unwrap_or_default().split(',').filter(|word| !word.is_empty());
    let state = |word: &str| {
        let state = State::parse(word);
        state
            .filter(|s| matches!(s, State::Pending | State::Running | State::Suspended))
            .ok_or_else(|| {
                Refusal::plain(format!("Invalid job state specified: {word}"), 1)
                    .line("Valid job states are PENDING, RUNNING, and SUSPENDED")
            })
    };
    words.map(state).collect()
}

/// The ids of the operands; commas between them are taken, too.
///
/// # Errors
/// The first word that is no id.
pub(super) fn ids(rest: &[String]) -> Result<Vec<JobId>, Refusal> {
    let mut found = Vec::new();
    for word in rest {
        let more = jobid::list(word)
            .map_err(|_| Refusal::error(COMMAND, format!("Invalid job id {word}"), 1))?;
        if more.iter().any(|id| id.job == 0) {
            return Err(Refusal::error(COMMAND, format!("Invalid job id {word}"), 1));
        }
        found.extend(more);
    }
    Ok(found)
}

/// An id without its step as the head reads it.
#[must_use]
pub(super) fn asked(id: &JobId) -> String {
    match &id.tasks {
        Tasks::All => id.job.to_string(),
        Tasks::Ranges(ranges) => {
            let words: Vec<String> = ranges
                .iter()
                .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
                .collect();
            match words.as_slice() {
                [one] if !one.contains('-') => format!("{}_{one}", id.job),
                _ => format!("{}_[{}]", id.job, words.join(",")),
            }
        }
    }
}

/// The id of a record as the head reads it: without the throttle that lists show.
#[must_use]
pub(super) fn id_of(record: &JobRecord) -> String {
    match (record.task, &record.tasks) {
        (Some(task), _) if record.array => format!("{}_{task}", record.job),
        (None, Some(tasks)) => format!("{}_[{tasks}]", record.job),
        _ => record.job.to_string(),
    }
}
