//! SSH to a machine that holds a head: who is meant, who is trusted, one session and its channels.
//!
//! Invariant: nothing is sent to a machine whose host key is neither pinned nor known to the user, and a key
//! that has changed is never accepted. Deliberately absent: passwords (they cannot be asked for in a script),
//! `~/.ssh/config`, and what is asked of the head.
mod key;
mod link;
mod session;
mod target;
mod trust;

pub use key::NewKey;
pub use link::Link;
pub use session::{Keys, Ran, Session};
pub use target::Target;
pub use trust::Trust;

/// Why there is no session, or no channel in it.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// No answer at that address.
    #[error("{target} does not answer: {why}")]
    NoAnswer { target: Target, why: String },
    /// Nobody has said that this key is the machine's.
    #[error("the host key of {target} is not known here")]
    UnknownHost { target: Target, fingerprint: String },
    /// It is known, and was another one.
    #[error("the host key of {target} has changed")]
    ChangedHost { target: Target, fingerprint: String, known: String },
    /// The machine lets this user in with none of the keys.
    #[error("{target} accepts none of your keys")]
    Denied {
        target: Target,
        /// One line for each key that was tried or could not be.
        tried: Vec<String>,
    },
    /// The session broke.
    #[error("the connection to {target} broke: {why}")]
    Broken { target: Target, why: String },
    /// The machine refuses a channel.
    #[error("{target} refuses: {why}")]
    Refused { target: Target, why: String },
}
