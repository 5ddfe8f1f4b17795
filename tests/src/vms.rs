//! Virtual machines of tests: what this machine needs for them, and a few at a time.
//!
//! Deliberately absent: what happens in them (`tests/it/vm`).
use crate::{Setup, not_run};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Where images of tests lie: outside of every checkout, as they take a while to make.
#[must_use]
pub fn images() -> PathBuf {
    let told = std::env::var_os("PCLUSTER_IMAGES_DIR").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
    told.unwrap_or_else(|| {
        cache.unwrap_or_else(|| home.join(".cache")).join("pcluster-tests/images")
    })
}

/// The turn of a test that boots machines: translated ones take a whole processor each. Nothing, said
/// so, where none can be booted.
#[must_use]
pub fn turn() -> Option<MutexGuard<'static, ()>> {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !there("qemu-system-x86_64") {
        not_run("virtual machines: there is no qemu-system-x86_64");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The turn of a test that needs the port of NFS on this machine.
pub fn port_of_nfs() -> MutexGuard<'static, ()> {
    static PORT: Mutex<()> = Mutex::new(());
    PORT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Libraries that a program needs, to be put beside it.
///
/// # Panics
/// Without `ldd`.
#[must_use]
pub fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(program).env("LC_ALL", "C").output().expect("ldd is there");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let path = |line: &str| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = path.split_whitespace().next()?.to_owned();
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    text.lines().filter_map(path).collect()
}

/// A cluster of small machines that share the folder `shared` with the head.
#[must_use]
pub fn setup(compute: &str, shared: &Path, more: &str) -> Setup {
    let shared = format!("[storage]\nshared = \"{}\"\nlocal = \"1 GB\"\n", shared.display());
    Setup {
        compute: compute.to_owned(),
        provider: "vm".to_owned(),
        more: format!("{shared}[limits]\nroot_jobs = true\n{more}"),
        ..Setup::default()
    }
}

/// The compute line of machines that boot quickly.
#[must_use]
pub fn small(max: u32) -> String {
    format!("cpus = 1, memory = \"512 MB\", max = {max}")
}

/// A machine of a test's own, with one disk that outlives it and a console in a file. Translated: a test is
/// not about the processor. It goes with the value.
#[derive(Debug)]
pub struct Machine {
    child: Mutex<Child>,
    console: PathBuf,
}

impl Machine {
    /// Starts it. What its system has made sure of on the disk is there after a cut of its power, and what
    /// it has not is not: the disk's pages are kept by this machine's kernel alone.
    ///
    /// # Panics
    /// When QEMU cannot be started.
    #[must_use]
    pub fn boot(
        kernel: &Path,
        archive: &Path,
        disk: &Path,
        megabytes: u32,
        console: &Path,
    ) -> Self {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-m").arg(format!("{megabytes}M")).args(["-serial", "stdio"]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
        qemu.args(["-append", "console=ttyS0 loglevel=4 panic=-1 reboot=t"]);
        let drive = format!("if=none,id=disk,format=raw,cache=writeback,file={}", disk.display());
        qemu.arg("-drive").arg(drive).args(["-device", "virtio-blk-pci,drive=disk"]);
        qemu.args(["-device", "virtio-rng-pci"]);
        let said = File::create(console).expect("a file can be made");
        let child = qemu.stdin(Stdio::null()).stdout(said).stderr(Stdio::null()).spawn();
        let child = Mutex::new(child.expect("QEMU can be started"));
        Self { child, console: console.to_path_buf() }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has said so far.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// It has switched itself off, or broken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !matches!(self.child().try_wait(), Ok(None))
    }

    /// Cuts its power.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut child = self.child();
        // Ended already is well.
        let _ = child.kill();
        let _ = child.wait();
    }
}
