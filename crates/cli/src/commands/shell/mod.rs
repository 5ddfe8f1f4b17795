//! `shell`: a terminal in a job, or on a node.
//!
//! Invariant: the exit code is that of what ran there; this command's own trouble is 255. In a job
//! it is a step that takes no CPUs from others, so everything about steps holds for it: the job's
//! user, cage, environment and end. Deliberately absent: rights (the head's).
mod place;
mod talk;

use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome};
use crate::say;
use clap::Args;
use pcluster_client::terminal;
use place::Place;

/// Open a terminal in a running job, or on a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster shell 42                        a shell in job 42, on its first node
  pcluster shell 42 --node compute-8       on another of its nodes; also 42/compute-8
  pcluster shell 41_3                      in task 3 of array 41
  pcluster shell 42 -- top                 one command instead of a shell
  pcluster shell 42 -- tar c out | tar x   without a terminal it works as a pipe does
  pcluster shell compute-7                 in a job of yours on that node; without one, and for
                                           admins only, on the node itself

In a job everything is the job's: user, directory, environment, CPUs, memory, TMPDIR. It takes no
CPUs from the job's own steps, and ends with the job. Keys such as Ctrl-C and Ctrl-Z go to the
program there. A head that is killed or restarted only delays what is typed; while the node is out
of reach, Ctrl-C lets go.

The exit code is that of the shell or the command there (128 + signal), and 255 for own trouble.")]
pub struct ShellArgs {
    /// A running job (42, 41_3), one of its nodes (42/compute-7), or a node (compute-7)
    #[arg(value_name = "JOB|NODE")]
    pub what: String,
    /// Which node of the job (default: its first)
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// On the node itself and not in a job of yours there: as its agent's user, for admins
    #[arg(long, conflicts_with = "node")]
    pub outside: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// A command and its arguments instead of a shell
    #[arg(value_name = "CMD", last = true)]
    pub command: Vec<String>,
}

/// `shell`.
///
/// # Errors
/// See [`Failure`]; its own trouble is 255.
pub async fn run(global: &Global, args: &ShellArgs) -> Outcome {
    open(global, args).await.map_err(Failure::own_trouble)
}

async fn open(global: &Global, args: &ShellArgs) -> Outcome {
    if global.json {
        return Err(Failure::usage("shell has no --json: stdout is what runs there")
            .hint("pcluster show JOB --json, pcluster node show NODE --json"));
    }
    let client = head(global)?.client;
    let asked = place::asked(&args.what, args.node.as_deref(), args.outside)?;
    let place = place::find(&client, &asked).await?;
    let has_terminal = terminal::is_here();
    if has_terminal && !args.quiet {
        say::line(welcome(&place));
    }
    talk::converse(&client, &place, &args.command, has_terminal).await
}

/// Where one is, and how to leave.
fn welcome(place: &Place) -> String {
    match place {
        Place::Job { job, node, .. } => {
            let (id, user) = (place::id_of(job), &job.user);
            format!("job {id} on {node}, as {user}; exit leaves, the job goes on")
        }
        Place::Node(node) => {
            format!("node {node} itself, in no job, as its agent's user; exit leaves")
        }
    }
}
