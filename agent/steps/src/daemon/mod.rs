//! The step daemon of one run on one node: the parent of all tasks of all steps there.
//!
//! Invariant: it is a user's process like any other. What it tells the head goes through the agent's
//! client socket, and the agent brings it streams of those who may speak with it. It ends when it is
//! told to and no task is left. Deliberately absent: limits and usage of the run (the keeper's).
mod agent;
mod bind;
mod exit;
mod gpus;
mod input;
mod library;
mod memory;
mod orphans;
mod others;
mod output;
mod proc;
mod spawn;
mod step;
mod steps;
mod task;
mod usage;

use crate::files::{self, Before};
use pcluster_wire::NODE_ITSELF;
use rustix::fs::Mode;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The node's own daemon ends when nobody has spoken with it for this long.
const UNUSED: Duration = Duration::from_secs(60);

/// What the daemon knows from its environment.
#[derive(Debug, Clone)]
pub struct Place {
    /// The agent's client socket.
    pub socket: PathBuf,
    pub run: u64,
    /// This node's place in the allocation.
    pub rank: u32,
    pub node: String,
    /// Open files that tasks start with.
    pub files: Before,
    /// The mask of files that the job has.
    pub umask: u32,
}

impl Place {
    /// Of the environment of a run; the daemon's own open files are raised. Variables: `PCLUSTER_SOCKET PCLUSTER_RUN_ID PCLUSTER_NODE SLURM_NODEID`.
    ///
    /// # Errors
    /// Which variable is missing.
    pub fn of_environment() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let run = text("PCLUSTER_RUN_ID")?;
        let rank = text("SLURM_NODEID")?;
        Ok(Self {
            socket: PathBuf::from(text("PCLUSTER_SOCKET")?),
            run: run.parse().map_err(|_| format!("PCLUSTER_RUN_ID is not a number: {run}"))?,
            rank: rank.parse().map_err(|_| format!("SLURM_NODEID is not a number: {rank}"))?,
            node: text("PCLUSTER_NODE")?,
            files: files::raise(),
            // Files of tasks get exactly the mode that the step's mask leaves.
            umask: rustix::process::umask(Mode::empty()).bits(),
        })
    }

    /// Of the node itself, and of no run.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.run == NODE_ITSELF.0
    }
}

/// Runs the daemon until it is told to end; `args` are the words after `stepd`. With the word `task`
/// it becomes a task instead: that is how the daemon starts them.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut words = args.into_iter();
    if words.next().is_some_and(|word| word == "task") {
        let order = words.next().unwrap_or_default();
        return task::become_task(&order.to_string_lossy(), words.collect());
    }
    let place = match Place::of_environment() {
        Ok(place) => place,
        Err(why) => {
            eprintln!("stepd: error: {why}; it is started by the agent of a node");
            return ExitCode::from(2);
        }
    };
    if place.is_node() {
        // The kernel shall end what people start here before it ends the agent, which may be spared.
        drop(std::fs::write("/proc/self/oom_score_adj", "0"));
    } else {
        orphans::end(&place);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(serve(place));
            // Threads that wait for what has ended already are not waited for.
            runtime.shutdown_background();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("stepd: error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(place: Place) {
    let is_node = place.is_node();
    let steps = steps::Steps::new(place);
    tokio::spawn(agent::listen(steps.clone()));
    tokio::select! {
        () = told_to_end(&steps) => {}
        // That of a run stays as long as the run; the agent starts the node's own again.
        () = unused(&steps), if is_node => {}
    }
}

/// Until nobody has spoken with this daemon for a while.
async fn unused(steps: &steps::Steps) {
    let mut since = Instant::now();
    while since.elapsed() < UNUSED {
        tokio::time::sleep(UNUSED / 10).await;
        if steps.is_used() {
            since = Instant::now();
        }
    }
}

/// A signal to all of the job reaches the tasks as well; here it only means that the end is near.
async fn told_to_end(steps: &steps::Steps) {
    // Signals for tasks that reach every process of the run must not end the daemon.
    for kind in [SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()] {
        keep_away(kind);
    }
    for kind in [SignalKind::interrupt(), SignalKind::quit(), SignalKind::alarm()] {
        keep_away(kind);
    }
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    terminate.recv().await;
    steps.close().await;
}

fn keep_away(kind: SignalKind) {
    if let Ok(mut signals) = signal(kind) {
        tokio::spawn(async move { while signals.recv().await.is_some() {} });
    }
}
