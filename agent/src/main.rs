//! `pcluster-agent`: what runs on every node.
//!
//! `run DIR` is the agent proper. `machine DIR` is a process node: it plays the machine on which an
//! agent runs. `sweep DIR` ends everything that a node left behind. DIR holds `join.json`. `stepd` is
//! something else: a process of a job, the parent of the tasks of its steps there (`pcluster_steps`).
mod accounts;
mod agent;
mod blobs;
mod bootlog;
mod cage;
mod clock;
mod door;
mod facts;
mod gpus;
mod identity;
mod link;
mod machine;
mod mounts;
mod node_dir;
mod notice;
mod order;
mod output;
mod programs;
mod run;
mod scratch;
mod shares;
mod sweep;
mod terminals;
mod tls;
mod upgrade;
mod verbs;

use clap::Parser as _;
use std::process::ExitCode;

/// The agent's exit code when it is done for good: its machine ends with it.
const EXIT_LEAVE: u8 = 40;
/// The exit code when `DIR` or the order in it cannot be used, or a part of the agent broke off.
const EXIT_BROKEN: u8 = 41;

fn main() -> ExitCode {
    verbs::Arguments::parse().obey().unwrap_or_else(|error| {
        clock::say(&format!("error: {error:#}"));
        ExitCode::from(EXIT_BROKEN)
    })
}
