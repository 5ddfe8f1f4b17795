//! `init`: writes the first `cluster.toml`.
//!
//! Invariant: a file that is there is never touched.
use crate::cluster::{FILE_NAME, Global};
use crate::failure::{Failure, Outcome, code};
use crate::say;
use clap::Args;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Write a cluster.toml: this machine as a cluster
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster init             cluster.toml in this folder, whose name names the cluster
  pcluster init ~/lab       in that folder
  pcluster config explain   then: every key, its value and what it means")]
pub struct InitArgs {
    /// Where (default: here)
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// The five lines. Only the first is required.
const FIRST_FILE: &str = r#"# The cluster. Every line but the first may go: `pcluster config explain` shows the defaults.
provider = "process"                                    # nodes are processes on this machine
head     = { address = "127.0.0.1" }                    # what nodes dial
compute  = { cpus = 1, memory = "1 GB", max = 2, price = "$0.05/h" }   # the price only makes a bill to look at
image    = "host"                                       # the machine as it is
storage  = { shared = "/", local = "1 GB" }             # paths that nodes see; scratch of each node
"#;

#[derive(Serialize)]
struct Written {
    schema: &'static str,
    file: PathBuf,
}

/// `init`.
///
/// # Errors
/// A file that is already there, or cannot be written.
pub fn run(global: &Global, args: &InitArgs) -> Outcome {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from("."));
    let file = folder.join(FILE_NAME);
    let shown = file.display().to_string();
    let shown = shown.strip_prefix("./").unwrap_or(&shown);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::refused(format!("{shown} is already there, and stays as it is"))
                .hint("pcluster config check    says whether it is right")
                .hint("pcluster up")
        }
        _ => Failure::refused(format!("cannot write {shown}: {error}")),
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut out = OpenOptions::new().write(true).create_new(true).open(&file).map_err(failed)?;
    out.write_all(FIRST_FILE.as_bytes()).map_err(failed)?;
    if global.json {
        say::json(&Written { schema: "pcluster.init/1", file })?;
        return Ok(code::DONE);
    }
    say::line(format!("wrote {shown}: at most 2 nodes of 1 CPU, processes on this machine"));
    say::line("hint: pcluster config check   pcluster up   pcluster run -- hostname");
    Ok(code::DONE)
}
