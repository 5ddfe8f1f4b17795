//! What else this program does, for `pcluster admin`, `doctor` and `provider`: nothing of it is a head.
use crate::boot::read_config;
use crate::{checkup, image, placing, trial};
use pcluster_model::config::{Pool, ProviderKind, ShareSource, VmNetwork};
use pcluster_providers::ec2;
use pcluster_providers::vm::{Needs, lacks, machine};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One errand; its words are the subcommand's.
#[derive(clap::Subcommand)]
pub enum Errand {
    #[command(flatten)]
    Upkeep(pcluster_upkeep::Command),
    /// Hold a provider's program against the rules that the head relies on
    ProviderTest(trial::TrialArgs),
    /// Look at this machine, the state and the providers of a file, for `pcluster doctor`
    Checkup(checkup::CheckupArgs),
    /// Build, list and remove images of virtual machines
    Image(image::ImageArgs),
    /// Say what this machine lacks for the pools of virtual machines in a file, a line each
    #[command(hide = true)]
    VmLacks {
        #[arg(long)]
        config: PathBuf,
    },
    /// Write the smallest policy that a head needs in an AWS account
    Ec2Policy {
        /// That of who makes the head's machine; the role that this machine gets
        #[arg(long, value_name = "ROLE")]
        place: Option<String>,
    },
    /// See or make the machine that a head lives on, for `pcluster up`
    #[command(hide = true)]
    PlaceHead(placing::PlaceArgs),
    /// End that machine and all of its cluster, for `pcluster down`
    #[command(hide = true)]
    RemoveHead(placing::RemoveArgs),
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
            Self::Checkup(args) => checkup::main(args),
            Self::Image(args) => image::main(args),
            Self::Ec2Policy { place } => {
                let policy = place.as_deref().map_or_else(ec2::policy, ec2::place_policy);
                println!("{policy:#}");
                ExitCode::SUCCESS
            }
            Self::PlaceHead(args) => placing::place(args),
            Self::RemoveHead(args) => placing::remove(args),
            Self::VmLacks { config } => vm_lacks(config),
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

/// Each pool's lacks once, where the first pool that has them is named.
fn vm_lacks(config: &Path) -> ExitCode {
    let file = match read_config(config) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let bridge = file.config.vm.network != VmNetwork::User;
    let shares = |pool: &Pool| pool.shares.iter().any(|share| share.source == ShareSource::Head);
    let mut told = Vec::new();
    for pool in file.config.pools.iter().filter(|pool| pool.provider == ProviderKind::Vm) {
        for lack in lacks(Needs { bridge, folders: shares(pool) }) {
            if !told.contains(&lack) {
                println!("pool {}: {}: {}", pool.name, lack.what, lack.help);
                told.push(lack);
            }
        }
    }
    ExitCode::SUCCESS
}
