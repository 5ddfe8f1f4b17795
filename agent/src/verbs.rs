//! The words after `pcluster-agent`.
use crate::node_dir::NodeDir;
use crate::{agent, machine, sweep};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The node agent of pcluster. It is started by a provider and talks to its head only.
#[derive(Debug, Parser)]
#[command(name = "pcluster-agent", version)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Connect to the head and run its jobs; jobs go on when this ends.
    Run { dir: PathBuf },
    /// Be a node: run the agent, start it again when it dies, end everything at the end.
    Machine { dir: PathBuf },
    /// Run the tasks of a job's steps, as the job's user; the keeper starts it.
    Stepd {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// End every process of a node and remove its scratch; idempotent.
    Sweep { dir: PathBuf },
}

impl Arguments {
    pub fn obey(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Run { dir } => NodeDir::open(&dir).and_then(agent::run),
            Verb::Machine { dir } => NodeDir::open(&dir).and_then(machine::run),
            Verb::Stepd { words } => Ok(pcluster_steps::daemon::main(words)),
            Verb::Sweep { dir } => NodeDir::open(&dir).and_then(|dir| sweep::run(&dir)),
        }
    }
}
