//! Whether machines run on the processor itself (KVM) or by translation (TCG): decided by booting one.
//!
//! `/dev/kvm` that opens proves nothing: in a virtual machine without nested virtualisation a guest
//! may hang in its first instructions. What was found out is kept until the machine boots again.
//!
//! Invariant: the trial boots the image `minimal`, so that what is found out is about this machine and
//! never about an image of somebody's.
use super::qemu;
use crate::local::plain;
use pcluster_images::{Image, ImageError};
use pcluster_model::config::VmAccel;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A kernel that runs on the processor says so within a second; a loaded machine gets more.
const PROBE: Duration = Duration::from_secs(10);
const DEVICE: &str = "/dev/kvm";
/// Where it is kept, in the folder of images.
const FILE: &str = ".accel.json";
/// What the probe's guest says (`pcluster_images`, `boot/first.sh`).
const WORDS: &str = "pcluster: this kernel boots";

/// How a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Accel {
    Kvm,
    Tcg,
}

/// `.accel.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    boot_id: String,
    accel: Accel,
}

/// How machines of this machine run; `minimal` is asked for only when it is to be found out.
pub(super) fn decide(
    choice: VmAccel,
    cache: &Path,
    minimal: impl FnOnce() -> Result<Image, ImageError>,
) -> Accel {
    match choice {
        VmAccel::Kvm => Accel::Kvm,
        VmAccel::Tcg => Accel::Tcg,
        VmAccel::Auto => found(cache, minimal),
    }
}

/// Whether the kernel offers it at all; else why not.
pub(super) fn device() -> Result<(), String> {
    match fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "there is no {DEVICE}: the processor cannot, it is switched off in the firmware, or this is a virtual machine itself"
        )),
        Err(error) => Err(format!("{DEVICE}: {}; usermod -aG kvm USER lets one in", plain(&error))),
    }
}

fn found(cache: &Path, minimal: impl FnOnce() -> Result<Image, ImageError>) -> Accel {
    if device().is_err() {
        return Accel::Tcg;
    }
    if let Some(known) = known(cache) {
        return known;
    }
    match minimal() {
        Ok(image) => try_again(cache, &image),
        Err(error) => {
            // Translation works everywhere; the next machine tries again.
            tracing::warn!(%error, "no trial of KVM without the image minimal: machines are translated");
            Accel::Tcg
        }
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// What was found out since this machine booted.
pub(super) fn known(cache: &Path) -> Option<Accel> {
    let bytes = fs::read(cache.join(FILE)).ok()?;
    let known: Known = serde_json::from_slice(&bytes).ok()?;
    (known.boot_id == boot_id()).then_some(known.accel)
}

/// Boots `minimal` by it, whatever is known.
pub(super) fn try_again(cache: &Path, minimal: &Image) -> Accel {
    let works = boots(&minimal.kernel(), &minimal.archive());
    let accel = if works { Accel::Kvm } else { Accel::Tcg };
    tracing::info!(?accel, "found out how virtual machines run here");
    let known = Known { boot_id: boot_id(), accel };
    // Not kept, it is found out again.
    drop(serde_json::to_vec(&known).map(|bytes| fs::write(cache.join(FILE), bytes)));
    accel
}

/// Boots a kernel on the processor and waits for its words.
fn boots(kernel: &Path, archive: &Path) -> bool {
    let Some(program) = qemu::program() else { return false };
    let mut command = Command::new(program);
    command.args(qemu::plain_machine(Accel::Kvm)).args(["-m", "256", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
    command.args(["-append", "console=ttyS0 loglevel=1 panic=-1 reboot=t pcluster.probe=1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let (tell, told) = mpsc::channel();
    if let Some(mut console) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // The guest powers off after its words; a killed one ends here too.
            let _ = console.read_to_end(&mut text);
            let _ = tell.send(String::from_utf8_lossy(&text).contains(WORDS));
        });
    }
    let boots = told.recv_timeout(PROBE).unwrap_or(false);
    // Ended already, or hanging: both are over after this.
    let _ = child.kill();
    let _ = child.wait();
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_is_booted_where_it_is_known_and_nothing_is_kept_of_a_trial_that_could_not_be() {
        let cache = std::env::temp_dir().join(format!("pcv-accel-{}", std::process::id()));
        fs::create_dir_all(&cache).unwrap();
        let asked = || -> Result<Image, ImageError> { panic!("a trial") };
        assert_eq!(decide(VmAccel::Kvm, &cache, asked), Accel::Kvm);
        assert_eq!(decide(VmAccel::Tcg, &cache, asked), Accel::Tcg);
        let lacks = || Err(ImageError::Wrong("no minimal".into()));
        assert_eq!(decide(VmAccel::Auto, &cache, lacks), Accel::Tcg);
        let file = cache.join(".accel.json");
        assert!(!file.exists());
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let known = Known { boot_id, accel: Accel::Tcg };
        fs::write(&file, serde_json::to_vec(&known).unwrap()).unwrap();
        assert_eq!(decide(VmAccel::Auto, &cache, asked), Accel::Tcg);
        fs::remove_dir_all(&cache).unwrap();
    }
}
