//! What travels with a submitted script: the script, the environment, facts of this process, and
//! the words of times, arrays and dependencies.
mod dependency;
pub mod directives;
pub mod environment;
mod moment;
pub mod process;
pub mod script;
pub mod split;
pub mod words;

use crate::failure::Failure;
use crate::private::{hex, random};

/// A key nobody else has: with it, a request whose answer was lost can be sent again.
///
/// # Errors
/// The system has no random numbers.
pub fn random_key() -> Result<String, Failure> {
    Ok(hex(&random::<16>()?))
}
