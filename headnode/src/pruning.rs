//! What is older than `[head] keep_jobs` leaves the disk: events, scripts and environments that no job
//! names any more, the output of forgotten runs, the logs of nodes that are long gone.
//!
//! Invariant: the loop never waits for more than one slice; a head that dies here leaves everything
//! whole. Deliberately absent: what a forgotten job is (the core says so, by an event).
use crate::app::AppState;
use crate::limits;
use pcluster_core::Cluster;
use pcluster_model::{BlobHash, DurationMs, NodeId, RunId, Timestamp};
use pcluster_store::{Pruned, Pruner, StoreError};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The task that does it.
pub(crate) struct Pruning {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Pruning {
    pub(crate) fn start(app: AppState) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(every_so_often(app, stopped)) }
    }

    /// Ends it after its slice: nobody else may write to the file once this head's lock is free.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

fn keep(app: &AppState) -> DurationMs {
    app.mirror.read().config().map(|config| config.head.keep_jobs_ms).unwrap_or_default()
}

async fn every_so_often(app: AppState, mut stopped: watch::Receiver<bool>) {
    loop {
        let tenth = Duration::from_millis(keep(&app).0 / 10);
        let pause = tenth.clamp(limits::PRUNE_SOONEST, limits::PRUNE_EVERY);
        let stop = stopped.wait_for(|stop| *stop);
        if tokio::time::timeout(pause, stop).await.is_ok() {
            return;
        }
        let (app, stopped) = (app.clone(), stopped.clone());
        let done = tokio::task::spawn_blocking(move || pass(&app, &stopped)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the log was not cut; it is tried again"),
            Err(error) => tracing::error!(%error, "pruning broke off"),
        }
    }
}

/// Everything once. Runs in a thread of its own.
fn pass(app: &AppState, stopped: &watch::Receiver<bool>) -> Result<(), StoreError> {
    let keep = keep(app);
    if keep == DurationMs::ZERO {
        return Ok(());
    }
    // A base needs room before the old events give some back.
    if app.disk.low().is_none() {
        cut(app, app.clock.now() - keep, stopped)?;
    }
    let kept = Kept::of(&app.mirror.read());
    let spared = SystemTime::now().checked_sub(Duration::from_millis(keep.0));
    let swept = [
        app.blobs.sweep(&kept.blobs).map_err(std::io::Error::other),
        app.logs.sweep(|run| run > kept.last_run || kept.runs.contains(&run)),
        app.boot_logs
            .sweep(spared, |node| node.launch.0 > kept.last_launch || kept.nodes.contains(&node)),
    ];
    for files in swept {
        match files {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "files that nobody needs any more are gone"),
            Err(error) => tracing::warn!(%error, "old files could not be removed"),
        }
    }
    Ok(())
}

fn cut(
    app: &AppState,
    before: Timestamp,
    stopped: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let (mut gone, mut based) = (0, None);
    let mut began = Instant::now();
    Pruner::open(&app.store_path)?.prune(before, |step| {
        match step {
            Pruned::Based { seq, rows } => based = Some((seq, rows)),
            Pruned::Cut { events, .. } => gone += events,
            Pruned::Copied { .. } | Pruned::Dropped { .. } | Pruned::Freed { .. } => {}
        }
        let rest = (began.elapsed() * limits::PRUNE_REST).max(limits::PRUNE_REST_LEAST);
        std::thread::sleep(rest.min(Duration::from_secs(1)));
        began = Instant::now();
        !*stopped.borrow()
    })?;
    if let Some((seq, rows)) = based {
        tracing::info!(seq, rows, "the log has a new base");
    }
    if gone > 0 {
        tracing::info!(events = gone, "the log was cut");
    }
    Ok(())
}

/// What somebody in memory still names.
struct Kept {
    blobs: BTreeSet<BlobHash>,
    runs: BTreeSet<RunId>,
    nodes: BTreeSet<NodeId>,
    /// Whatever is newer came after this look.
    last_run: RunId,
    last_launch: u64,
}

impl Kept {
    fn of(cluster: &Cluster) -> Self {
        let past = cluster.jobs.values().flat_map(pcluster_core::Job::runs_over);
        Self {
            blobs: cluster.blobs(),
            runs: past.map(|past| past.run).chain(cluster.runs.keys().copied()).collect(),
            nodes: cluster.nodes.keys().copied().collect(),
            last_run: RunId(cluster.meta.last_run),
            last_launch: cluster.meta.last_launch,
        }
    }
}
