//! `sbatch`, and what it shares with `srun` and `salloc`: the specification made of options, and the
//! request that carries it.
//!
//! Invariant: everything that Slurm refuses before it speaks to its controller is refused before
//! anything is sent; stdout has the id and nothing else. Deliberately absent: decisions about jobs.
pub mod directives;
pub mod layout;
mod native;
pub(crate) mod resources;
pub mod script;
pub mod send;
pub mod spec;
mod tell;
mod variables;
pub mod would;

use crate::options::{self, Order, SBATCH, Words};
use crate::refusal::Refusal;
use crate::words::Clock;
use crate::{Context, ask};
use layout::spread;
use pcluster_client::say;
use script::Script;
use spec::{Asked, Here};

pub use variables::of_job as environment;

const COMMAND: &str = "sbatch";

/// `sbatch`.
pub async fn sbatch(args: Vec<String>, context: Context) -> u8 {
    match run(&args, &context).await {
        Ok(code) => code,
        Err(refusal) => refusal.tell_by_variable(),
    }
}

async fn run(args: &[String], context: &Context) -> Result<u8, Refusal> {
    let line = options::parse(&SBATCH, args, Order::StopAtFirst)?;
    if let Some(page) = options::page(&SBATCH, &line) {
        let _ = say::data(&page);
        return Ok(0);
    }
    let script = source(&line)?;
    let now = jiff::Zoned::now();
    let facts = context.job_facts();
    let here = Here { command: COMMAND, facts: &facts, now: &now };
    let Read { words, mut asked } = read(&script, line, &here)?;
    let (environment, warnings) = environment(&words, COMMAND, &facts).await?;
    asked.warnings.extend(warnings);
    if words.has("verbose") {
        say::talk(&tell::defined(&words));
    }
    if asked.nodes_most.is_some() {
        spread(&mut asked, &ask::pools(context, COMMAND).await?);
    }
    let cluster = cluster(&words, context)?;
    let mut request = send::request(COMMAND, args, asked.spec, &script.bytes, &environment)?;
    request.estimate_only = words.has("test-only");
    let answer = send::send(context, COMMAND, &request).await?;
    let quiet = tell::is_quiet(&words);
    if !quiet {
        asked.warnings.iter().for_each(say::line);
    }
    if request.estimate_only {
        if !quiet {
            let pools = ask::pools(context, COMMAND).await?;
            let line = would::would_start(&answer, &request.spec, &pools, &Clock::here());
            say::line(format!("{COMMAND}: {line}"));
        }
        return Ok(0);
    }
    let _ = say::data(&tell::submitted(answer.job, cluster.as_deref(), &words));
    if words.has("wait") {
        return tell::wait(context, answer.job).await;
    }
    Ok(0)
}

/// The script that is meant.
fn source(line: &Words) -> Result<Script, Refusal> {
    match (line.value("wrap"), line.rest.first()) {
        (Some(_), Some(_)) => {
            let text = "Script arguments not permitted with --wrap option";
            Err(Refusal::error(COMMAND, text, 1)
                .hint("quote the whole command:  sbatch --wrap='program a b'"))
        }
        (Some(command), None) => Ok(script::wrapped(command)),
        (None, Some(path)) => script::from_file(path),
        (None, None) => script::from_stdin(),
    }
}

/// What a script and its options ask for.
#[derive(Debug)]
pub(crate) struct Read {
    pub words: Words,
    pub asked: Asked,
}

/// Reads a script's lines, the variables and the command line, the later one winning.
///
/// # Errors
/// Whatever Slurm would refuse before it asks its controller.
pub(crate) fn read(script: &Script, line: Words, here: &Here<'_>) -> Result<Read, Refusal> {
    let text = String::from_utf8_lossy(&script.bytes);
    let shown = if script.path.is_empty() { "stdin" } else { script.name.as_str() };
    let variable = |name: &str| std::env::var(name).ok();
    let words = directives::of_script(&text, shown)?
        .then(options::from_environment(&SBATCH, &directives::VARIABLES, variable))
        .then(line);
    let mut asked = spec::spec(&words, here)?;
    native::apply(&words, here, &mut asked.spec)?;
    asked.warnings.extend(directives::overlooked(&text));
    let spec = &mut asked.spec;
    if spec.name.is_empty() {
        spec.name = spec::name_of(&script.name, COMMAND)?;
    }
    if spec.output.is_empty() {
        let pattern = if spec.array.is_some() { "slurm-%A_%a.out" } else { "slurm-%j.out" };
        pattern.clone_into(&mut spec.output);
    }
    spec.args = words.rest.iter().skip(1).cloned().collect();
    spec.command.clone_from(&script.path);
    spec.submit_dir = here.facts.work_dir.clone().unwrap_or_default();
    asked.warnings.extend(tell::missing_directories(&asked.spec));
    Ok(Read { words, asked })
}

/// The name to print after the id, where `--clusters` was said.
fn cluster(words: &Words, context: &Context) -> Result<Option<String>, Refusal> {
    let Some(asked) = words.value("clusters") else { return Ok(None) };
    let name = match context.head() {
        Ok(head) => head.name,
        Err(failure) => return Err(send::away(COMMAND, &failure)),
    };
    if asked.split(',').any(|word| word == name || word.eq_ignore_ascii_case("all")) {
        return Ok(Some(name));
    }
    let text = format!(
        "'{asked}' can't be reached now, or it is an invalid entry for --cluster.  \
         Use 'sacctmgr list clusters' to see available clusters."
    );
    Err(Refusal::error(COMMAND, text, 1).hint(format!("this is the cluster {name}")))
}

#[cfg(test)]
mod tests;
