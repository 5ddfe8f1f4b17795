//! What else this program does, for `pcluster admin` and `pcluster provider`: nothing of it is a head.
use crate::trial;
use std::process::ExitCode;

/// One errand; its words are the subcommand's.
#[derive(clap::Subcommand)]
pub enum Errand {
    #[command(flatten)]
    Upkeep(pcluster_upkeep::Command),
    /// Hold a provider's program against the rules that the head relies on
    ProviderTest(trial::TrialArgs),
}

impl Errand {
    /// Does it; what it found is the exit code.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Upkeep(upkeep) => pcluster_upkeep::main(upkeep),
            Self::ProviderTest(args) => trial::main(args),
        }
    }
}
