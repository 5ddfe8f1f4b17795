//! Allocations and steps: `srun`, `salloc`, `sattach`.
//!
//! Invariant: this command is the coordinator of its step; the head only decides about room, and the
//! daemons only about their own tasks. Deliberately absent: anything that must survive this process.
mod asks;
mod bind;
mod console;
mod coordinate;
mod environment;
mod exits;
mod input;
mod inside;
mod layout;
mod multi;
mod names;
mod orders;
mod part;
mod signals;
mod terminal;

use crate::Context;
use crate::options::{self, Order, SRUN, Words, parse};
use crate::refusal::Refusal;
use signals::Signals;

/// `srun`.
pub async fn srun(args: Vec<String>, context: Context) -> u8 {
    run(&args, &context).await.unwrap_or_else(|refusal| refusal.tell())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a command says without doing anything; `None` when it has work.
fn only_words(table: &options::Table, words: &Words) -> Option<String> {
    let last = words.last_of(&["help", "usage", "version"])?;
    Some(match last.option.name {
        "version" => options::version(),
        "usage" => options::usage(table),
        _ => options::help(table),
    })
}

/// Options that would change the result and cannot be done.
fn refuse_impossible(command: &str, words: &Words) -> Result<(), Refusal> {
    for said in &words.said {
        if let options::Effect::Refused(why) = said.option.effect {
            let text = format!("--{} is not supported: {why}", said.option.long);
            return Err(Refusal::error(command, text, 1));
        }
        if let options::Effect::Silent(why) = said.option.effect
            && words.has("verbose")
        {
            eprintln!("{command}: --{} has no effect here: {why}", said.option.long);
        }
    }
    Ok(())
}

async fn run(args: &[String], context: &Context) -> Result<u8, Refusal> {
    let line = parse(&SRUN, args, Order::StopAtFirst)?;
    if let Some(text) = only_words(&SRUN, &line) {
        print!("{text}");
        return Ok(0);
    }
    if line.value("mpi") == Some("list") {
        eprintln!("MPI plugin types are...\n\tnone\n\tpmi2\n\tpmi1");
        return Ok(0);
    }
    refuse_impossible("srun", &line)?;
    let words = asks::with_variables(line, variable);
    let ask = asks::step_ask(&words, variable)?;
    if ask.command.is_empty() {
        return Err(Refusal::error("srun", "No command given to execute.", 1)
            .hint("srun -n 4 ./program    four tasks of a program"));
    }
    let signals = Signals::catch().map_err(|why| Refusal::error("srun", why.to_string(), 1))?;
    let id = words.value("jobid").map(str::to_owned);
    let id = id.or_else(|| variable("SLURM_JOB_ID")).or_else(|| variable("SLURM_JOBID"));
    let head = context.head().map_err(|failure| {
        let text =
            "Unable to allocate resources: Unable to contact slurm controller (connect failure)";
        Refusal::error("srun", text, 1).because(&failure)
    })?;
    let Some(id) = id else {
        return Err(Refusal::error("srun", "not built yet: srun outside of a job", 1));
    };
    let job = inside::allocation_of(&head.client, &id).await?;
    inside::step(&head.client, &job, ask, &inside::caller(context), signals).await
}

/// `salloc`.
pub async fn salloc(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("salloc: error: not built yet");
    1
}

/// `sattach`.
pub async fn sattach(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sattach: error: not built yet");
    1
}

#[cfg(test)]
mod tests;
