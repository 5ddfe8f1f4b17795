//! Puts the parts of a head together, before anything moves.
use crate::agents::Hub;
use crate::agents::door::NodeDoor;
use crate::agents::link::LinkState;
use crate::agents::programs::{NodePrograms, are_offered};
use crate::agents::streams::Streams;
use crate::agents::token::ClusterSecret;
use crate::app::{AppState, Bounds, HeadFacts};
use crate::boot::{BootError, ConfigFile, StateDir, Stored};
use crate::bundles::{Bundles, Keeping};
use crate::clock::{Clock, SystemTime};
use crate::disk::{self, DiskWatch};
use crate::driver::Parts;
use crate::hands::Hands;
use crate::hands::consoles::Consoles;
use crate::hands::orders::{Orders, image};
use crate::hands::providers::ProviderHands;
use crate::hands::starts::Starts;
use crate::inbox::inbox;
use crate::logs::{BootLogs, OutputTails};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::people::People;
use crate::run::{Prepared, VERSION};
use crate::{http, limits, server};
use pcluster_api::places::Places;
use pcluster_api::rates::Rates;
use pcluster_config::catalogue;
use pcluster_core::{Cluster, Node};
use pcluster_images::{KernelSource, Programs, Store};
use pcluster_model::config::{Config, ProviderKind, VmNetwork};
use pcluster_model::{ClusterId, Shape};
use pcluster_providers::Provider;
use pcluster_providers::ec2::{Ec2Provider, Ec2Settings, PoolPlaces, StandingPrices};
use pcluster_providers::external::{ExternalProvider, ExternalSettings};
use pcluster_providers::process::{ProcessProvider, ProcessSettings};
use pcluster_providers::vm::{Bridge, Network, VmProvider, VmSettings};
use pcluster_store::EventStore;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

/// A head that is complete and has not moved yet.
pub(crate) struct Head {
    pub id: ClusterId,
    pub file: ConfigFile,
    pub places: Places,
    /// Holds the lock.
    pub state: StateDir,
    pub app: AppState,
    pub hands: Hands,
    pub parts: Parts<EventStore, Hands>,
    pub socket: UnixListener,
    pub port: TcpListener,
    pub tls: Arc<ServerConfig>,
    pub link: LinkState,
}

/// What is shared by those who read.
struct Files {
    logs: OutputTails,
    boot_logs: BootLogs,
    bundles: Bundles,
    notes: Vec<String>,
}

fn files(dir: &Path, file: &ConfigFile) -> Result<Files, BootError> {
    let ballast = disk::ballast(dir).map_err(BootError::io("write", dir.join("ballast")))?;
    let output = dir.join("output");
    let logs = OutputTails::open(&output).map_err(BootError::io("use", output))?;
    let nodes_log = dir.join("nodes-log");
    let boot_logs = BootLogs::open(&nodes_log).map_err(BootError::io("use", nodes_log))?;
    let failed = dir.join("failed-boots");
    let bundles = Bundles::open(&failed).map_err(BootError::io("use", failed))?;
    let notes = file.notes.iter().cloned().chain(ballast).collect();
    Ok(Files { logs, boot_logs, bundles, notes })
}

/// Loads what is on disk, binds the ports and connects the parts.
pub(crate) async fn assemble(prepared: Prepared) -> Result<Head, BootError> {
    let Prepared { file, places, state } = prepared;
    let dir = state.path().to_path_buf();
    let Files { logs, boot_logs, bundles, notes } = files(&dir, &file)?;
    let Stored { store, cluster, last_at, id, secret, key, blobs } =
        state.load(file.placed.as_ref().map(|placed| &placed.cluster))?;
    let clock = Clock::start(Arc::new(SystemTime), last_at);
    let disk = DiskWatch::of(&dir);
    let (submit, inbox) = inbox(disk.clone());
    let in_use = cluster.nodes.values().any(|node| node.state.is_alive());
    let mirror = Mirror::new(cluster.clone());
    let (port, node_address) = bind_port(&state, &file.config, in_use).await?;
    let uid = rustix::process::geteuid().as_raw();
    let programs = node_programs(&file.config);
    let orders = Orders {
        mirror: mirror.clone(),
        cluster: id.clone(),
        secret: secret.clone(),
        dialled: node_address.clone(),
        port: port.local_addr().map_or(0, |address| address.port()),
        head_key_sha256: key.sha256(),
        state_dir: dir.clone(),
        programs: programs.clone(),
    };
    let providers = providers(&file, &places, &id, &cluster);
    let consoles = Consoles::new(&providers);
    let keeping = Keeping::new(&mirror, &clock, &boot_logs, &bundles);
    let providers = ProviderHands::new(providers, orders, submit.clone(), keeping);
    let hub = Hub::new(mirror.clone()).offering(programs.clone());
    let metrics = Metrics::new();
    let hands =
        Hands { hub: hub.clone(), providers, metrics: metrics.clone(), mirror: mirror.clone() };
    let socket = bind_socket(&places.socket, &file.path, uid == 0)?;
    let (changes, changed) = watch::channel(0);
    let facts = HeadFacts {
        version: VERSION,
        pid: std::process::id(),
        uid,
        started_at: clock.now(),
        state_dir: dir,
        config_file: file.path.clone(),
        node_address,
        notes,
    };
    let app = AppState {
        mirror,
        submit,
        blobs,
        logs,
        boot_logs,
        bundles,
        consoles,
        cleaned: hands.providers.cleaned(),
        facts: Arc::new(facts),
        store_path: store.path().into(),
        clock: clock.clone(),
        disk,
        people: People::new(uid),
        metrics,
        hub: hub.clone(),
        streams: Streams::default(),
        bounds: Bounds::default(),
        changes: changed,
    };
    let link = link_state(&app, hub, (id.clone(), secret), programs);
    let (mirror, outlet) = (app.mirror.clone(), hands.clone());
    let parts = Parts { cluster, mirror, log: store, outlet, clock, inbox, changes };
    let tls = key.server_config()?;
    Ok(Head { id, file, places, state, app, hands, parts, socket, port, tls, link })
}

