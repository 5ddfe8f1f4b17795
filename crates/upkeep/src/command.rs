//! The words of the command line; `pcluster admin` finds the state directory and calls this.
use crate::files::UpkeepError;
use crate::verify::Report;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with a state directory.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check the log, its rows, the ledger and the files beside it; the head may be running
    Verify {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Copy the state to a new folder, while the head may be running
    Backup {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[arg(long)]
        json: bool,
        #[arg(value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Make the state directory from a copy; the head must be down and have no state
    Restore {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[arg(long)]
        json: bool,
        #[arg(value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Print one redacted file about what happened to a job (42) or a node (7.0)
    Incident {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[arg(long, hide = true)]
        json: bool,
        #[arg(value_name = "JOB|NODE")]
        about: String,
    },
    /// Make the rows anew from the log; the head must be down
    Rebuild {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

/// Does it; 0 when all is in order, 1 when not.
#[must_use]
pub fn main(command: &Command) -> ExitCode {
    match run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<bool, UpkeepError> {
    match command {
        Command::Verify { state, json } => {
            let report = crate::verify(state)?;
            told(&report, *json, "");
            Ok(report.wrong.is_empty())
        }
        Command::Backup { state, json, to } => {
            told(&crate::backup(state, to)?, *json, &format!("copied to {}\n", to.display()));
            Ok(true)
        }
        Command::Restore { state, json, from } => {
            let report = crate::restore(from, state)?;
            told(&report, *json, &came_back(from, state));
            Ok(true)
        }
        Command::Incident { state, about, .. } => {
            let incident = crate::incident(state, about)?;
            println!("{}", serde_json::to_string(&incident).unwrap_or_default());
            Ok(true)
        }
        Command::Rebuild { state, json } => {
            let made = crate::rebuild(state)?;
            if !json {
                println!("{} rows made from {} events", made.rows, made.events);
            }
            let report = crate::verify(state)?;
            told(&report, *json, "");
            Ok(report.wrong.is_empty())
        }
    }
}

fn came_back(from: &Path, state: &Path) -> String {
    format!("{} is the state of {}: pcluster up\n", state.display(), from.display())
}

fn told(report: &Report, json: bool, first: &str) {
    if json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
        return;
    }
    print!("{first}");
    println!("cluster   {}", report.cluster_id);
    let base =
        if report.base > 0 { format!("the base {} and ", report.base) } else { String::new() };
    println!(
        "log       {base}{} events match their checksums and give the {} rows",
        report.events, report.rows
    );
    println!("state     jobs: {}, nodes: {}", report.jobs, report.nodes);
    println!("blobs     scripts and environments that match their names: {}", report.blobs);
    println!("ledger    bills of machines that are gone: {}", report.spans);
    for wrong in &report.wrong {
        println!("WRONG     {wrong}");
    }
    println!("{}", if report.wrong.is_empty() { "in order" } else { "not in order" });
}
