//! What else this program does, for `pcluster admin` and `pcluster provider`: nothing of it is a head.
use crate::{image, trial};
use pcluster_providers::vm::machine;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// One errand; its words are the subcommand's.
#[derive(clap::Subcommand)]
pub enum Errand {
    #[command(flatten)]
    Upkeep(pcluster_upkeep::Command),
    /// Hold a provider's program against the rules that the head relies on
    ProviderTest(trial::TrialArgs),
    /// Build, list and remove images of virtual machines
    Image(image::ImageArgs),
    /// Be a virtual machine
    #[command(hide = true)]
    VmMachine { dir: PathBuf },
    /// Be a part of a virtual machine, and end with it
    #[command(hide = true)]
    VmPart {
        parent: i32,
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
}

impl Errand {
    /// Does it; what it found is the exit code.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Upkeep(upkeep) => pcluster_upkeep::main(upkeep),
            Self::ProviderTest(args) => trial::main(args),
            Self::Image(args) => image::main(args),
            Self::VmMachine { dir } => ended(machine::run(dir)),
            Self::VmPart { parent, words } => ended(machine::part(*parent, words)),
        }
    }
}

fn ended(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
