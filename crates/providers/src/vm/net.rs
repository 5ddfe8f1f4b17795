//! A bridge of this machine and the cards of its guests, by `ip` of iproute2. Needs root.
use pcluster_images::find_program;
use pcluster_model::Subnet;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Command;

/// A bridge on which guests see the head and each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    pub name: String,
    pub subnet: Subnet,
    /// It is made with the first machine and removed with the last.
    pub is_ours: bool,
}

/// The card of a machine as this machine sees it: at most 15 letters, like no other.
pub(super) fn tap_name(dir: &Path) -> String {
    let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let digits: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("pct{digits}")
}

fn ip(words: &[&str]) -> io::Result<()> {
    let program = find_program("ip").ok_or_else(|| io::Error::other("there is no ip"))?;
    let output = Command::new(program).args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {}: {why}", words.join(" "))))
}

fn there(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Cards come and go one at a time, so that the last one is the last.
fn alone(nodes: &Path) -> io::Result<fs::File> {
    let path = nodes.join(".bridge.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Makes the card and, with the first one, the bridge. `nodes` is the folder of all instances.
pub(super) fn plug(nodes: &Path, bridge: &Bridge, tap: &str) -> io::Result<()> {
    let _alone = alone(nodes)?;
    if !there(&bridge.name) {
        if !bridge.is_ours {
            return Err(io::Error::other(format!("there is no bridge {}", bridge.name)));
        }
        ip(&["link", "add", "name", &bridge.name, "type", "bridge"])?;
        let head = format!("{}/{}", bridge.subnet.head(), bridge.subnet.length());
        ip(&["addr", "add", &head, "dev", &bridge.name])?;
    }
    ip(&["link", "set", "dev", &bridge.name, "up"])?;
    if !there(tap) {
        ip(&["tuntap", "add", "dev", tap, "mode", "tap"])?;
    }
    ip(&["link", "set", "dev", tap, "master", &bridge.name])?;
    ip(&["link", "set", "dev", tap, "up"])
}

/// Removes the card and, with the last one, a bridge of ours. What is gone is well.
pub(super) fn unplug(nodes: &Path, bridge: &Bridge, tap: &str) -> io::Result<()> {
    let _alone = alone(nodes)?;
    if there(tap) {
        ip(&["link", "del", "dev", tap])?;
    }
    let cards = Path::new("/sys/class/net").join(&bridge.name).join("brif");
    let empty = fs::read_dir(cards).is_ok_and(|mut cards| cards.next().is_none());
    if bridge.is_ours && empty {
        ip(&["link", "del", "dev", &bridge.name])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_a_name_that_the_kernel_takes() {
        let name = tap_name(Path::new("/a/very/long/path/with spaces/nodes/v-7.0"));
        assert_eq!(name.len(), 13);
        assert_ne!(name, tap_name(Path::new("/a/very/long/path/with spaces/nodes/v-7.1")));
    }
}
