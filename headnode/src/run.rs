//! A head from start to end: runs the loop in a thread of its own, serves, and takes everything
//! down again. Nodes and jobs live on.
use crate::agents::listener;
use crate::agents::names::{self, HostsFile};
use crate::app::AppState;
use crate::assemble::{Head, assemble};
use crate::boot::{BootError, ConfigFile, StateDir, read_config};
use crate::disk;
use crate::driver::{Driver, DriverError, Ended};
use crate::hands::orders;
use crate::inbox::InboxHandle;
use crate::pruning::Pruning;
use crate::{http, limits, server, shares};
use pcluster_api::places::{Places, Surroundings};
use pcluster_core::Input;
use pcluster_exports as exports;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a head ended in trouble.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A panic: its words and the last events are in the log.
    #[error("the loop of the head broke off; its last events are in the log")]
    Panicked,
}

impl RunError {
    /// Of the documented table; 70 for a head that found itself broken.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Boot(error) => error.exit_code(),
            Self::Driver(_) | Self::Panicked => 70,
        }
    }
}

/// What is decided before the log is set up.
pub struct Prepared {
    pub file: ConfigFile,
    pub places: Places,
    pub state: StateDir,
}

/// Reads the file, makes the folders and takes the lock.
///
/// # Errors
/// In words for people.
pub fn prepare(config: &Path) -> Result<Prepared, BootError> {
    let file = read_config(config)?;
    if file.is_placed_elsewhere() {
        return Err(BootError::Refused(format!(
            "{} wants its head on a machine of its own\nhint: pcluster up    places it there; without head.type it runs on this machine",
            file.path.display()
        )));
    }
    if let Some((what, hint)) = exports::refused(&file.config) {
        let place = file.path.display();
        return Err(BootError::Refused(format!("{place}: {what}\nhint: {hint}")));
    }
    if let Some(placed) = &file.placed {
        placed.check_volume()?;
    }
    let uid = rustix::process::geteuid().as_raw();
    let places = Surroundings::of_process(uid).places(&file.config.name)?;
    places.create()?;
    let state = StateDir::lock(&places.state_dir)?;
    Ok(Prepared { file, places, state })
}

/// Runs a head until it is told to stop or its cluster is closed.
///
/// # Errors
/// When it cannot start, or must not go on.
pub async fn run(prepared: Prepared) -> Result<Ended, RunError> {
    let Head { id, file, places, state, app, hands, parts, socket, port, tls, link } =
        assemble(prepared).await?;
    let (stop, stopped) = watch::channel(false);
    let (ready, started) = oneshot::channel();
    let config = file.config.clone();
    let runtime = tokio::runtime::Handle::current();
    let driver = std::thread::Builder::new().name("driver".into()).spawn(move || {
        // Effects spawn tasks, so the loop's thread belongs to the runtime; commits block only it.
        let _entered = runtime.enter();
        let mut driver = Driver::new(parts);
        driver.start(VERSION, config)?;
        // Dropped when nobody waits any more.
        let _ = ready.send(());
        runtime.block_on(driver.run(stopped))
    });
    let driver = driver.map_err(BootError::io("start", "the loop"))?;
    if started.await.is_err() {
        return join(driver).await;
    }
    hands.providers.start_lists();
    // Before nodes ask: they are told what to look for once a connection.
    let tokens = shares::Keeping::start(app.hub.tokens().clone(), app.mirror.clone()).await;
    tokio::spawn(tokens.run());
    let hosts = HostsFile::of(file.config.head.hosts_file.as_deref(), app.facts.uid, &id);
    let hosts = hosts.map(Arc::new);
    tokio::spawn(names::keep(app.clone(), app.hub.clone(), hosts.clone()));
    let exporting = exports::System::of(id.as_str(), orders::host(&app.facts.node_address));
    let (mirror, exported) = (app.mirror.clone(), hands.providers.exports());
    let wanted = move || exports::wanted(&mirror.read());
    let exporter =
        tokio::spawn(exports::keep(exported, exporting.clone(), wanted, app.changes.clone()));
    tokio::spawn(listener::serve(port, tls, link));
    let door = server::Door {
        router: http::router(app.clone()),
        people: app.people.clone(),
        mirror: app.mirror.clone(),
        head_uid: app.facts.uid,
    };
    let serving = tokio::spawn(server::serve(socket, door));
    tokio::spawn(housekeeping(app.clone()));
    let pruning = Pruning::start(app.clone());
    let (config, name) = (file.path.clone(), file.config.name.clone());
    tokio::spawn(obey_signals(stop, app.submit.clone(), config, name));
    tracing::info!(
        cluster = file.config.name,
        %id,
        socket = %places.socket.display(),
        node_address = app.facts.node_address,
        "the head is up"
    );
    let ended = join(driver).await;
    pruning.end().await;
    if let (Ok(Ended::Closed), Some(hosts)) = (&ended, hosts) {
        drop(tokio::task::spawn_blocking(move || hosts.clear()).await);
    }
    exporter.abort();
    if let Ok(Ended::Closed) = &ended {
        exports::clear(&exporting).await;
    }
    // A second head could bind its socket from here on, so this one's goes first.
    let _ = std::fs::remove_file(&places.socket);
    let _ = std::fs::remove_file(pcluster_api::places::file_beside(&places.socket));
    serving.abort();
    drop(state);
    ended
}

/// A finished head, or how it broke.
async fn join(
    driver: std::thread::JoinHandle<Result<Ended, DriverError>>,
) -> Result<Ended, RunError> {
    let joined = tokio::task::spawn_blocking(move || driver.join()).await;
    match joined {
        Ok(Ok(ended)) => Ok(ended?),
        Ok(Err(_)) | Err(_) => Err(RunError::Panicked),
    }
}

/// Looks at the disk, and closes what nobody needs.
async fn housekeeping(app: AppState) {
    loop {
        tokio::time::sleep(limits::DISK_EVERY).await;
        app.disk.look();
        let dir = app.facts.state_dir.clone();
        let kept = tokio::task::spawn_blocking(move || disk::ballast(&dir)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the ballast cannot be kept");
        }
        let (runs, nodes) = {
            let cluster = app.mirror.read();
            let runs = cluster.runs.keys().copied().collect();
            (runs, cluster.nodes.keys().copied().collect())
        };
        app.logs.close_except(&runs);
        app.boot_logs.close_except(&nodes);
    }
}

/// Takes the file as it is now. A file with mistakes, or of another cluster, changes nothing.
async fn reload(inbox: &InboxHandle, config: &Path, name: &str) {
    match read_config(config) {
        Ok(file) if file.config.name != name => {
            tracing::error!(now = file.config.name, "a running cluster keeps its name");
        }
        Ok(file) => {
            let changed = Input::ConfigChanged { config: Box::new(file.config) };
            let _ = inbox.tell(changed).await;
        }
        Err(error) => tracing::error!(%error, "the new configuration is not taken"),
    }
}

/// TERM and INT end the head; HUP reads the file again.
async fn obey_signals(
    stop: watch::Sender<bool>,
    inbox: InboxHandle,
    config: PathBuf,
    name: String,
) {
    let handlers = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = handlers else {
        tracing::error!("signals cannot be heard; only KILL ends this head");
        // `stop` must live on, or the loop would take its end for an order.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => reload(&inbox, &config, &name).await,
        }
    }
    tracing::info!("the head stops; nodes and jobs live on");
    let _ = stop.send(true);
    std::future::pending().await
}
