//! What travels with a submitted script: the script, the environment, facts of this process, and
//! the words of times, arrays and dependencies.
pub mod environment;
pub mod process;
pub mod script;
pub mod words;
