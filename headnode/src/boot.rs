//! From a file and an empty folder to everything a head needs, or words about what is missing.
//!
//! Invariant: one head per state directory (a lock that dies with the process); what must never
//! change (id, secret, certificate, port) is made once and read ever after.
mod file;
mod placed;
mod state;

pub use file::{ConfigFile, read_config};
pub use placed::PlacedHere;
pub use state::{StateDir, Stored};

use std::path::PathBuf;

/// Why a head cannot start. The text is for people; `exit_code` for programs.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file is wrong; the text shows every mistake with its line.
    #[error("{0}")]
    Config(String),
    /// The file is right and asks for what this version must not pretend to do.
    #[error("{0}")]
    Refused(String),
    /// Another head has this state directory.
    #[error(
        "{} belongs to a running head ({holder})\nhint: pcluster status shows it; pcluster down ends it",
        state_dir.display()
    )]
    Running { state_dir: PathBuf, holder: String },
    #[error(transparent)]
    Places(#[from] pcluster_api::places::PlacesError),
    #[error(transparent)]
    Store(#[from] pcluster_store::StoreError),
    #[error(transparent)]
    Rows(#[from] pcluster_core::rows::RowError),
    #[error(transparent)]
    Tls(#[from] crate::agents::tls::TlsError),
    #[error(transparent)]
    Blobs(#[from] pcluster_upkeep::blobs::BlobError),
    /// The volume with the state of a placed head.
    #[error(
        "the volume with the head's state is not mounted at {}\nhint: pcluster up, where the head was placed from, mounts it",
        volume.display()
    )]
    NotMounted { volume: PathBuf },
    /// The state directory contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

impl BootError {
    /// Of the documented table: 2 for the file, 3 for a refusal, 1 for trouble of this machine.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            // What may mend itself is worth another start.
            Self::Store(error) if error.is_of_this_machine() => 1,
            Self::Refused(_) | Self::Running { .. } | Self::Store(_) | Self::Contradiction(_) => 3,
            Self::NotMounted { .. }
            | Self::Places(_)
            | Self::Rows(_)
            | Self::Tls(_)
            | Self::Blobs(_)
            | Self::Io { .. } => 1,
        }
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

#[cfg(test)]
mod tests;
