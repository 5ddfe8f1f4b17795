//! The kernel of virtual machines: one that is named, Debian's kernel for clouds, or this machine's.
use crate::fetch;
use crate::modules::Modules;
use crate::step::{ImageError, Steps, locked};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a node cannot do without: its network, its disks, its order and what the head shares.
pub(crate) const NEEDED: [&str; 5] =
    ["virtio_pci", "virtio_net", "virtio_blk", "qemu_fw_cfg", "virtiofs"];
/// What a node uses where the kernel has it.
pub(crate) const WANTED: [&str; 5] = ["virtio_rng", "ext4", "overlay", "nfsv4", "nfsv3"];

/// Which kernel images are built with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelSource {
    /// Debian's kernel for clouds where packages can be fetched, else this machine's own.
    #[default]
    Found,
    /// A kernel and its `/lib/modules/RELEASE`.
    Given { image: PathBuf, modules: PathBuf },
}

/// A kernel on this machine.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub release: String,
    pub image: PathBuf,
    pub modules: Modules,
}

impl Kernel {
    fn new(image: PathBuf, folder: &Path) -> Result<Self, ImageError> {
        let release = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let modules = Modules::below(folder);
        if let Some(missing) = NEEDED.iter().find(|name| !modules.has(name)) {
            let words = format!("kernel {release} has no module {missing}, which nodes need");
            let help = "[vm] kernel and modules name another kernel";
            return Err(ImageError::missing(words, help));
        }
        Ok(Self { release, image, modules })
    }
}

/// Finds or fetches the kernel; what was fetched is kept in `cache`.
pub(crate) fn obtain(
    source: &KernelSource,
    cache: &Path,
    steps: &Steps<'_>,
) -> Result<Kernel, ImageError> {
    if let KernelSource::Given { image, modules } = source {
        if !image.is_file() {
            return Err(ImageError::Wrong(format!("there is no kernel {}", image.display())));
        }
        return Kernel::new(image.clone(), modules);
    }
    let fetched = if fetch::can_fetch() {
        fetched(cache, steps)
    } else {
        Err(ImageError::missing("no apt-get to fetch a kernel with", "apt install apt dpkg"))
    };
    fetched.or_else(|error| own().ok_or(error))
}

/// The kernel that this machine runs, where everybody may read it and it has all that nodes need.
fn own() -> Option<Kernel> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned();
    let image = PathBuf::from(format!("/boot/vmlinuz-{release}"));
    fs::File::open(&image).ok()?;
    Kernel::new(image, &Path::new("/lib/modules").join(release)).ok()
}

fn package() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "linux-image-cloud-arm64"
    } else {
        "linux-image-cloud-amd64"
    }
}

/// Debian's kernel for clouds.
fn fetched(cache: &Path, steps: &Steps<'_>) -> Result<Kernel, ImageError> {
    let failed = || ImageError::io(format!("cannot use {}", cache.display()));
    fs::create_dir_all(cache).map_err(failed())?;
    let _alone = locked(&cache.join(".lock")).map_err(failed())?;
    if let Some(kernel) = kept(cache) {
        return Ok(kernel);
    }
    let mut ask = Command::new("apt-cache");
    ask.args(["depends", package()]);
    let said = steps.ask("ask which kernel is the newest", ask)?;
    let mut words = said.split_whitespace();
    let name = words.find(|word| word.starts_with("linux-image-") && *word != package());
    let name = name.ok_or_else(|| {
        ImageError::missing(format!("no package {} is known", package()), "apt-get update")
    })?;
    fetch::unpacked(name, cache, steps)?;
    kept(cache).ok_or_else(|| ImageError::Wrong(format!("{name} holds no kernel for nodes")))
}

fn kept(cache: &Path) -> Option<Kernel> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let kernel = |folder: &PathBuf| {
        let modules = fs::read_dir(folder.join("lib/modules")).ok()?.flatten().next()?.path();
        let release = modules.file_name()?.to_str()?.to_owned();
        let image = folder.join(format!("boot/vmlinuz-{release}"));
        image.is_file().then(|| Kernel::new(image, &modules).ok()).flatten()
    };
    folders.iter().rev().find_map(kernel)
}
