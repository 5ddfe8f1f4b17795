//! `salloc`: nodes for a command, or a shell, that runs here.
//!
//! Invariant: the command has the terminal; signals of it are the command's, and this process only
//! waits, renews, and gives the nodes back.
use super::outside::{self, Got, NoNodes, Wish};
use super::signals::{Signals, Told};
use super::{environment, tell_without_effect};
use crate::Context;
use crate::options::{self, Order, SALLOC, Words, parse};
use crate::refusal::Refusal;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Between two looks whether the job still is.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// `salloc`.
pub(super) async fn salloc(args: &[String], context: &Context) -> Result<u8, Refusal> {
    let line = parse(&SALLOC, args, Order::StopAtFirst)?;
    if let Some(text) = options::page(&SALLOC, &line) {
        drop(pcluster_client::say::data(&text));
        return Ok(0);
    }
    let words = outside::with_variables(&SALLOC, outside::SALLOC_VARIABLES, line);
    tell_without_effect("salloc", &words);
    let keeps = !words.has("no-shell");
    let mut signals =
        Signals::catch().map_err(|why| Refusal::error("salloc", why.to_string(), 1))?;
    let name = words
        .rest
        .first()
        .map_or("interactive", |program| program.rsplit('/').next().unwrap_or(program));
    let wish =
        Wish { command: "salloc", words: &words, args, name: name.to_owned(), leased: keeps };
    let got = match outside::get(context, &wish, &mut signals).await {
        Ok(got) => got,
        Err(NoNodes::Refused(refusal)) => return Err(refusal),
        Err(NoNodes::Told) => return Ok(0),
        Err(NoNodes::Given) => return Ok(1),
    };
    let quiet = words.has("quiet");
    if !quiet {
        tell!("salloc: Granted job allocation {}", got.id);
    }
    if words.has("bell") {
        crate::talk("\u{7}".into());
    }
    if !keeps {
        return Ok(0);
    }
    let code = match run(&words, &got, &mut signals).await {
        Ok(code) => code,
        Err(refusal) => refusal.tell(),
    };
    let id = got.id.clone();
    if !quiet {
        tell!("salloc: Relinquishing job allocation {id}");
    }
    got.give_back(code).await;
    Ok(code)
}

/// What the command finds in its environment: this one, and the job.
fn variables(got: &Got) -> Vec<(String, String)> {
    let stale = |name: &str| name.starts_with("SLURM_") || name.starts_with("PCLUSTER_JOB");
    let here = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !stale(name));
    let job = environment::of_job(&got.job);
    here.chain(job.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}

async fn run(words: &Words, got: &Got, signals: &mut Signals) -> Result<u8, Refusal> {
    let shell = super::variable("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let interactive = words.rest.is_empty();
    let argv = if interactive { vec![shell] } else { words.rest.clone() };
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().envs(variables(got));
    if let Some(dir) = words.value("chdir") {
        command.current_dir(dir);
    }
    let mut child = command.spawn().map_err(|why| {
        let text = why.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        Refusal::error("salloc", format!("Unable to exec command \"{}\": {text}", argv[0]), 1)
    })?;
    let on_loss = match words.value("kill-command") {
        Some(name) => Some(signal_of(name)),
        None => interactive.then_some(Signal::HUP),
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut lost = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|why| Refusal::error("salloc", why.to_string(), 1))?;
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                return Ok(u8::try_from(code & 0xff).unwrap_or(1));
            }
            told = signals.next() => match told {
                // The terminal sends this to the command itself.
                Told::Interrupt | Told::Resized => {}
                // An interactive shell does not hear TERM.
                Told::End => send(&child, if interactive { Signal::HUP } else { Signal::TERM }),
                Told::Forward(number) => {
                    if let Some(signal) = Signal::from_named_raw(number) {
                        send(&child, signal);
                    }
                }
            },
            _ = look.tick(), if !lost => {
                if outside::has_ended(&got.client, &got.id).await {
                    lost = true;
                    tell!("salloc: Job allocation {} has been revoked.", got.id);
                    if let Some(signal) = on_loss {
                        send(&child, signal);
                    }
                }
            }
        }
    }
}

fn signal_of(name: &str) -> Signal {
    let known = pcluster_client::submit::words::signal("--kill-command", name);
    known.ok().and_then(|signal| Signal::from_named_raw(signal.0)).unwrap_or(Signal::TERM)
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago.
        let _ = kill_process(pid, signal);
    }
}
