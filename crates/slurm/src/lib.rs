//! The Slurm face: `sbatch`, `squeue`, `srun` and their like, as one more client of the head.
//!
//! Invariant: translation only. Nothing here decides about jobs, and nothing of Slurm's words is
//! known below this room but the environment of a job (`core::agent::env`). What clients match
//! (first words of errors, widths, exit codes) is Slurm's; what helps people comes after it as
//! `hint:` lines on stderr. Deliberately absent: state, and any door to the head but its HTTP
//! interface.
/// A line for people, on stderr. Whoever has closed it hears nothing, and what is done goes on.
macro_rules! tell {
    ($($words:tt)*) => {
        $crate::talk(format!("{}\n", format_args!($($words)*)))
    };
}

pub mod accounting;
pub mod control;
pub mod fuzzed;
pub mod grammar;
pub mod options;
pub mod queue;
pub mod refusal;
pub mod steps;
pub mod submit;

pub mod ask;
pub mod json;
pub mod words;

mod context;
mod people;
#[cfg(test)]
mod tests;

pub use context::Context;

use std::ffi::OsString;

/// Every name this room answers to.
pub const NAMES: [&str; 14] = [
    "sbatch", "srun", "salloc", "squeue", "scancel", "sinfo", "sacct", "scontrol", "sacctmgr",
    "sshare", "sstat", "sprio", "seff", "sattach",
];

/// The version that `--version` says. Clients compare it: below 22.05 some leave out options.
pub const VERSION: &str = "slurm 23.11.10";

/// The command that a program of this file name is; `None` for anything that is not Slurm's.
#[must_use]
pub fn command_of(argv0: &OsString) -> Option<&'static str> {
    let name = std::path::Path::new(argv0).file_name()?;
    NAMES.into_iter().find(|known| name == *known)
}

/// Runs a command to its exit code. `args` are the words after the name.
pub async fn run(command: &'static str, args: Vec<OsString>, context: Context) -> u8 {
    let args: Vec<String> =
        args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match command {
        "sbatch" => submit::sbatch(args, context).await,
        "srun" => steps::srun(args, context).await,
        "salloc" => steps::salloc(args, context).await,
        "sattach" => steps::sattach(args, context).await,
        "squeue" => queue::squeue(args, context).await,
        "scancel" => control::scancel(args, context).await,
        "sinfo" => queue::sinfo(args, context).await,
        "scontrol" => control::scontrol(args, context).await,
        "sprio" => queue::sprio(args, context).await,
        "sacct" => accounting::sacct(args, context).await,
        "sacctmgr" => accounting::sacctmgr(args, context).await,
        "sshare" => accounting::sshare(args, context).await,
        "sstat" => accounting::sstat(args, context).await,
        _ => accounting::seff(args, context).await,
    }
}

/// Talk goes where it can: a terminal that is gone ends nothing.
pub(crate) fn talk(text: String) {
    use std::io::Write as _;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
