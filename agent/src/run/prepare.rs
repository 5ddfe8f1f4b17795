//! Everything a keeper needs, put in place: blobs, directory, cgroup, order.
use super::Shared;
use crate::blobs::BlobError;
use crate::cage::plain;
use crate::clock;
use crate::order;
use pcluster_core::agent::env;
use pcluster_keeper::{Durability, ExitRecord, Outcome, RunDir, Usage, write_atomic};
use pcluster_wire::StartOrder;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// The head's order as it came, in the run's directory.
pub const ASKED: &str = "asked.json";
/// How often a blob is asked for before the run goes back to the head.
const TRIES: u32 = 5;

/// Why a run was not started.
#[derive(Debug)]
pub enum Failed {
    /// This node cannot, now; another try may.
    Here(String),
    /// Nobody can; the record of that is on disk.
    ForGood(ExitRecord),
}

/// Makes the run's directory with the order in it: from here on a restarted agent knows of it.
pub fn accept(dir: &RunDir, order: &StartOrder) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir.path())?;
    write_atomic(&dir.path().join(ASKED), &serde_json::to_vec(order)?, Durability::Cached)
}

/// The order of a run that an earlier agent accepted.
pub fn accepted(dir: &RunDir) -> io::Result<Box<StartOrder>> {
    Ok(serde_json::from_slice(&fs::read(dir.path().join(ASKED))?)?)
}

/// Puts everything in place up to `order.json`.
pub async fn prepare(shared: &Shared, order: &StartOrder) -> Result<(), Failed> {
    let dir = shared.dir.run(order.run);
    let here =
        |error: io::Error| Failed::Here(format!("cannot prepare the run: {}", plain(&error)));
    accept(&dir, order).map_err(here)?;
    shared.users.admit(&order.user).await.map_err(|error| Failed::Here(error.to_string()))?;
    let script = (!order::only_steps(order)).then(|| dir.path().join("script"));
    if let Some(script) = &script {
        // Linked at once: the store may make room while the next blob is fetched.
        let blob = fetch(shared, order, Blob::Script).await?;
        link(&blob, script).map_err(here)?;
    }
    let blob = fetch(shared, order, Blob::Environment).await?;
    let environment = fs::read(blob).map_err(here)?;
    let gpus = shared.gpus.take(order.run, order.resources.gpus);
    let others = shared.gpus.files_but(&gpus);
    let cgroup = match shared.cage.make(order.run, &order.resources, &others) {
        Ok(cgroup) => cgroup,
        // It would see GPUs of others, and count them.
        Err(error) if shared.cage.hides_devices() => return Err(here(error)),
        Err(error) => {
            clock::say(&format!("run {} goes without limits: {}", order.run, plain(&error)));
            Vec::new()
        }
    };
    match order::for_keeper(order, &shared.node, &environment, script, cgroup) {
        Ok(mut run_order) => {
            run_order.env.extend(env::of_gpus(&gpus, shared.cage.hides_devices()));
            run_order.env.extend(env::of_times(clock::wall(), order.time_limit_ms));
            dir.prepare(&run_order).map_err(here)
        }
        Err(why) => Err(cannot_run(&dir, order, why)),
    }
}

fn link(blob: &Path, script: &Path) -> io::Result<()> {
    match fs::remove_file(script) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(blob, script).or_else(|_| fs::copy(blob, script).map(drop))
}

#[derive(Debug, Clone, Copy)]
enum Blob {
    Script,
    Environment,
}

async fn fetch(
    shared: &Shared,
    order: &StartOrder,
    which: Blob,
) -> Result<std::path::PathBuf, Failed> {
    let (hash, what) = match which {
        Blob::Script => (order.spec.script, "script"),
        Blob::Environment => (order.spec.environment, "environment"),
    };
    let mut pause = Duration::from_millis(100);
    let mut last = String::new();
    for _ in 0..TRIES {
        match shared.blobs.get(hash).await {
            Ok(path) => return Ok(path),
            Err(BlobError::Missing(_)) => {
                let why = format!("the head no longer has the {what} of this job");
                return Err(cannot_run(&shared.dir.run(order.run), order, why));
            }
            Err(BlobError::Failed(error)) => last = format!("{error:#}"),
        }
        sleep(pause).await;
        pause *= 3;
    }
    Err(Failed::Here(format!("cannot fetch the {what}: {last}")))
}

/// Writes the end of a run that no keeper ever saw, in the keeper's place.
fn cannot_run(dir: &RunDir, order: &StartOrder, why: String) -> Failed {
    let now = u64::try_from(clock::wall().0).unwrap_or(0);
    let record = ExitRecord {
        run: order.run.0,
        outcome: Outcome::CannotRun { step: "agent".to_owned(), why },
        code: None,
        signal: None,
        started_at_ms: now,
        ended_at_ms: now,
        elapsed_ms: 0,
        usage: Usage::default(),
        survivors: 0,
    };
    let written = serde_json::to_vec(&record)
        .map_err(io::Error::from)
        .and_then(|bytes| write_atomic(&dir.exit_record(), &bytes, Durability::Durable));
    match written {
        Ok(()) => Failed::ForGood(record),
        Err(error) => Failed::Here(format!("cannot write down the end: {}", plain(&error))),
    }
}
