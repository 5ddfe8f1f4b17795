//! Building an image: from a recipe to a folder that a virtual machine boots from.
use crate::archive::Archive;
use crate::debian;
use crate::fetch;
use crate::kernel::{self, Kernel, KernelSource, NEEDED, WANTED};
use crate::recipe::Recipe;
use crate::step::{ImageError, Progress, Steps, find_program, locked};
use crate::store::{Image, Manifest, Root, Store};
use pcluster_model::{BlobHash, Timestamp};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const FIRST: &str = include_str!("boot/first.sh");
/// The package that a busybox is fetched from.
const BUSYBOX: &str = "busybox-static";
const SECOND: &str = include_str!("boot/second.sh");
/// What a system in memory has of its own.
const ETC: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/shells", "/bin/sh\n/bin/bash\n"),
    ("etc/profile", "export PATH=/usr/local/bin:/usr/bin:/bin\n"),
    ("etc/os-release", "ID=pcluster-minimal\nPRETTY_NAME=\"pcluster minimal\"\n"),
];

/// What became of a request to build.
#[derive(Debug)]
pub struct Built {
    pub image: Image,
    /// False: a build of the same recipe was there.
    pub is_new: bool,
}

/// Builds the image `name`. Unless `again`, a build of the very same recipe is not repeated.
///
/// # Errors
/// With the step that failed and its last lines, or with what this machine lacks. Nothing is left then.
pub fn build(
    store: &Store,
    name: &str,
    recipe: &Recipe,
    source: &KernelSource,
    again: bool,
    progress: &dyn Progress,
) -> Result<Built, ImageError> {
    recipe.check()?;
    let debian = recipe.base == "debian-12";
    if debian {
        debian::check(store.root())?;
    }
    let draft = store.draft()?;
    let steps = Steps { progress, log: draft.path("log") };
    let kernel = kernel::obtain(source, &store.root().join(".kernels"), &steps)?;
    let busybox = busybox(&store.root().join(".busybox"), &steps)?;
    let arch = std::env::consts::ARCH;
    let inputs = recipe.hash(&[FIRST, SECOND, &kernel.release, &file_hash(&busybox)?, arch])?;
    let known = store.find(name).ok().filter(|image| image.manifest.inputs == inputs && !again);
    if let Some(image) = known {
        return Ok(Built { image, is_new: false });
    }
    progress.step("make the boot archive");
    let mut archive = boot_archive(&kernel, &busybox)?;
    let copied = fs::copy(&kernel.image, draft.path("vmlinuz"));
    copied.map_err(ImageError::io("cannot copy the kernel"))?;
    let (root, content) = if debian {
        let made = debian::root(recipe, store.root(), &draft, &steps)?;
        let content = hash_of(format!("{inputs}\n{}", made.versions));
        (Root::Disk { bytes: made.bytes }, content)
    } else {
        add_system(&mut archive)?;
        for (to, from) in recipe.all_files()? {
            archive.file(&to, &from)?;
        }
        (Root::Memory, inputs.clone())
    };
    archive.write(&draft.path("boot.cpio"))?;
    let manifest = Manifest {
        name: name.to_owned(),
        build: String::new(),
        made_at: now(),
        kernel: kernel.release,
        arch: arch.to_owned(),
        root,
        recipe: recipe.clone(),
        inputs,
    };
    Ok(Built { image: draft.publish(manifest, &content)?, is_new: true })
}

/// The built-in image `minimal`, made on first use.
///
/// # Errors
/// As `build`.
pub fn minimal(
    store: &Store,
    source: &KernelSource,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    store.make()?;
    // Heads that start together make it once.
    let alone = locked(&store.root().join(".minimal"));
    let _alone = alone.map_err(ImageError::io("cannot lock the images"))?;
    let recipe = Recipe::of_base("minimal");
    Ok(build(store, "minimal", &recipe, source, false, progress)?.image)
}

/// What every image boots with.
fn boot_archive(kernel: &Kernel, busybox: &Path) -> Result<Archive, ImageError> {
    let mut archive = Archive::default();
    archive.text("init", FIRST, 0o755);
    archive.program("bin/busybox", busybox)?;
    archive.program("opt/pcluster/boot/busybox", busybox)?;
    archive.text("opt/pcluster/boot/second", SECOND, 0o644);
    let names: Vec<&str> = NEEDED.iter().chain(&WANTED).copied().collect();
    let mut order = String::new();
    for module in kernel.modules.with_needs(&names)? {
        archive.bytes(&format!("modules/{}.ko", module.name), module.bytes, 0o644);
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.text("modules/order", &order, 0o644);
    for folder in ["dev", "proc", "sys", "node"] {
        archive.folder(folder);
    }
    Ok(archive)
}

/// The system of an image without a disk: busybox, and bash because scripts ask for it.
fn add_system(archive: &mut Archive) -> Result<(), ImageError> {
    for (path, text) in ETC {
        archive.text(path, text, 0o644);
    }
    archive.text("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o640);
    archive.folder("usr/local/bin");
    archive.folder("usr/local/sbin");
    archive.link("usr/bin", "../bin");
    archive.link("usr/sbin", "../bin");
    if let Some(bash) = find_program("bash") {
        archive.program("bin/bash", &bash)?;
    }
    Ok(())
}

/// A busybox of this machine, or Debian's.
fn busybox(cache: &Path, steps: &Steps<'_>) -> Result<PathBuf, ImageError> {
    let folder = cache.join(BUSYBOX);
    let fetched = [folder.join("bin/busybox"), folder.join("usr/bin/busybox")];
    let there = |paths: &[PathBuf]| paths.iter().find(|path| path.is_file()).cloned();
    let missing = || ImageError::missing("there is no busybox", format!("apt install {BUSYBOX}"));
    if let Some(found) = find_program("busybox").or_else(|| there(&fetched)) {
        return Ok(found);
    }
    if !fetch::can_fetch() {
        return Err(missing());
    }
    let failed = || ImageError::io(format!("cannot use {}", cache.display()));
    fs::create_dir_all(cache).map_err(failed())?;
    let _alone = locked(&cache.join(".lock")).map_err(failed())?;
    if let Some(found) = there(&fetched) {
        return Ok(found);
    }
    fetch::unpacked(BUSYBOX, cache, steps)?;
    there(&fetched).ok_or_else(missing)
}

fn file_hash(path: &Path) -> Result<String, ImageError> {
    let bytes = fs::read(path);
    let bytes = bytes.map_err(ImageError::io(format!("cannot read {}", path.display())))?;
    Ok(hash_of(bytes))
}

fn hash_of(bytes: impl AsRef<[u8]>) -> String {
    BlobHash(Sha256::digest(bytes).into()).to_string()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
