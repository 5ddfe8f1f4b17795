//! `doctor`: everything that a first job needs, looked at before it waits; and an exit code for monitors.
//!
//! Invariant: what the head's program alone can know (the machine, the state, providers) it says itself,
//! as an errand; what a running head knows of its nodes it is asked. Deliberately absent: mending.
mod head;

use super::up::find_head;
use crate::cluster::{Global, elsewhere, find_file, head as head_of, surroundings};
use crate::config_file::{self, Loaded};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::{render, say};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use pcluster_api::{DoctorView, Finding, StatusView, Topic};
use pcluster_config::problem::Level as NoteLevel;
use std::path::Path;
use std::process::{Command, Stdio};

/// Look for what keeps jobs from running; exit code 1 when something does
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster doctor                        everything, before the first job or when one waits
  pcluster doctor network storage        only these
  pcluster doctor provider               also tries again what is known (a machine by KVM)
  pcluster doctor > /dev/null || alert   for a monitor: 1 when something needs attention
  pcluster doctor --json | jq '.findings[] | select(.level == \"attention\")'

Topics:
  config    the file: mistakes, keys without effect, changes that the head has not read
  head      does it answer, is it of this version, does its state read back
  machine   programs, user, memory, disk, clock, open files
  provider  what nodes need of this machine or of an account; nodes that did not boot
  image     is it there, for this architecture, made of the recipe as it is now
  network   the port that nodes dial, servers of shared paths
  storage   shared paths and disks

It works without a head, too. It changes nothing and starts nothing that costs money.")]
pub struct DoctorArgs {
    /// What to look at (default: everything)
    #[arg(value_name = "TOPIC", value_parser = PossibleValuesParser::new(Topic::ALL.map(Topic::word))
        .map(|word| topic(&word)))]
    pub topics: Vec<Topic>,
}

fn topic(word: &str) -> Topic {
    // The parser lets through these words alone.
    Topic::ALL.into_iter().find(|topic| topic.word() == word).unwrap_or(Topic::Config)
}

/// `doctor`.
///
/// # Errors
/// See [`Failure`]; what it finds wrong is its exit code.
pub async fn run(global: &Global, args: &DoctorArgs) -> Outcome {
    let topics = if args.topics.is_empty() { Topic::ALL.to_vec() } else { args.topics.clone() };
    let (cluster, found) = look(global, args, &topics).await?;
    let found = found.into_iter().filter(|one| topics.contains(&one.topic)).collect();
    let view = DoctorView::new(cluster, found);
    if global.json {
        say::json(&view)?;
    } else {
        say::data(&render::doctor::doctor(&view, &Look::here()))?;
    }
    Ok(if view.attention == 0 { code::DONE } else { code::ATTENTION })
}

async fn look(
    global: &Global,
    args: &DoctorArgs,
    topics: &[Topic],
) -> Result<(String, Vec<Finding>), Failure> {
    let (status, mut found) = ask(global).await;
    let file = find_file(global, &surroundings())?.file;
    let Some(file) = file else {
        let cluster = status.map(|status| status.cluster).unwrap_or_default();
        found.push(no_file(!cluster.is_empty()));
        return Ok((cluster, found));
    };
    let loaded = config_file::load(&file)?;
    found.extend(of_file(&loaded, &file, status.as_ref()));
    let Some(config) = loaded.parsed.config.as_ref() else {
        let rest = "the machine and its providers are looked at when the file is right";
        found.push(Finding::note(Topic::Config, rest));
        return Ok((status.map(|status| status.cluster).unwrap_or_default(), found));
    };
    // A file of another cluster's head says nothing about that head's machine.
    let running = status.as_ref().filter(|status| status.cluster == config.name);
    if let Some(status) = running {
        found.extend(head::of_list(status, config.head.sweep_ms));
    }
    let in_a_job = std::env::var_os("PCLUSTER_JOB_CLUSTER").is_some();
    if in_a_job || elsewhere(global)?.is_some() {
        let rest = "only the head is asked: the rest is looked at on its machine";
        found.push(Finding::note(Topic::Machine, rest));
    } else if pcluster_config::up_refusals(&loaded.parsed).is_empty() {
        found.extend(errand(&file, args, topics, running));
    }
    Ok((config.name.clone(), found))
}

