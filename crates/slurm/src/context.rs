//! What every command here starts with.
use pcluster_client::cluster::{Global, Head, head};
use pcluster_client::failure::Failure;
use pcluster_client::submit::process::ProcessFacts;

/// The process a command runs in, and the way to the head.
#[derive(Debug)]
pub struct Context {
    /// Umask and limits of this process, read before any thread was made.
    pub facts: ProcessFacts,
}

impl Context {
    /// The head that is meant: `PCLUSTER_SOCKET` (on nodes), `PCLUSTER_CONFIG`, `PCLUSTER_CLUSTER`,
    /// or the first `cluster.toml` found. No Slurm variable matters.
    ///
    /// # Errors
    /// When no head answers.
    pub fn head(&self) -> Result<Head, Failure> {
        head(&Global::of_environment())
    }
}
