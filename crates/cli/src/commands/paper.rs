//! `completion`, `man`, `version`: what is made from the command line itself.
use crate::cluster::Global;
use crate::failure::{Failure, Outcome, code};
use crate::say;
use clap::{Args, Command};
use clap_complete::Shell;
use serde::Serialize;
use std::path::PathBuf;

/// Write the completion of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster completion bash > /etc/bash_completion.d/pcluster
  pcluster completion zsh > ~/.zfunc/_pcluster
  pcluster completion fish > ~/.config/fish/completions/pcluster.fish")]
pub struct CompletionArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Write the manual pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster man /usr/local/share/man/man1
  pcluster man . && man ./pcluster-submit.1")]
pub struct ManArgs {
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Show the version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster version
  pcluster version --json")]
pub struct VersionArgs {}

/// `completion`.
///
/// # Errors
/// A closed pipe.
pub fn completion(args: &CompletionArgs, mut command: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "pcluster", &mut script);
    say::bytes(&script)?;
    Ok(code::DONE)
}

/// `man`.
///
/// # Errors
/// A folder that cannot be written.
pub fn man(args: &ManArgs, command: Command) -> Outcome {
    let failed = |error: std::io::Error| {
        Failure::refused(format!("cannot write manual pages to {}: {error}", args.folder.display()))
    };
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(command, &args.folder).map_err(failed)?;
    say::line(format!("manual pages are in {}", args.folder.display()));
    Ok(code::DONE)
}

#[derive(Serialize)]
struct Version {
    schema: &'static str,
    version: &'static str,
}

/// `version`.
///
/// # Errors
/// A closed pipe.
pub fn version(global: &Global) -> Outcome {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    if global.json {
        say::json(&Version { schema: "pcluster.version/1", version: VERSION })?;
    } else {
        say::data(&format!("pcluster {VERSION}\n"))?;
    }
    Ok(code::DONE)
}
