//! `admin`: the state directory is checked, copied and brought back, and machines that a lost state
//! has left are decided about.
//!
//! Invariant: the head's own program works on the directory, because only it knows the state; this
//! finds the directory and says who is meant. Machines are the running head's.

use super::up::{find_head, run_head};
use crate::cluster::{Global, head, need_file, surroundings};
use crate::config_file;
use crate::failure::{Outcome, code};
use crate::say;
use clap::{Args, Subcommand};
use pcluster_api::UnloggedRequest;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// Check, copy and bring back the state of the cluster
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster admin verify              the log, its rows, the ledger and the files agree
  pcluster admin backup /safe/copy   a copy while the head runs, checked
  pcluster admin restore /safe/copy  on this or another machine, before its first `up`
  pcluster admin rebuild             the rows anew from the log, with the head down
  pcluster admin incident 42 >file   what happened to job 42, without names, for a report
  pcluster admin terminate           end machines of which a restored state knows nothing
  pcluster admin adopt               or let what runs there end first")]
pub struct AdminArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What to do with the state.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Check the log against its rows, the ledger and the files beside it; the head may be running
    #[command(after_help = "\
Examples:
  pcluster admin verify            exit code 1 when something is not in order
  pcluster admin verify --json     for a monitor")]
    Verify,
    /// Copy the state to a new folder while the head may be running; the copy is checked
    #[command(after_help = "\
Examples:
  pcluster admin backup /safe/copy-$(date +%F)     a folder that is not there yet")]
    Backup {
        #[arg(value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Make the state from a copy; the head must be down and have no state yet
    #[command(after_help = "\
Examples:
  pcluster admin restore /safe/copy && pcluster up     running nodes know the head again")]
    Restore {
        #[arg(value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Print one file about what happened to a job or a node, without names, texts and paths
    #[command(after_help = "\
Examples:
  pcluster admin incident 42 > incident.json     a job; tasks belong to their array
  pcluster admin incident 7.0 > incident.json    a node, by its id in `pcluster nodes --json`")]
    Incident {
        #[arg(value_name = "JOB|NODE")]
        about: String,
    },
    /// Make the rows anew from the log; the head must be down
    #[command(after_help = "\
Examples:
  pcluster down && pcluster admin rebuild && pcluster up")]
    Rebuild,
    /// Take in machines that were launched after the copy this state was made from
    ///
    /// They are billed here from the provider's time on and get no jobs; each goes when what runs
    /// there has ended. Nothing is launched before an admin has decided about every such machine.
    #[command(after_help = "\
Examples:
  pcluster status                  names machines of launches that the log does not know
  pcluster admin adopt             all of them
  pcluster admin adopt p-7.0       this one
  pcluster admin terminate         ends them instead")]
    Adopt(Unlogged),
    /// End machines that were launched after the copy this state was made from
    ///
    /// What runs there ends with them, and they are billed here from the provider's time on.
    #[command(after_help = "\
Examples:
  pcluster status                  names machines of launches that the log does not know
  pcluster admin terminate         all of them, with all that runs there
  pcluster admin terminate p-7.0   this one
  pcluster admin adopt             lets what runs there end first")]
    Terminate(Unlogged),
}

/// Machines that the log does not know.
#[derive(Debug, Args)]
pub struct Unlogged {
    /// The provider's name, as `status` has it; without one all of them
    #[arg(value_name = "INSTANCE")]
    pub instances: Vec<String>,
}

async fn decide(global: &Global, of: &Unlogged, verb: &str) -> Outcome {
    let request = UnloggedRequest { instances: of.instances.clone() };
    let answer = head(global)?.client.act_on_unlogged(&request, verb).await?;
    if global.json {
        say::json(&answer)?;
    } else {
        say::line(&answer.said);
    }
    Ok(code::DONE)
}

/// `admin`.
///
/// # Errors
/// No file of a cluster, no program of the head; what it finds wrong is its own exit code.
pub async fn run(global: &Global, args: &AdminArgs) -> Outcome {
    match &args.what {
        What::Verify => on_state(global, "verify", None),
        What::Backup { to } => on_state(global, "backup", Some(to.as_os_str())),
        What::Restore { from } => on_state(global, "restore", Some(from.as_os_str())),
        What::Incident { about } => on_state(global, "incident", Some(OsStr::new(about))),
        What::Rebuild => on_state(global, "rebuild", None),
        What::Adopt(of) => decide(global, of, "adopt").await,
        What::Terminate(of) => decide(global, of, "terminate").await,
    }
}

fn on_state(global: &Global, verb: &str, word: Option<&OsStr>) -> Outcome {
    let here = surroundings();
    let file = need_file(global, &here)?;
    let loaded = config_file::load(&file)?;
    let name = config_file::config(&loaded)?.name.clone();
    let places = here.places(&name)?;
    let mut command = Command::new(find_head()?);
    command.arg(verb).arg("--state").arg(&places.state_dir);
    if global.json {
        command.arg("--json");
    }
    run_head(command.args(word))
}
