//! `pcluster-keeper run DIR` holds one run; `pcluster-keeper child DIR` is the short life between fork and the job,
//! `steps DIR` that between fork and a step daemon beside it.
//!
//! Invariant: user ids change only in `child.rs`, in a process that becomes the job or ends; the keeper itself never
//! opens a path that a user controls. One thread, no runtime, no configuration.
//!
//! Deliberately absent: the network, the cluster, and any decision that the order does not spell out.

mod child;
mod claim;
mod finish;
mod hold;
mod steps;
mod sys;

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
};

/// Lines of one keeper's log: commands come as often as a user likes.
const NOTES_MOST: u32 = 1_000;
static NOTES: AtomicU32 = AtomicU32::new(0);

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match (arguments.first().and_then(|word| word.to_str()), arguments.get(1), arguments.len()) {
        (Some("run"), Some(dir), 2) => hold::run(&PathBuf::from(dir)),
        (Some("child"), Some(dir), 2) => child::run(&PathBuf::from(dir)),
        (Some("steps"), Some(dir), 2) => child::run_steps(&PathBuf::from(dir)),
        (Some("--version"), None, 1) => {
            drop(writeln!(io::stdout(), "pcluster-keeper {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        _ => {
            note(
                "usage: pcluster-keeper run DIR (DIR holds order.json; started by pcluster-agent)",
            );
            ExitCode::from(2)
        }
    }
}

/// A line in the log, which is whatever standard error is: `keeper.log` under an agent.
fn note(line: &str) {
    if NOTES.fetch_add(1, Ordering::Relaxed) >= NOTES_MOST {
        return;
    }
    drop(writeln!(io::stderr(), "pcluster-keeper: {line}"));
}

/// An error as users read it: without the number the standard library adds.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
