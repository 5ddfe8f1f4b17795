//! Nodes as virtual machines of this machine, by QEMU: an instance is a process that holds the
//! machine's parts (`machine`), and lives on without a head (`crate::local`).
//!
//! Invariant: what a machine is made of is written down before it starts, and is the same when the
//! launch is repeated. The join order reaches the guest by its firmware's own channel, never by the
//! command line. Deliberately absent: how images are made (`pcluster_images`).
mod accel;
mod checkup;
mod lacks;
pub mod machine;
mod memory;
mod net;
mod qemu;
mod spec;

use crate::checkup::Asked;
use crate::local::dir::InstanceDir;
use crate::local::{Body, KEEP_ENDED_MS, Local, LocalSettings, machine as process, plain};
use crate::provider::{ErrorClass, LaunchOrder, ProviderError};
use memory::Memory;
use pcluster_api::Finding;
use pcluster_images::{Image, ImageError, KernelSource, Programs, Quiet, Store};
use pcluster_model::config::{ProviderKind, VmAccel};
use pcluster_model::{ClusterId, Shape};
use pcluster_wire::{JoinOrder, MountSource};
use spec::{Boot, Folder, Net, Spec};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use lacks::{Lack, Needs, lacks};
pub use memory::total as total_memory;
pub use net::Bridge;
pub use qemu::USER_HEAD;

/// Scratch of a node whose pool names no size, in bytes: a sparse file, so that only what is written
/// takes room.
const SCRATCH: u64 = 4 << 30;

/// How machines are connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// Each for itself, by QEMU: a guest reaches the head and what the head's machine reaches.
    #[default]
    User,
    /// All on a bridge of this machine: guests see the head and each other. Needs root.
    Bridge(Bridge),
}

/// What the provider needs to know of its machine.
#[derive(Debug, Clone)]
pub struct VmSettings {
    /// The cluster's state directory; instances lie in `nodes/` in it.
    pub state_dir: PathBuf,
    pub cluster: ClusterId,
    /// What `offerings` gives: the shapes of the pools.
    pub shapes: Vec<Shape>,
    /// `PROGRAM vm-machine DIR` is a machine: it calls [`machine::run`].
    pub program: PathBuf,
    /// What nodes run.
    pub programs: Programs,
    pub images: Store,
    pub kernel: KernelSource,
    pub accel: VmAccel,
    pub network: Network,
}

/// The provider `vm`.
pub type VmProvider = Local<Vm>;

/// What such a machine is made of.
#[derive(Debug)]
pub struct Vm {
    program: PathBuf,
    programs: Programs,
    images: Store,
    kernel: KernelSource,
    accel: VmAccel,
    network: Network,
    nodes: PathBuf,
}

impl Local<Vm> {
    /// A provider on this state directory. Nothing is made before the first launch.
    #[must_use]
    pub fn new(settings: VmSettings) -> Self {
        let VmSettings { state_dir, cluster, shapes, program, programs, images, .. } = settings;
        let root = std::path::absolute(&state_dir).unwrap_or_else(|_| state_dir.clone());
        let body = Vm {
            program,
            programs,
            images,
            kernel: settings.kernel,
            accel: settings.accel,
            network: settings.network,
            nodes: root.join("nodes"),
        };
        let local = LocalSettings { state_dir, cluster, shapes, keep_ended_ms: KEEP_ENDED_MS };
        Self::of(local, body)
    }
}

fn bad(words: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorClass::BadConfig, words)
}

fn image_trouble(error: &ImageError) -> ProviderError {
    let class = match error {
        ImageError::Missing { .. } | ImageError::Wrong(_) => ErrorClass::BadConfig,
        ImageError::Step { .. } | ImageError::Io { .. } => ErrorClass::Unknown,
    };
    ProviderError::new(class, error.to_string())
}

impl Vm {
    /// The image of an order, whose newest build is taken now.
    fn boot(&self, order: &LaunchOrder) -> Result<Boot, ProviderError> {
        let image = &order.image;
        if !image.reference.is_empty() {
            let path = PathBuf::from(&image.reference);
            if !path.is_file() {
                return Err(bad(format!("image {:?}: there is no {}", image.name, path.display())));
            }
            return Ok(Boot::Disk { path });
        }
        let found =
            if image.name == "minimal" { self.minimal() } else { self.images.find(&image.name) };
        let found = found.map_err(|error| image_trouble(&error))?;
        if found.manifest.arch != std::env::consts::ARCH {
            let words = format!("image {} is for {}", found.full_name(), found.manifest.arch);
            return Err(bad(words));
        }
        self.boot_of(&found).map_err(|error| image_trouble(&error))
    }

    fn minimal(&self) -> Result<Image, ImageError> {
        pcluster_images::minimal(&self.images, &self.kernel, &Quiet)
    }

    fn boot_of(&self, image: &Image) -> Result<Boot, ImageError> {
        Ok(Boot::Image {
            kernel: image.kernel(),
            archive: self.programs.boot_archive(image)?,
            disk: image.disk(),
        })
    }

