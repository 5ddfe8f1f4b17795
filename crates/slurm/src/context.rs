//! What every command here starts with.
use pcluster_client::cluster::{Global, Head, facts_for, head};
use pcluster_client::failure::Failure;
use pcluster_client::submit::process::ProcessFacts;

/// The process a command runs in, and the way to the head.
#[derive(Debug)]
pub struct Context {
    /// Umask and limits of this process, read before any thread was made.
    pub facts: ProcessFacts,
}

impl Context {
    /// What a job of the cluster that is meant takes over from this process.
    #[must_use]
    pub fn job_facts(&self) -> ProcessFacts {
        // What is wrong with it, the command says when it looks for its head.
        facts_for(&Global::of_environment(), &self.facts).unwrap_or_else(|_| self.facts.clone())
    }

    /// The head that is meant: `PCLUSTER_SOCKET` (on nodes), `PCLUSTER_CONFIG`, `PCLUSTER_CLUSTER`,
    /// or the first `cluster.toml` found. No Slurm variable matters.
    ///
    /// # Errors
    /// When no head answers.
    pub fn head(&self) -> Result<Head, Failure> {
        head(&Global::of_environment())
    }
}
