//! `config check` and `config explain`.
use crate::cluster::{Global, need_file, surroundings};
use crate::config_file::{self, Loaded};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::say;
use clap::{Args, Subcommand};
use pcluster_config::problem::{Level, Note};
use pcluster_config::{Parsed, Refusal};
use pcluster_model::Shape;
use pcluster_model::config::{Config, ProviderKind};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file of the cluster: check it, explain it
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether cluster.toml is right, and what it costs per hour
    #[command(after_help = "\
Examples:
  pcluster config check
  pcluster config check examples/gpu.toml
  pcluster config check --json | jq .problems")]
    Check {
        /// Another file than the one that was found
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show every value in force, where it came from and what it means
    #[command(after_help = "\
Examples:
  pcluster config explain               all keys
  pcluster config explain compute       one table
  pcluster config explain idle_timeout  one key")]
    Explain {
        /// A table or a key
        #[arg(value_name = "KEY")]
        topic: Option<String>,
    },
}

#[derive(Serialize)]
struct Checked<'a> {
    schema: &'static str,
    ok: bool,
    problems: &'a [pcluster_config::Problem],
    notes: &'a [pcluster_config::Note],
    inactive: &'a [pcluster_config::Inactive],
    summary: Option<pcluster_config::Summary>,
}

/// `config check` and `config explain`.
///
/// # Errors
/// A file that is not there, not readable, or (exit code 2) not right.
pub fn run(global: &Global, args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Check { file } => {
            let asked =
                Global { config: file.clone().or_else(|| global.config.clone()), ..global.clone() };
            let file = need_file(&asked, &surroundings())?;
            check(global, &file, &config_file::load(&file)?)
        }
        ConfigCommand::Explain { topic } => {
            let file = need_file(global, &surroundings())?;
            explain(global, &config_file::load(&file)?, topic.as_deref())
        }
    }
}

fn check(global: &Global, file: &Path, loaded: &Loaded) -> Outcome {
    let parsed = &loaded.parsed;
    let summary = parsed.config.as_ref().map(pcluster_config::check_summary);
    let head = super::up::find_head().ok();
    let mut notes: Vec<Note> = parsed.notes.clone();
    notes.extend(refused(parsed));
    if let (Some(config), Some(head)) = (&parsed.config, &head) {
        notes.extend(foreign(config, head.parent().unwrap_or(Path::new("/"))));
        notes.extend(missing_for_vm(config, file, head));
    }
    if global.json {
        say::json(&Checked {
            schema: "pcluster.config-check/1",
            ok: parsed.config.is_some(),
            problems: &parsed.problems,
            notes: &notes,
            inactive: &parsed.inactive,
            summary,
        })?;
        return Ok(if parsed.config.is_some() { code::DONE } else { code::USAGE });
    }
    let Some(summary) = summary else { return Err(config_file::mistakes(loaded)) };
    let width = Look::here().width;
    say::data(&pcluster_config::render_summary(&summary, &parsed.file_name, width))?;
    say::talk(&pcluster_config::render_notes(&notes, false));
    Ok(code::DONE)
}

/// What `up` refuses beside keys without effect, which have notes of their own; and what it needs.
fn refused(parsed: &Parsed) -> Vec<Note> {
    let note = |refusal: Refusal| Note {
        level: Level::Warning,
        line: refusal.line,
        text: format!("{}; pcluster up refuses it. {}", refusal.message, refusal.hint),
    };
    let refused = pcluster_config::unserved(parsed).into_iter().map(note);
    refused.chain(pcluster_config::exported(parsed)).collect()
}

/// Pools with machines of an architecture for which there are no programs beside the head's, in `head`.
fn foreign(config: &Config, head: &Path) -> Vec<Note> {
    let own = std::env::consts::ARCH;
    let lacks = |arch: &str| !head.join(arch).join("pcluster-agent").is_file();
    let mut notes = Vec::new();
    for pool in config.pools.iter().filter(|pool| pool.provider != ProviderKind::Process) {
        let arch =
            |shape: &&Shape| !shape.arch.is_empty() && shape.arch != own && lacks(&shape.arch);
        if let Some(shape) = pool.shapes.iter().find(arch) {
            notes.push(Note {
                level: Level::Warning,
                line: 0,
                text: format!(
                    "pool {}: {} is {arch}, and {} has no programs for it: the image must have the agent of this version",
                    pool.name,
                    shape.name,
                    head.join(&shape.arch).display(),
                    arch = shape.arch
                ),
            });
        }
    }
    notes
}

/// What this machine lacks for pools of virtual machines, as the head's own program finds it; with a head
/// elsewhere it is no matter here.
fn missing_for_vm(config: &Config, file: &Path, head: &Path) -> Vec<Note> {
    if !config.pools.iter().any(|pool| pool.provider == ProviderKind::Vm) {
        return Vec::new();
    }
    let asked = Command::new(head).arg("vm-lacks").arg("--config").arg(file).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let note = |line: &str| Note { level: Level::Warning, line: 0, text: line.to_owned() };
    said.unwrap_or_default().lines().map(note).collect()
}

fn explain(global: &Global, loaded: &Loaded, topic: Option<&str>) -> Outcome {
    config_file::config(loaded)?;
    let unknown = |error: pcluster_config::UnknownTopic| {
        let failure = Failure::no_such(format!("there is no key `{}`", error.word));
        match error.near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("pcluster config explain    shows all keys"),
        }
    };
    if global.json {
        say::json(&pcluster_config::explain_json(&loaded.parsed, topic).map_err(unknown)?)?;
    } else {
        let width = Look::here().width;
        say::data(&pcluster_config::explain(&loaded.parsed, topic, width).map_err(unknown)?)?;
    }
    Ok(code::DONE)
}
