//! `vm.json`: what one machine is made of.
use super::accel::Accel;
use super::net::Bridge;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A whole machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// For people, and the guest's own name.
    pub name: String,
    pub boot: Boot,
    pub accel: Accel,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Size of the node's own disk.
    pub scratch_bytes: u64,
    pub net: Net,
    /// What the head shares with it.
    pub folders: Vec<Folder>,
}

/// What it boots from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Boot {
    /// An image of pcluster.
    Image { kernel: PathBuf, archive: PathBuf, disk: Option<PathBuf> },
    /// A disk that boots by itself and holds an agent that looks for its order.
    Disk { path: PathBuf },
}

/// Its network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Net {
    User,
    Tap { bridge: Bridge, address: Ipv4Addr, tap: String },
}

/// A folder of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folder {
    pub tag: String,
    pub path: PathBuf,
}

impl Spec {
    pub fn read(dir: &Path) -> io::Result<Self> {
        let bytes = fs::read(dir.join("vm.json"))?;
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    }

    /// Before the launch is on disk, so that a torn one is written again.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join("vm.json"), serde_json::to_vec(self)?)
    }
}