/// What the head says, if one answers. That none does is for its state to judge.
async fn ask(global: &Global) -> (Option<StatusView>, Vec<Finding>) {
    let client = match head_of(global) {
        Ok(head) => head.client,
        Err(_) => return (None, Vec::new()),
    };
    match client.status().await {
        Ok(status) => {
            let nodes = client.nodes().await.ok();
            let found = head::of_status(&status, nodes.as_ref(), env!("CARGO_PKG_VERSION"));
            (Some(status), found)
        }
        Err(error) => {
            let what = "the head takes connections and does not answer";
            let found = Finding::attention(Topic::Head, what).why(error.to_string());
            (None, vec![found.hint("pcluster status    and the end of its log say more")])
        }
    }
}

fn no_file(a_head_answers: bool) -> Finding {
    if a_head_answers {
        return Finding::note(Topic::Config, "no cluster.toml is here: only the head was asked");
    }
    Finding::attention(Topic::Config, "there is no cluster.toml, and no head answers")
        .why("the file is the cluster: looked for here, in the folders above, ~/.config and /etc/pcluster")
        .hint("pcluster init    writes one: this machine as a cluster")
}

fn of_file(loaded: &Loaded, file: &Path, status: Option<&StatusView>) -> Vec<Finding> {
    let parsed = &loaded.parsed;
    let place = |line: usize| match line {
        0 => parsed.file_name.clone(),
        line => format!("{}:{line}", parsed.file_name),
    };
    if parsed.config.is_none() {
        let wrong = |problem: &pcluster_config::Problem| Finding {
            hints: problem.hints.clone(),
            ..Finding::attention(
                Topic::Config,
                format!("{}: {}", place(problem.line), problem.message),
            )
        };
        return parsed.problems.iter().map(wrong).collect();
    }
    let mut found = vec![Finding::ok(Topic::Config, format!("{} is right", parsed.file_name))];
    for refusal in pcluster_config::up_refusals(parsed) {
        let what = format!("{}: {}", place(refusal.line), refusal.message);
        let refused =
            Finding::attention(Topic::Config, what).why("pcluster up refuses the file for it");
        found.push(refused.hint(refusal.hint));
    }
    let warning = |level| level == NoteLevel::Warning;
    found.extend(parsed.notes.iter().map(|note| {
        let said = Finding::note(Topic::Config, format!("{}: {}", place(note.line), note.text));
        if warning(note.level) { said.hint("pcluster config check") } else { said }
    }));
    found.extend(status.and_then(|status| head::of_older_file(status, file)));
    found
}

/// What the head's program finds on this machine.
fn errand(
    file: &Path,
    args: &DoctorArgs,
    topics: &[Topic],
    running: Option<&StatusView>,
) -> Vec<Finding> {
    let trouble = |why: String| {
        let what = "this machine cannot be looked at";
        let found = Finding::attention(Topic::Machine, what).why(why);
        vec![found.hint("scripts/install    installs all programs of one version")]
    };
    let program = match find_head() {
        Ok(program) => program,
        Err(_) => {
            return trouble("there is no pcluster-headnode beside this command or in PATH".into());
        }
    };
    let mut command = Command::new(&program);
    command.arg("checkup").arg("--config").arg(file).stdin(Stdio::null()).stderr(Stdio::inherit());
    if let Some(status) = running {
        command.arg("--running").arg(&status.state_dir);
    }
    if args.topics.contains(&Topic::Provider) {
        command.arg("--thorough");
    }
    let said = match command.args(topics.iter().map(|topic| topic.word())).output() {
        Ok(said) => said,
        Err(error) => return trouble(format!("cannot run {}: {error}", program.display())),
    };
    match serde_json::from_slice::<DoctorView>(&said.stdout) {
        Ok(view) => view.findings,
        Err(_) => {
            trouble(format!("{} says nothing that this command understands", program.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;

    #[test]
    fn a_place_without_a_file_leads_to_init_unless_a_head_answers() {
        assert_eq!(no_file(true).level, Level::Note);
        let none = no_file(false);
        assert_eq!(none.level, Level::Attention);
        assert!(none.hints[0].starts_with("pcluster init"), "{none:?}");
    }

    #[test]
    fn every_topic_is_taught() {
        use clap::Args as _;
        let help = DoctorArgs::augment_args(clap::Command::new("doctor"));
        let help = help.get_after_help().map(ToString::to_string).unwrap_or_default();
        for topic in Topic::ALL {
            assert!(help.contains(&format!("\n  {:<8}  ", topic.word())), "{}", topic.word());
        }
    }
}