    fn spec(&self, order: &LaunchOrder, dir: &InstanceDir) -> Result<Spec, ProviderError> {
        let join =
            dir.join_order().map_err(|error| bad(format!("a join order is odd: {error}")))?;
        let boot = self.boot(order)?;
        let accel = accel::decide(self.accel, self.images.root(), || self.minimal());
        let net = match &self.network {
            Network::User => Net::User,
            Network::Bridge(bridge) => {
                let taken = self.addresses_taken();
                let address = bridge.subnet.free(&taken).ok_or_else(|| {
                    let words = format!("all addresses of {} are taken", bridge.subnet);
                    ProviderError::new(ErrorClass::NoCapacity, words)
                })?;
                Net::Tap { bridge: bridge.clone(), address, tap: net::tap_name(dir.path()) }
            }
        };
        let shape = &order.shape.total;
        Ok(Spec {
            name: join.node_name.clone(),
            boot,
            accel,
            cpus: shape.cpus.max(1),
            memory_bytes: shape.memory_bytes,
            scratch_bytes: if shape.tmp_bytes == 0 { SCRATCH } else { shape.tmp_bytes },
            net,
            folders: folders(&join),
        })
    }

    /// Refuses what this machine has not all the parts for.
    fn lacks_nothing(&self, folders: bool) -> Result<(), ProviderError> {
        let bridge = matches!(self.network, Network::Bridge(_));
        match lacks(Needs { bridge, folders }).first() {
            Some(lack) => Err(bad(lack.to_string())),
            None => Ok(()),
        }
    }

    /// Machines that have not ended: what is left of one that has says nothing of what it was made of.
    fn living(&self) -> impl Iterator<Item = Spec> {
        let nodes = std::fs::read_dir(&self.nodes).into_iter().flatten().flatten();
        nodes.filter_map(|entry| Spec::read(&entry.path()).ok())
    }

    fn addresses_taken(&self) -> Vec<std::net::Ipv4Addr> {
        self.living()
            .filter_map(|spec| match spec.net {
                Net::Tap { address, .. } => Some(address),
                Net::User => None,
            })
            .collect()
    }
}

/// What the head shares with this machine.
fn folders(join: &JoinOrder) -> Vec<Folder> {
    let shared = join.mounts.iter().filter_map(|mount| match &mount.from {
        MountSource::Virtiofs { tag } => {
            Some(Folder { tag: tag.clone(), path: PathBuf::from(&mount.path) })
        }
        MountSource::Nfs { .. } | MountSource::Lustre { .. } => None,
    });
    shared.collect()
}

impl Body for Vm {
    const KIND: ProviderKind = ProviderKind::Vm;
    const PREFIX: &'static str = "v-";

    fn check(&self, _: &LaunchOrder) -> Result<(), ProviderError> {
        if let Err(error) = process::check_program(&self.program) {
            return Err(bad(format!(
                "cannot start machines: {}: {}",
                self.program.display(),
                plain(&error)
            )));
        }
        self.lacks_nothing(false)
    }

    fn checkup(&self, asked: &Asked<'_>) -> Vec<Finding> {
        self.look(asked)
    }

    fn furnish(&self, order: &LaunchOrder, dir: &InstanceDir) -> Result<(), ProviderError> {
        // Of each machine by itself: those of the same launch that came before it count.
        let memory = Memory::with(self.living().map(|spec| spec.memory_bytes));
        memory
            .holds(order.shape.total.memory_bytes, &order.shape.name)
            .map_err(|words| ProviderError::new(ErrorClass::NoCapacity, words))?;
        let spec = self.spec(order, dir)?;
        self.lacks_nothing(!spec.folders.is_empty())?;
        for folder in &spec.folders {
            share_folder(&folder.path)?;
        }
        spec.write(dir.path()).map_err(|error| {
            ProviderError::new(ErrorClass::Unknown, format!("cannot write {}: {error}", dir.name()))
        })
    }

    fn command(&self, dir: &InstanceDir, _: &str) -> Command {
        let mut command = process::bare(&self.program);
        command.arg("vm-machine").arg(dir.path());
        command
    }

    fn sweep(&self, dir: &InstanceDir) -> io::Result<()> {
        machine::sweep(dir.path())
    }
}

/// Where images without a word about it share with their nodes.
const SHARED_DEFAULT: &str = "/shared";

/// A path that is to be shared must be there; the default one is made, for everybody to write.
fn share_folder(path: &Path) -> Result<(), ProviderError> {
    use std::os::unix::fs::PermissionsExt as _;
    if path.is_dir() {
        return Ok(());
    }
    if path == Path::new(SHARED_DEFAULT)
        && std::fs::create_dir(path).is_ok()
        && std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o1777)).is_ok()
    {
        tracing::info!(path = SHARED_DEFAULT, "made the folder that nodes share");
        return Ok(());
    }
    let help = format!(
        "mkdir -p {}, or name another path: storage = {{ shared = \"…\" }}",
        path.display()
    );
    Err(bad(format!("{} is to be shared and is not there\nhint: {help}", path.display())))
}
