//! What changes jobs and nodes: `scancel`, and the verbs of `scontrol` but `show`.
//!
//! Invariant: one request to the head for each thing that is named; what it refuses is said in
//! Slurm's words and the others are still done. Deliberately absent: what is shown (`queue`).
mod cancel;
mod pick;
mod said;
mod update;
mod verbs;

#[cfg(test)]
pub(crate) use verbs::described;

use crate::Context;
use crate::options::{self, Order, SCANCEL, SCONTROL, Words};
use pcluster_client::say;
use std::io::BufRead;

/// `scancel`.
pub async fn scancel(args: Vec<String>, context: Context) -> u8 {
    let words = match options::parse(&SCANCEL, &args, Order::Permute) {
        Ok(words) => words,
        Err(refusal) => return refusal.tell(),
    };
    if let Some(page) = options::page(&SCANCEL, &words) {
        let _ = say::data(&page);
        return 0;
    }
    let variable = |name: &str| std::env::var(name).ok();
    let variables = options::from_environment(&SCANCEL, &cancel::VARIABLES, variable);
    match cancel::run(&variables.then(words), &context).await {
        Ok(code) => code,
        Err(refusal) => refusal.tell(),
    }
}

/// `scontrol`.
pub async fn scontrol(args: Vec<String>, context: Context) -> u8 {
    let words = match options::parse(&SCONTROL, &args, Order::Permute) {
        Ok(words) => words,
        Err(refusal) => return refusal.tell(),
    };
    if let Some(page) = options::page(&SCONTROL, &words) {
        let _ = say::data(&page);
        return 0;
    }
    if words.rest.is_empty() {
        interactive(&words, &context).await
    } else {
        command(words, &context).await
    }
}

/// One command.
async fn command(mut words: Words, context: &Context) -> u8 {
    let verb = words.rest.remove(0);
    match verbs::named(&verb) {
        Some("show") => crate::queue::show(words, context).await,
        Some(verb) => match verbs::run(verb, &words, context).await {
            Ok(code) => code,
            Err(refusal) => refusal.tell(),
        },
        None => verbs::unknown(&verb).tell(),
    }
}

/// Without a command they come from stdin, one a line, until `exit`.
async fn interactive(options: &Words, context: &Context) -> u8 {
    let mut code = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(rest) = pcluster_client::submit::split::split(&line) else {
            say::line("scontrol: error: a quote is never closed");
            code = 1;
            continue;
        };
        match rest.first().map(String::as_str) {
            None => {}
            Some("exit" | "quit" | "q") => break,
            Some(_) => {
                let words = Words { said: options.said.clone(), rest };
                code = command(words, context).await;
            }
        }
    }
    code
}

#[cfg(test)]
mod tests;
