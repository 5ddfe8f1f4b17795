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
pub mod nudge;
mod orders;
mod outside;
mod salloc;
mod sattach;
mod signals;
pub mod usage;

use crate::Context;
use crate::options::{self, Order, SRUN, Words, parse};
use crate::refusal::Refusal;
use crate::submit::{self, spec::without_effect};
use outside::{NoNodes, Wish};
use pcluster_model::job::MemoryAsk;
use signals::Signals;

/// `srun`.
pub async fn srun(args: Vec<String>, context: Context) -> u8 {
    run(&args, &context).await.unwrap_or_else(|refusal| refusal.tell_by_variable())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// With `-v`: the options that have no effect here.
fn tell_without_effect(command: &str, words: &Words) {
    if words.has("verbose") {
        without_effect(words, command).iter().for_each(|line| tell!("{line}"));
    }
}

/// The job that this command runs in. The last task of an array has the id of the whole array, so
/// the index is needed where there is one.
fn job_of(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let id = variable("SLURM_JOB_ID").or_else(|| variable("SLURM_JOBID"))?;
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(array), Some(task)) => Some(format!("{array}_{task}")),
        _ => Some(id),
    }
}

async fn run(args: &[String], context: &Context) -> Result<u8, Refusal> {
    let line = parse(&SRUN, args, Order::StopAtFirst)?;
    if let Some(text) = options::page(&SRUN, &line) {
        drop(pcluster_client::say::data(&text));
        return Ok(0);
    }
    if line.value("mpi") == Some("list") {
        tell!("MPI plugin types are...\n\tnone\n\tpmi2\n\tpmi1");
        return Ok(0);
    }
    let mut words = asks::with_variables(line.clone(), variable);
    submit::spec::refuse_what_cannot_be_done(&words, "srun")?;
    tell_without_effect("srun", &words);
    let ask = asks::step_ask(&words, variable)?;
    if ask.command.is_empty() {
        return Err(Refusal::error("srun", "No command given to execute.", 1)
            .hint("srun -n 4 ./program    four tasks of a program"));
    }
    let signals = Signals::catch().map_err(|why| Refusal::error("srun", why.to_string(), 1))?;
    let id = words.value("jobid").map(str::to_owned).or_else(|| job_of(variable));
    match id {
        Some(id) => {
            let head = context.head().map_err(|failure| submit::send::away("srun", &failure))?;
            let found = inside::allocation_of(&head.client, &id, "srun").await;
            let job = found.map_err(|nowhere| nowhere.of_srun(&id))?;
            inside::step(&head.client, &job, ask, &inside::caller(context), signals).await
        }
        None => {
            words = outside::with_variables(&SRUN, outside::SRUN_VARIABLES, words);
            with_nodes_of_its_own(context, args, &words, ask, signals).await
        }
    }
}

/// Outside of a job: nodes first, then the step, then the nodes back.
async fn with_nodes_of_its_own(
    context: &Context,
    args: &[String],
    words: &Words,
    mut ask: asks::StepAsk,
    mut signals: Signals,
) -> Result<u8, Refusal> {
    let program = ask.command.first().map_or("srun", String::as_str);
    let name = program.rsplit('/').next().unwrap_or(program).to_owned();
    let wish = Wish { command: "srun", words, args, name, leased: true };
    let got = match outside::get(context, &wish, &mut signals).await {
        Ok(got) => got,
        Err(NoNodes::Refused(refusal)) => return Err(refusal),
        Err(NoNodes::Told) => return Ok(0),
        Err(NoNodes::Given) => return Ok(1),
    };
    // The limits are the job's already.
    ask.time_limit = None;
    ask.memory = MemoryAsk::Proportional;
    let ran = inside::step(&got.client, &got.job, ask, &inside::caller(context), signals).await;
    got.give_back(ran.as_ref().copied().unwrap_or(1)).await;
    ran
}

/// `salloc`.
pub async fn salloc(args: Vec<String>, context: Context) -> u8 {
    salloc::salloc(&args, &context).await.unwrap_or_else(|refusal| refusal.tell_by_variable())
}

/// `sattach`.
pub async fn sattach(args: Vec<String>, context: Context) -> u8 {
    sattach::sattach(&args, &context).await.unwrap_or_else(|refusal| refusal.tell())
}

#[cfg(test)]
mod tests;
