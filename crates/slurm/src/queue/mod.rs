//! What is in the queue and on the nodes: `squeue`, `sinfo`, `scontrol show`, `sprio`.
//!
//! Invariant: a page is a pure function of the head's answer, what was asked for and the reader's
//! clock; a command asks the head once or twice. Deliberately absent: changes (`control`).
pub mod show;
pub mod sinfo;
pub mod sprio;
pub mod squeue;

use crate::options::{self, Effect, Order, Table, Words};
use crate::refusal::Refusal;
use crate::words::Clock;
use crate::{Context, ask, people};
use pcluster_api::RecordsQuery;
use pcluster_client::failure::Failure;
use pcluster_client::say;
use std::time::Duration;

/// Said of the one id that means nothing.
pub const INVALID_JOB: &str = "slurm_load_jobs error: Invalid job id specified";

/// Reads the words of a command; the page of `--help` and its like is an answer too.
///
/// # Errors
/// A page that is all there is to say, or a refusal.
pub fn read(table: &Table, args: &[String]) -> Result<Words, Ended> {
    let words = options::parse(table, args, Order::Permute)?;
    for (name, page) in [
        ("help", options::help as fn(&Table) -> String),
        ("usage", options::usage),
        ("version", |_| options::version()),
    ] {
        if words.has(name) {
            return Err(Ended::Page(page(table)));
        }
    }
    heed(table, &words)?;
    Ok(words)
}

/// Options that would change the result and cannot be done are refused; with `-v` those without
/// effect are listed.
fn heed(table: &Table, words: &Words) -> Result<(), Refusal> {
    for said in &words.said {
        let name = said.option.long;
        match table.long(said.option.name).map(|option| option.effect) {
            Some(Effect::Refused(why)) => {
                let text = format!("--{name} is not supported here");
                return Err(Refusal::error(table.command, text, 1).hint(why));
            }
            Some(Effect::Silent(why)) if words.has("verbose") => {
                say::line(format!("{}: --{name} has no effect here: {why}", table.command));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The line above a table where `-M` was said; `None` where it was not.
///
/// # Errors
/// A cluster is named that is not this one.
pub fn cluster_line(command: &str, words: &Words, own: &str) -> Result<Option<String>, Refusal> {
    let Some(names) = words.value("clusters") else { return Ok(None) };
    let other = names
        .split(',')
        .map(str::trim)
        .find(|name| !name.is_empty() && *name != "all" && *name != own);
    match other {
        Some(name) => {
            let text = format!(
                "'{name}' can't be reached now, or it is an invalid entry for --cluster.  Use 'sacctmgr list clusters' to see available clusters."
            );
            Err(Refusal::error(command, text, 1).hint(format!("this cluster is {own}")))
        }
        None => Ok(Some(format!("CLUSTER: {own}\n"))),
    }
}

/// A command that has ended before its work.
#[derive(Debug)]
pub enum Ended {
    /// This is all there is to say.
    Page(String),
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Says the page or the refusal, and gives the exit code.
#[must_use]
pub fn tell(answer: Result<String, Ended>) -> u8 {
    match answer {
        Ok(page) | Err(Ended::Page(page)) => written(&page),
        Err(Ended::Refused(refusal)) => refusal.tell(),
    }
}

/// A page may have spaces and tabs as its makers left them: they are cleaned cell by cell.
fn written(page: &str) -> u8 {
    match say::data(page) {
        Ok(()) | Err(Failure::ClosedPipe) => 0,
        Err(failure) => {
            say::talk(&failure.render(80));
            1
        }
    }
}

/// A variable of this process.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The words of a command with its name, as `--json` tells them.
#[must_use]
pub fn command_line(name: &str, args: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(args.iter().cloned()).collect()
}

/// Runs `page` once, or again and again.
async fn repeated(seconds: Option<u64>, page: impl AsyncFn() -> Result<String, Ended>) -> u8 {
    loop {
        let code = tell(page().await);
        let Some(seconds) = seconds.filter(|_| code == 0) else { return code };
        if written("\n") != 0 {
            return 0;
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// `squeue`.
pub async fn squeue(args: Vec<String>, context: Context) -> u8 {
    let words = match read(&options::SQUEUE, &args) {
        Ok(words) => words,
        Err(ended) => return tell(Err(ended)),
    };
    if words.has("helpFormat") {
        return written(&squeue::help_format());
    }
    let uid = rustix::process::geteuid().as_raw();
    let wanted = match squeue::Wanted::of(&words, uid, variable) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.tell(),
    };
    let page = async || {
        let clock = Clock::here();
        let list = ask::records(&context, "squeue", &wanted.query(clock.now_ms)).await?;
        people::complain("squeue", wanted.users.as_deref().unwrap_or_default(), &list.records);
        if wanted.json {
            let command = command_line("squeue", &args);
            return Ok(squeue::data(&list, &wanted, &clock, &command)?);
        }
        let line = cluster_line("squeue", &words, &list.cluster)?;
        let page = squeue::page(&list, &wanted, &clock)?;
        say::talk(&squeue::complaints(&wanted));
        Ok(format!("{}{page}", line.filter(|_| wanted.header).unwrap_or_default()))
    };
    repeated(wanted.iterate_seconds, page).await
}

/// `sinfo`.
pub async fn sinfo(args: Vec<String>, context: Context) -> u8 {
    let words = match read(&options::SINFO, &args) {
        Ok(words) => words,
        Err(ended) => return tell(Err(ended)),
    };
    if words.has("helpFormat") {
        return written(&sinfo::help_format());
    }
    let wanted = match sinfo::Wanted::of(&words, variable) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.tell(),
    };
    let page = async || {
        let list = ask::pools(&context, "sinfo").await?;
        if wanted.json {
            let command = command_line("sinfo", &args);
            return Ok(sinfo::data(&list, &wanted, &Clock::here(), &command));
        }
        let line = cluster_line("sinfo", &words, &list.cluster)?;
        let page = sinfo::page(&list, &wanted, &Clock::here());
        say::talk(&sinfo::complaints(&list, &wanted));
        Ok(format!("{}{page}", line.filter(|_| wanted.header).unwrap_or_default()))
    };
    repeated(wanted.iterate_seconds, page).await
}

/// `scontrol show …`: `words` are the options and the words, without the word `show` itself.
pub async fn show(words: Words, context: &Context) -> u8 {
    tell(show::page(&words, context).await)
}

/// `sprio`.
pub async fn sprio(args: Vec<String>, context: Context) -> u8 {
    let page = async {
        let words = read(&sprio::SPRIO, &args)?;
        let ids = sprio::ids(&words)?;
        let list = ask::records(&context, "sprio", &RecordsQuery::default()).await?;
        people::complain("sprio", &sprio::users(&words), &list.records);
        Ok(sprio::page(&list, &words, &ids, &Clock::here(), variable)?)
    };
    tell(page.await)
}

#[cfg(test)]
mod tests;
