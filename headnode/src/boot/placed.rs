//! What `pcluster up` wrote beside the file when it placed the head on this machine.
//!
//! Invariant: a head that was placed has the id that everything of it in the account is tagged with.
use super::BootError;
use pcluster_api::places::placed_beside;
use pcluster_model::ClusterId;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// This machine was made for the head.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PlacedHere {
    /// The id that the cluster was given before there was anything of it.
    pub cluster: ClusterId,
    /// Whose the machine is: an admin.
    pub account: String,
    /// Where the volume with the state is mounted.
    #[serde(default)]
    pub volume: Option<PathBuf>,
}

impl PlacedHere {
    /// A state directory on the machine's own disk, where the volume is not mounted yet, would be a new cluster of
    /// the same id.
    ///
    /// # Errors
    /// `NotMounted`: it may come.
    pub fn check_volume(&self) -> Result<(), BootError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(BootError::io("read", "/proc/self/mountinfo"))?;
        // `36 35 98:0 / /mnt rw,noatime …`
        let is_mounted =
            |line: &str| line.split(' ').nth(4).is_some_and(|at| volume == Path::new(at));
        if mounts.lines().any(is_mounted) {
            return Ok(());
        }
        Err(BootError::NotMounted { volume: volume.clone() })
    }

    /// # Errors
    /// A file that cannot be read.
    pub(super) fn beside(config: &Path) -> Result<Option<Self>, BootError> {
        let file = placed_beside(config);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BootError::io("read", file)(error)),
        };
        let read = toml::from_str(&text);
        let bad = |error| BootError::Contradiction(format!("{}: {error}", file.display()));
        read.map(Some).map_err(bad)
    }
}
