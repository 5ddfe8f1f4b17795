//! What `doctor` is told of virtual machines: what this machine lacks for them, how they run here, and
//! whether their images are there.
use super::memory::Memory;
use super::{Needs, Network, Vm, accel, image_trouble, lacks};
use crate::checkup::{Asked, attention};
use pcluster_api::{Finding, Topic};
use pcluster_images::ImageError;
use pcluster_model::config::{Config, ImageSource, Pool, ProviderKind, ShareSource, VmAccel};
use std::collections::BTreeSet;
use std::path::Path;

const KIND: ProviderKind = ProviderKind::Vm;
/// Scratch and images of machines need some; below it the first image may not fit, in bytes.
const ROOM: u64 = 2 << 30;

impl Vm {
    pub(super) fn look(&self, asked: &Asked<'_>) -> Vec<Finding> {
        let lacking = self.lacking(asked);
        let can_run = lacking.is_empty();
        let mut found = lacking;
        if can_run {
            found.push(self.how(asked));
        }
        found.extend(self.memory(asked));
        found.extend(self.room());
        let images: BTreeSet<&str> = asked.pools(&KIND).map(|pool| pool.image.as_str()).collect();
        found.extend(images.into_iter().map(|name| self.image(asked.config, name)));
        found
    }

    /// Programs and rights that are missing, each once.
    fn lacking(&self, asked: &Asked<'_>) -> Vec<Finding> {
        let bridge = matches!(self.network, Network::Bridge(_));
        let folders = asked.pools(&KIND).any(|pool| shares_of_head(pool).next().is_some());
        let missing = lacks(Needs { bridge, folders }).into_iter();
        let of = asked.pools(&KIND).map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
        let why = format!("no machine of pool {of} can be started");
        let told = |lack: super::Lack| {
            Finding::attention(Topic::Provider, lack.what).why(why.clone()).hint(lack.help)
        };
        missing.map(told).collect()
    }

    /// By the processor or by translation.
    fn how(&self, asked: &Asked<'_>) -> Finding {
        let ok = |words: &str| Finding::ok(Topic::Provider, words);
        let slow = |words: &str| {
            let what =
                "virtual machines run by translation (TCG), many times slower than the processor";
            Finding::note(Topic::Provider, what).why(words)
        };
        let device = accel::device();
        match (self.accel, device) {
            (VmAccel::Tcg, _) => slow("[vm] accel = \"tcg\" says so"),
            (VmAccel::Kvm, Ok(())) => ok("virtual machines run by KVM, as [vm] accel says"),
            (VmAccel::Kvm, Err(why)) => {
                let what =
                    "no virtual machine can start: [vm] accel = \"kvm\", and KVM is not to be had";
                Finding::attention(Topic::Provider, what).why(why).hint("[vm] accel = \"auto\"")
            }
            (VmAccel::Auto, Err(why)) => slow(&why),
            (VmAccel::Auto, Ok(())) => self.tried(asked),
        }
    }

    /// `/dev/kvm` opens; what a machine that was booted by it has shown, or shows now.
    fn tried(&self, asked: &Asked<'_>) -> Finding {
        let root = self.images.root();
        let known = accel::known(root);
        let found = match known {
            Some(accel) if !asked.thorough => Some(accel),
            _ => self.images.find("minimal").ok().map(|minimal| {
                (asked.progress)("trying whether a machine boots by KVM, 10 s at most");
                accel::try_again(root, &minimal)
            }),
        };
        match found.or(known) {
            Some(accel::Accel::Kvm) => {
                Finding::ok(Topic::Provider, "virtual machines run by KVM: one was booted by it")
            }
            Some(accel::Accel::Tcg) => {
                let what = "virtual machines run by translation (TCG), many times slower than the processor";
                let why = "/dev/kvm is there, but a machine that was booted by it said nothing";
                Finding::note(Topic::Provider, what).why(why)
            }
            None => Finding::note(Topic::Provider, "KVM is not tried yet")
                .why("/dev/kvm opens, and the image minimal is not there to boot; the first launch tries it")
                .hint("pcluster image test    boots one machine now"),
        }
    }

    /// What disks and images of machines take lies there.
    fn room(&self) -> Option<Finding> {
        let root = self.images.root();
        let place = root.ancestors().find(|path| path.exists())?;
        let disk = rustix::fs::statvfs(place).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        (free < ROOM).then(|| {
            let what = format!("{} has {} MB free for images", place.display(), mb(free));
            Finding::attention(Topic::Image, what)
                .why("an image of Debian takes 1 to 2 GB, and so does building one")
                .hint("pcluster image list; pcluster image remove NAME@BUILD    frees old builds")
                .hint("PCLUSTER_IMAGES_DIR=/somewhere/else    names another folder")
        })
    }

    /// Whether one more of the smallest machines fits. That those that live fill the memory is as meant.
    fn memory(&self, asked: &Asked<'_>) -> Option<Finding> {
        let shapes = asked.pools(&KIND).flat_map(|pool| &pool.shapes);
        let smallest = shapes.min_by_key(|shape| shape.total.memory_bytes)?;
        let memory = Memory::with(self.living().map(|spec| spec.memory_bytes));
        let why = memory.holds(smallest.total.memory_bytes, &smallest.name).err()?;
        if memory.machines > 0 {
            return Some(
                Finding::note(Topic::Provider, "no more virtual machine fits now").why(why),
            );
        }
        Some(
            Finding::attention(
                Topic::Provider,
                "no virtual machine fits: there is too little memory",
            )
            .why(why)
            .hint("memory = \"…\" in the pool makes smaller ones")
            .hint("ps --sort -rss -eo rss,pid,user,args | head    shows what has the memory"),
        )
    }

    fn image(&self, config: &Config, name: &str) -> Finding {
        let source = config.image(name).map(|image| &image.source);
        if let Some(ImageSource::Qcow2(path)) = source {
            return match Path::new(path).is_file() {
                true => Finding::ok(Topic::Image, format!("{name}: {path}")),
                false => Finding::attention(Topic::Image, format!("{name}: there is no {path}"))
                    .why("nodes boot from it")
                    .hint(format!("[images.{name}] qcow2 names a file of this machine")),
            };
        }
        match self.images.find(name) {
            Ok(image) if image.manifest.arch != std::env::consts::ARCH => {
                let what = format!("{} is for {}", image.full_name(), image.manifest.arch);
                Finding::attention(Topic::Image, what)
                    .why(format!("this machine is {}", std::env::consts::ARCH))
                    .hint(format!("pcluster image build {name}"))
            }
            Ok(image) => {
                let manifest = &image.manifest;
                let size = mb(image.bytes());
                let what = format!(
                    "{} is built: {size} MB, kernel {}",
                    image.full_name(),
                    manifest.kernel
                );
                Finding::ok(Topic::Image, what)
            }
            Err(ImageError::Missing { .. }) if name == "minimal" => {
                Finding::note(Topic::Image, "minimal is made with the first node that needs it")
                    .why(
                        "that fetches a kernel and busybox by apt-get, where this machine has none",
                    )
            }
            Err(error) => attention(Topic::Image, &image_trouble(&error).message)
                .why("nodes boot from it: jobs wait until it is there"),
        }
    }
}

/// What this machine shares with nodes of a pool.
fn shares_of_head(pool: &Pool) -> impl Iterator<Item = &pcluster_model::config::Share> {
    pool.shares.iter().filter(|share| share.source == ShareSource::Head)
}

fn mb(bytes: u64) -> u64 {
    bytes >> 20
}