/// What nodes may become that come with programs of their own.
fn node_programs(config: &Config) -> NodePrograms {
    let programs = NodePrograms::beside(agent_beside().parent().unwrap_or(Path::new(".")));
    if config.pools.iter().any(|pool| are_offered(&pool.provider)) {
        let programs = programs.clone();
        // Before the first launch wants them; nobody waits for it here.
        drop(tokio::task::spawn_blocking(move || programs.offered()));
    }
    programs
}

fn bind_socket(socket: &Path, file: &Path, is_root: bool) -> Result<UnixListener, BootError> {
    server::name_file(socket, file, is_root).map_err(BootError::io("write beside", socket))?;
    server::bind(socket, is_root).map_err(BootError::io("listen on", socket))
}

fn link_state(
    app: &AppState,
    hub: Hub,
    (cluster, secret): (ClusterId, ClusterSecret),
    programs: NodePrograms,
) -> LinkState {
    LinkState {
        starts: Starts::new(app.people.clone(), app.mirror.clone(), hub.clone()),
        hub,
        inbox: app.submit.clone(),
        mirror: app.mirror.clone(),
        blobs: app.blobs.clone(),
        output: app.logs.clone(),
        boot_logs: app.boot_logs.clone(),
        clock: app.clock.clone(),
        door: NodeDoor::new(http::router(app.clone()), app.people.clone(), app.streams.clone()),
        cluster,
        secret,
        programs,
        hellos: Rates::new(limits::HELLO_EVERY, limits::HELLOS_AT_ONCE),
    }
}

/// The agent's program lies beside the head's.
pub(crate) fn agent_beside() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("pcluster-agent")))
        .unwrap_or_else(|| "pcluster-agent".into())
}

/// Providers of this configuration. A node needs its provider to the end, so those that the head
/// started with stay, and machines whose pool left the file while no head ran still have theirs;
/// another `[external.NAME]` is known from the next start on, and without its table nobody can call it.
pub(crate) fn providers(
    file: &ConfigFile,
    places: &Places,
    id: &ClusterId,
    cluster: &Cluster,
) -> Vec<Arc<dyn Provider>> {
    let config = &file.config;
    let agent = agent_beside();
    let state_dir = &places.state_dir;
    let shapes_of = |kind: &ProviderKind| {
        let pools = config.pools.iter().filter(|pool| pool.provider == *kind);
        pools.flat_map(|pool| pool.shapes.iter().cloned()).collect()
    };
    let mut settings = ProcessSettings::new(state_dir, agent.clone(), id.clone());
    settings.launcher.clone_from(&config.process_launcher);
    settings.soft_files = crate::files::raise();
    settings.shapes = shapes_of(&ProviderKind::Process);
    let mut providers: Vec<Arc<dyn Provider>> = vec![Arc::new(ProcessProvider::new(settings))];
    for external in &config.externals {
        let shapes = shapes_of(&ProviderKind::External(external.name.clone()));
        providers.push(Arc::new(ExternalProvider::new(ExternalSettings {
            external: external.clone(),
            cluster: id.clone(),
            agent_binary: agent.clone(),
            shapes,
        })));
    }
    let needs = |kind: &ProviderKind| {
        let lives = |node: &Node| node.state.is_alive() && node.provider.as_ref() == Some(kind);
        config.pools.iter().any(|pool| pool.provider == *kind) || cluster.nodes.values().any(lives)
    };
    if needs(&ProviderKind::Ec2) {
        providers.push(Arc::new(Ec2Provider::new(ec2(file, id))));
    }
    if needs(&ProviderKind::Vm) {
        let shapes = shapes_of(&ProviderKind::Vm);
        providers.push(Arc::new(VmProvider::new(vm(config, places, id, shapes))));
    }
    providers
}

