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
