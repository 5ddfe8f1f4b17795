//! What `pcluster up` wrote beside the file when it placed the head on this machine.
//!
//! Invariant: a head that was placed has the id that everything of it in the account is tagged with.
use super::BootError;
use pcluster_api::places::placed_beside;
use pcluster_model::ClusterId;
use serde::Deserialize;
use std::io;
use std::path::Path;

/// This machine was made for the head.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PlacedHere {
    /// The id that the cluster was given before there was anything of it.
    pub cluster: ClusterId,
    /// Whose the machine is: an admin.
    pub account: String,
}

impl PlacedHere {
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