/// Pools whose image is not in this region are left out of trials and prices; a launch says why.
fn ec2(file: &ConfigFile, cluster: &ClusterId) -> Ec2Settings {
    let config = &file.config;
    let pools = config.pools.iter().filter(|pool| pool.provider == ProviderKind::Ec2);
    let places = pools.filter_map(|pool| {
        let image = image(config, &ProviderKind::Ec2, &pool.image).ok()?;
        let shapes = pool.shapes.clone();
        Some(PoolPlaces { shapes, subnets: pool.subnets.clone(), image, options: pool.ec2.clone() })
    });
    Ec2Settings {
        region: config.ec2.region.clone(),
        environment: None,
        cluster: cluster.clone(),
        cluster_name: config.name.clone(),
        pools: places.collect(),
        standing: StandingPrices {
            types: catalogue::type_prices(config),
            gp3: catalogue::storage_price_in(&config.ec2.region),
        },
        placing: file.is_placed_elsewhere().then(|| config.ec2.instance_profile.clone()),
    }
}

/// The kernel that the file names for images.
pub(crate) fn kernel(config: &Config) -> KernelSource {
    let given = config.vm.kernel.as_ref().map(|(image, modules)| KernelSource::Given {
        image: image.into(),
        modules: modules.into(),
    });
    given.unwrap_or_default()
}

fn vm(config: &Config, places: &Places, cluster: &ClusterId, shapes: Vec<Shape>) -> VmSettings {
    let network = match &config.vm.network {
        VmNetwork::User => Network::User,
        VmNetwork::Bridge { bridge, subnet } => Network::Bridge(Bridge {
            name: bridge.clone().unwrap_or_else(|| own_bridge(cluster)),
            subnet: *subnet,
            is_ours: bridge.is_none(),
        }),
    };
    VmSettings {
        state_dir: places.state_dir.clone(),
        cluster: cluster.clone(),
        shapes,
        program: std::env::current_exe().unwrap_or_else(|_| "pcluster-headnode".into()),
        programs: Programs { folder: agent_beside().parent().unwrap_or(Path::new("/")).into() },
        images: Store::new(&places.images),
        kernel: kernel(config),
        accel: config.vm.accel,
        network,
    }
}

/// A bridge of its own for each cluster: the kernel takes 15 letters.
fn own_bridge(cluster: &ClusterId) -> String {
    let digits: String = cluster.to_string().chars().take(10).collect();
    format!("pcbr{digits}")
}

/// This machine's address on the way out, as others of its network dial it. Nothing is sent.
fn outward() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified() && !own.is_loopback()).then_some(own)
}

/// The TLS port: as configured, or the one that nodes know, or any that is free on loopback.
async fn bind_port(
    state: &StateDir,
    config: &Config,
    in_use: bool,
) -> Result<(TcpListener, String), BootError> {
    let (asked, address) = listen(config)?;
    // On another machine the address is another one: nodes that know a name dial the same port.
    let kept = state.kept_port().filter(|_| address.port() == 0);
    let first = kept.map_or(address, |kept| SocketAddr::new(address.ip(), kept.port()));
    let listener = match TcpListener::bind(first).await {
        Ok(listener) => listener,
        Err(error) if kept.is_some() && !in_use => {
            tracing::warn!(%first, %error, "the port of before is taken; no node knows it any more");
            TcpListener::bind(address).await.map_err(BootError::io("listen on", asked))?
        }
        Err(error) => return Err(BootError::io("listen on", first.to_string())(error)),
    };
    let bound = listener.local_addr().map_err(BootError::io("listen on", asked))?;
    state.keep_port(bound)?;
    Ok((listener, dialled(config, bound)))
}

/// What the TLS port is bound to, as asked and as an address; port 0 is any.
pub(crate) fn listen(config: &Config) -> Result<(&str, SocketAddr), BootError> {
    let local_only = config.pools.iter().all(|pool| is_here(&pool.provider, config));
    let default = if local_only { "127.0.0.1:0" } else { "0.0.0.0:7443" };
    let asked = config.head.listen.as_deref().unwrap_or(default);
    let wrong = || BootError::Refused(format!("head.listen is not ADDRESS:PORT: {asked:?}"));
    Ok((asked, asked.parse().map_err(|_| wrong())?))
}

/// Nodes reach the head over this machine's own loopback.
pub(crate) fn is_here(provider: &ProviderKind, config: &Config) -> bool {
    match provider {
        ProviderKind::Process => true,
        ProviderKind::Vm => config.vm.network == VmNetwork::User,
        _ => false,
    }
}

/// What nodes dial of a port that is bound, where their provider has no place of its own for the head.
pub(crate) fn dialled(config: &Config, bound: SocketAddr) -> String {
    let far = config.pools.iter().any(|pool| pool.provider == ProviderKind::Ec2);
    match &config.head.address {
        Some(host) if host.contains(':') => host.clone(),
        Some(host) => format!("{host}:{}", bound.port()),
        None if bound.ip().is_unspecified() && far => {
            let own = outward();
            own.map_or_else(
                || format!("127.0.0.1:{}", bound.port()),
                |own| SocketAddr::new(own, bound.port()).to_string(),
            )
        }
        None if bound.ip().is_unspecified() => format!("127.0.0.1:{}", bound.port()),
        None => bound.to_string(),
    }
}
