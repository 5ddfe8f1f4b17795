//! `pcluster-agent`: what runs on every node.
//!
//! `run DIR` is the agent proper. `machine DIR` is a process node: it plays the machine on which an
//! agent runs. `sweep DIR` ends everything that a node left behind. DIR holds `join.json`.
mod agent;
mod blobs;
mod bootlog;
mod cage;
mod clock;
mod commands;
mod door;
mod facts;
mod identity;
mod link;
mod machine;
mod node_dir;
mod order;
mod output;
mod relay;
mod run;
mod streams;
mod sweep;
mod tls;

use clap::{Parser, Subcommand};
use node_dir::NodeDir;
use std::path::PathBuf;
use std::process::ExitCode;

/// The agent's exit code when it is done for good: its machine ends with it.
const EXIT_LEAVE: u8 = 40;
/// The exit code when `DIR` or the order in it cannot be used.
const EXIT_BROKEN: u8 = 41;

/// The node agent of pcluster. It is started by a provider and talks to its head only.
#[derive(Debug, Parser)]
#[command(name = "pcluster-agent", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Connect to the head and run its jobs; jobs go on when this ends.
    Run { dir: PathBuf },
    /// Be a node: run the agent, start it again when it dies, end everything at the end.
    Machine { dir: PathBuf },
    /// End every process of a node and remove its scratch; idempotent.
    Sweep { dir: PathBuf },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run { dir } => NodeDir::open(&dir).and_then(agent::run),
        Verb::Machine { dir } => NodeDir::open(&dir).and_then(machine::run),
        Verb::Sweep { dir } => NodeDir::open(&dir).and_then(|dir| sweep::run(&dir)),
    };
    done.unwrap_or_else(|error| {
        clock::say(&format!("error: {error:#}"));
        ExitCode::from(EXIT_BROKEN)
    })
}
