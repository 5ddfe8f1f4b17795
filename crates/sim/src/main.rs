//! `pcluster-sim`: runs and replays seeds of the simulated world. Everything is in the library.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    pcluster_sim::cli::main(pcluster_sim::cli::Args::parse())
}
