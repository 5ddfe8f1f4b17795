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

/// A key nobody else has: with it, a request whose answer was lost can be sent again.
///
/// # Errors
/// The system has no random numbers.
pub fn random_key() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::refused(format!("no random number: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
