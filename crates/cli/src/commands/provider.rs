//! `provider`: what somebody who writes a provider needs.
//!
//! Invariant: the head's own program does it, because it holds the providers. Deliberately absent:
//! anything of a cluster that is there.
use super::up::{find_head, run_head};
use crate::cluster::Global;
use crate::failure::Outcome;
use clap::{Args, Subcommand};
use pcluster_model::DurationMs;
use pcluster_model::units::{parse_duration, parse_size};
use std::ffi::OsString;
use std::process::Command;

/// Try a provider that is a program of its own; say what a provider needs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster provider test ./boxes                 every rule that the head relies on
  pcluster provider policy >policy.json          what a head may do in an AWS account")]
pub struct ProviderArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Hold a program against every rule that the head relies on; it launches a dozen machines and ends them
    #[command(after_help = "\
Examples:
  pcluster provider test ./boxes
  pcluster provider test --shape small --memory '2 GB' --patience '5 min' ./my-cloud --region x

The program is called once for each verb, with one JSON object on its standard
input; docs/providers.md tells what it must answer. The exit code is 1 when a
rule does not hold. No head is needed, and no cluster is touched: the machines
carry an id of their own, find nobody to join, and are ended.")]
    Test(TestArgs),
    /// Write the smallest IAM policy that a head needs in an AWS account, made from the calls that it makes
    #[command(after_help = "\
Examples:
  pcluster provider policy >policy.json
  aws iam put-role-policy --role-name pcluster-head --policy-name pcluster --policy-document file://policy.json
  pcluster provider policy --place >place.json    what you need, for a head that `up` puts on an instance

`pcluster doctor provider` tries each right of the head's without doing anything.")]
    Policy(PolicyArgs),
}

/// Whose policy.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Of who runs `up` and `down` of a head that lives on an instance (`head.type`)
    #[arg(long)]
    pub place: bool,
    /// The role that the head's machine gets, and the only one that may be passed to it
    #[arg(long, default_value = "pcluster-head", requires = "place")]
    pub role: String,
}

/// The program, and machines that it can make.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Name of the shape that is asked for
    #[arg(long, default_value = "1c")]
    pub shape: String,
    /// Its CPUs
    #[arg(long, default_value_t = 1)]
    pub cpus: u32,
    /// Its memory
    #[arg(long, default_value = "512 MB", value_parser = size)]
    pub memory: u64,
    /// The image that is asked for
    #[arg(long, default_value = "host")]
    pub image: String,
    /// A machine may take so long to appear, to speak on its console, or to go
    #[arg(long, default_value = "2 min", value_parser = duration)]
    pub patience: DurationMs,
    /// How long after a call its list may still be wrong
    #[arg(long, default_value = "0 s", value_parser = duration)]
    pub consistency: DurationMs,
    /// Machines without a head switch themselves off, as `[external.NAME] power_off` says
    #[arg(long)]
    pub power_off: bool,
    /// The program and its first words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<DurationMs, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// `provider`.
///
/// # Errors
/// No program of the head; a rule that does not hold is an exit code.
pub fn run(global: &Global, args: &ProviderArgs) -> Outcome {
    let mut command = Command::new(find_head()?);
    let test = match &args.what {
        What::Test(test) => test,
        What::Policy(policy) => {
            command.arg("ec2-policy");
            if policy.place {
                command.arg(format!("--place={}", policy.role));
            }
            return run_head(&mut command);
        }
    };
    command.arg("provider-test");
    for (option, value) in [
        ("--shape", test.shape.clone()),
        ("--cpus", test.cpus.to_string()),
        ("--memory-bytes", test.memory.to_string()),
        ("--image", test.image.clone()),
        ("--patience-seconds", test.patience.0.div_ceil(1000).to_string()),
        ("--consistency-seconds", test.consistency.0.div_ceil(1000).to_string()),
    ] {
        command.arg(format!("{option}={value}"));
    }
    if test.power_off {
        command.arg("--power-off");
    }
    if global.json {
        command.arg("--json");
    }
    run_head(command.arg("--").args(&test.command))
}
