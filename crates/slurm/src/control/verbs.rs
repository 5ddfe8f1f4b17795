//! The verbs of `scontrol` that change something or ask for one thing.
//!
//! Invariant: a verb of real Slurm is done, or named with what to use instead; nothing is half
//! known. Deliberately absent: `show`.
use super::pick::asked;
use super::said::trouble_words;
use super::update::{self, Entity};
use crate::ask::{self, Trouble};
use crate::options::Words;
use crate::refusal::Refusal;
use crate::steps::nudge;
use crate::words::{State, hosts, jobid};
use crate::{Context, options};
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{JobRecord, Problem, ProblemKind, RecordsQuery};
use pcluster_client::say;
use pcluster_model::JobKind;
use std::time::Duration;

/// How a verb is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// A change of each job that is named.
    Job(Change),
    Show,
    Update,
    Ping,
    Write,
    WaitJob,
    Version,
    Help,
    /// Nothing is to be done, and that is right here.
    Nothing,
    /// Not here, and what to use instead.
    Instead(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Hold,
    Release,
    Suspend,
    Resume,
    Requeue,
    RequeueHold,
}

const DAEMONS: &str = "pcluster up and pcluster down start and stop the head";
const FILE: &str = "change cluster.toml, then pcluster down and pcluster up";
const PRIORITY: &str = "scontrol update jobid=ID priority=N (admins), or nice=N for the others";

/// Every verb of real Slurm, longest names first where one begins another.
const VERBS: [(&str, Verb); 42] = [
    ("abort", Verb::Instead(DAEMONS)),
    ("all", Verb::Nothing),
    ("cancel_reboot", Verb::Instead("nodes start fresh; pcluster node drain NODE replaces one")),
    ("cluster", Verb::Nothing),
    ("completing", Verb::Nothing),
    ("create", Verb::Instead(FILE)),
    ("delete", Verb::Instead(FILE)),
    ("details", Verb::Nothing),
    ("errnumstr", Verb::Instead("errors come with their words")),
    ("federation", Verb::Nothing),
    ("fsdampeningfactor", Verb::Instead("there is no fair share")),
    ("future", Verb::Nothing),
    ("getaddrs", Verb::Instead("pcluster nodes shows nodes")),
    ("help", Verb::Help),
    ("hide", Verb::Nothing),
    ("hold", Verb::Job(Change::Hold)),
    ("uhold", Verb::Job(Change::Hold)),
    ("local", Verb::Nothing),
    ("listpids", Verb::Instead("srun --jobid=ID --overlap ps x shows a job's processes")),
    ("notify", Verb::Instead("a message has nowhere to go but the job's output file")),
    ("oneliner", Verb::Nothing),
    ("pidinfo", Verb::Instead("srun --jobid=ID --overlap ps x shows a job's processes")),
    ("ping", Verb::Ping),
    ("quiet", Verb::Nothing),
    ("reboot", Verb::Instead("pcluster node drain NODE: nodes start fresh")),
    ("reboot_nodes", Verb::Instead("pcluster node drain NODE: nodes start fresh")),
    (
        "reconfigure",
        Verb::Instead("the head reads cluster.toml at its start, or at the signal HUP"),
    ),
    ("release", Verb::Job(Change::Release)),
    ("requeuehold", Verb::Job(Change::RequeueHold)),
    ("requeue", Verb::Job(Change::Requeue)),
    ("resume", Verb::Job(Change::Resume)),
    ("schedloglevel", Verb::Instead(DAEMONS)),
    ("setdebug", Verb::Instead(DAEMONS)),
    ("show", Verb::Show),
    ("shutdown", Verb::Instead(DAEMONS)),
    ("suspend", Verb::Job(Change::Suspend)),
    ("takeover", Verb::Instead("there is one head")),
    ("token", Verb::Instead("who asks is known by the socket")),
    ("top", Verb::Instead(PRIORITY)),
    ("update", Verb::Update),
    ("version", Verb::Version),
    ("wait_job", Verb::WaitJob),
];
const WRITE: (&str, Verb) = ("write", Verb::Write);

/// Each verb with what it does here, for `docs/slurm.md`.
#[cfg(test)]
pub(crate) fn described() -> Vec<(&'static str, String)> {
    let here = |verb: &Verb| match verb {
        Verb::Nothing => "**no effect**".to_owned(),
        Verb::Instead(what) => format!("**refused**: {what}"),
        _ => "same".to_owned(),
    };
    let mut rows: Vec<_> = all().map(|(name, verb)| (*name, here(verb))).collect();
    rows.sort_unstable();
    rows
}

fn all() -> impl Iterator<Item = &'static (&'static str, Verb)> {
    VERBS.iter().chain([&WRITE])
}

/// The verb that a word is or begins, in any case.
#[must_use]
pub(super) fn named(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let exact = all().find(|(name, _)| *name == word);
    let begun = || all().find(|(name, _)| word.len() >= 2 && name.starts_with(&word));
    exact.or_else(begun).map(|(name, _)| *name)
}

/// `invalid keyword: bogus`.
#[must_use]
pub(super) fn unknown(word: &str) -> Refusal {
    Refusal::plain(format!("invalid keyword: {word}"), 1).hint("scontrol --help shows the verbs")
}

/// Does it.
pub(super) async fn run(name: &str, words: &Words, context: &Context) -> Result<u8, Refusal> {
    let verb = all().find(|(known, _)| *known == name).map_or(Verb::Nothing, |(_, verb)| *verb);
    let needs_words = matches!(verb, Verb::Job(_) | Verb::WaitJob);
    if needs_words && words.rest.is_empty() {
        return Err(Refusal::plain(format!("too few arguments for keyword:{name}"), 1));
    }
    match verb {
        Verb::Job(change) => change_jobs(change, words, context).await,
        Verb::Update if words.rest.is_empty() => {
            Err(Refusal::plain("too few arguments for update keyword", 1))
        }
        Verb::Update => update_entity(words, context).await,
        Verb::Ping => Ok(ping(context).await),
        Verb::Write => write(words, context).await,
        Verb::WaitJob => wait_job(words, context).await,
        Verb::Version => {
            let _ = say::data(&options::version());
            Ok(0)
        }
        Verb::Help => {
            let _ = say::data(&options::help(&options::SCONTROL));
            Ok(0)
        }
        Verb::Show | Verb::Nothing => Ok(0),
        Verb::Instead(what) => {
            let text = format!("{name} is not supported here");
            Err(Refusal::error("scontrol", text, 1).hint(what))
        }
    }
}

/// The jobs of the words: ids with commas or blanks between, `jobid=41`, `jobname=x`.
async fn jobs(words: &[String], context: &Context) -> Result<Vec<String>, Refusal> {
    let mut found = Vec::new();
    for word in words {
        let lower = word.to_ascii_lowercase();
        if let Some((key, _)) = lower.split_once('=') {
            let value = &word[key.len() + 1..];
            match key {
                "name" | "jobname" => found.extend(of_name(value, context).await?),
                _ => found.extend(split_ids(value)),
            }
        } else {
            found.extend(split_ids(word));
        }
    }
    Ok(found)
}

/// Each id as the head reads it; a word that is none stays as it is, to be named.
fn split_ids(text: &str) -> Vec<String> {
    match jobid::list(text) {
        Ok(ids) => ids.iter().map(asked).collect(),
        Err(_) => vec![text.to_owned()],
    }
}

async fn of_name(name: &str, context: &Context) -> Result<Vec<String>, Refusal> {
    let query = RecordsQuery { names: Some(name.to_owned()), ..RecordsQuery::default() };
    let list = ask::records(context, "scontrol", &query).await?;
    let uid = rustix::process::getuid().as_raw();
    let mut ids: Vec<u64> = list
        .records
        .iter()
        .filter(|record| record.name == name && (uid == 0 || record.uid == uid))
        .map(|record| record.job)
        .collect();
    ids.dedup();
    Ok(ids.iter().map(u64::to_string).collect())
}

async fn change_jobs(change: Change, words: &Words, context: &Context) -> Result<u8, Refusal> {
    let mut code = 0;
    for id in jobs(&words.rest, context).await? {
        let done = ask::again(context, async |client| match change {
            Change::Hold => client.act_on_job(&id, "hold").await,
            Change::Release => client.act_on_job(&id, "release").await,
            Change::Suspend => client.suspend(&id, true).await,
            Change::Resume => client.suspend(&id, false).await,
            Change::Requeue | Change::RequeueHold if never_again(client, &id).await? => {
                Err(disabled(&id))
            }
            Change::Requeue => client.act_on_job(&id, "requeue").await,
            Change::RequeueHold => client.requeue_held(&id).await,
        });
        let nothing = |word: &str| Trouble::Refused(ClientError::Problem(problem(word)));
        let trouble = match done.await {
            Ok(answer) if answer.changed == 0 && change == Change::Resume => {
                nothing("not_suspended")
            }
            Ok(_) => continue,
            // What runs is held for the case that it comes back: there is nothing to hold now.
            Err(Trouble::Refused(ClientError::Problem(no))) if no.word == "not_pending" => continue,
            Err(trouble) => trouble,
        };
        let last = matches!(change, Change::Hold | Change::Release).then_some("slurm_suspend");
        code = code.max(told(&id, &trouble, last, words));
    }
    Ok(code)
}

/// Whether the job said `--no-requeue`: Slurm holds that against whoever asks by hand, too.
async fn never_again(client: &Client, id: &str) -> Result<bool, ClientError> {
    let query = RecordsQuery { ids: Some(id.to_owned()), ended: true, ..RecordsQuery::default() };
    let list = client.records(&query).await?;
    Ok(list.records.iter().any(said_never_again))
}

/// Of an allocation something else is wrong: there is no script that could run again.
pub(super) fn said_never_again(record: &JobRecord) -> bool {
    record.kind == JobKind::Batch && !record.requeue
}

fn disabled(id: &str) -> ClientError {
    let text = "the job was submitted with --no-requeue";
    let problem = Problem::new(ProblemKind::Refused, text)
        .hint(format!("pcluster requeue {id} does it as it is"));
    ClientError::Problem(Problem { word: "disabled".to_owned(), ..problem })
}

fn problem(word: &str) -> Problem {
    Problem { word: word.to_owned(), ..Problem::new(ProblemKind::Refused, "it goes on already") }
}

/// `TEXT for job ID`, and a second line for some verbs.
fn told(id: &str, trouble: &Trouble, last: Option<&str>, words: &Words) -> u8 {
    let (text, hints) = trouble_words(trouble);
    let mut refusal = Refusal::plain(format!("{text} for job {id}"), 1);
    if let Some(last) = last {
        refusal = refusal.line(format!("{last} error: {text}"));
    }
    if words.has("quiet") {
        return 1;
    }
    hints.into_iter().fold(refusal, Refusal::hint).tell()
}

async fn update_entity(words: &Words, context: &Context) -> Result<u8, Refusal> {
    let mut pairs = update::pairs(&words.rest)?;
    match update::entity(&mut pairs)? {
        Entity::Jobs(ids) => update_jobs(split_ids(&ids), &pairs, words, context).await,
        Entity::JobName(name) => {
            let ids = of_name(&name, context).await?;
            if ids.is_empty() {
                return Err(Refusal::error("scontrol", format!("No jobs with name '{name}'"), 1));
            }
            update_jobs(ids, &pairs, words, context).await
        }
        Entity::Nodes(list) => update_nodes(&list, &pairs, context).await,
        Entity::Other(why) => {
            let text = "slurm_update error: Requested operation not supported on this system";
            Err(Refusal::plain(text, 1).hint(why))
        }
    }
}

async fn update_jobs(
    ids: Vec<String>,
    pairs: &[(String, String)],
    words: &Words,
    context: &Context,
) -> Result<u8, Refusal> {
    let changes = update::changes(pairs, &jiff::Zoned::now())?;
    let mut code = 0;
    for id in ids {
        let mut request = changes.request.clone();
        if let Some(minutes) = changes.more_minutes {
            let query = RecordsQuery { ids: Some(id.clone()), ..RecordsQuery::default() };
            let list = ask::records(context, "scontrol", &query).await?;
            let limit = list.records.first().and_then(|record| record.time_limit_ms);
            request.time_limit_ms = Some(update::moved(limit, minutes)?);
        }
        let is_change = serde_json::to_value(&request).ok()
            != serde_json::to_value(pcluster_api::UpdateRequest::default()).ok();
        let done = ask::again(context, async |client| {
            if is_change {
                client.update(&id, &request).await?;
            }
            match changes.hold {
                Some(true) => client.act_on_job(&id, "hold").await.map(|_| ()),
                Some(false) => client.act_on_job(&id, "release").await.map(|_| ()),
                None => Ok(()),
            }
        });
        if let Err(trouble) = done.await {
            code = code.max(told(&id, &trouble, None, words));
        }
    }
    Ok(code)
}

/// `State=DRAIN`, `RESUME`, `DOWN`; a reason goes along with it and is kept nowhere.
async fn update_nodes(
    list: &str,
    pairs: &[(String, String)],
    context: &Context,
) -> Result<u8, Refusal> {
    let nodes =
        hosts::expand(list).ok_or_else(|| Refusal::plain("Invalid node name specified", 1))?;
    let Some((_, state)) = pairs.iter().find(|(key, _)| key == "state") else {
        return Err(Refusal::plain("No changes specified", 1)
            .hint("State=DRAIN, State=RESUME or State=DOWN"));
    };
    if let Some((key, value)) = pairs.iter().find(|(key, _)| key != "state" && key != "reason") {
        return Err(Refusal::plain(
            format!("Update of this parameter is not supported: {key}={value}"),
            1,
        )
        .line("Request aborted"));
    }
    let verb = match state.to_ascii_uppercase().as_str() {
        "DRAIN" => "drain",
        "RESUME" | "UNDRAIN" | "IDLE" => "resume",
        "DOWN" | "FAIL" | "POWER_DOWN" | "POWER_DOWN_FORCE" => "terminate",
        _ => {
            return Err(Refusal::error("scontrol", format!("Invalid input: State={state}"), 1)
                .line("Request aborted")
                .hint("DRAIN, RESUME or DOWN"));
        }
    };
    let mut code = 0;
    for node in nodes {
        let done = ask::again(context, async |client| client.act_on_node(&node, verb).await).await;
        if let Err(trouble) = done {
            let (text, hints) = trouble_words(&trouble);
            let text = text.replace("job id", "node name");
            let refusal = Refusal::plain(format!("slurm_update error: {text}"), 1);
            code = hints.into_iter().fold(refusal, Refusal::hint).tell();
        }
    }
    Ok(code)
}

async fn ping(context: &Context) -> u8 {
    let host = crate::submit::spec::hostname();
    let up = match context.head() {
        Ok(head) => head.client.pools().await.is_ok(),
        Err(_) => false,
    };
    if up {
        let _ = say::data(&format!("Slurmctld(primary) at {host} is UP\n"));
        return 0;
    }
    let stars = "*****************************************\n";
    let restore = "** RESTORE SLURMCTLD DAEMON TO SERVICE **\n";
    let _ = say::data(&format!("Slurmctld(primary) at {host} is DOWN\n{stars}{restore}{stars}"));
    say::line("hint: pcluster up");
    1
}

/// `write batch_script ID [FILE]`.
async fn write(words: &Words, context: &Context) -> Result<u8, Refusal> {
    let what = words.rest.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    if what.is_empty() || !"batch_script".starts_with(&what) {
        return Err(Refusal::error(
            "scontrol",
            "only `write batch_script ID [FILE]` is supported",
            1,
        )
        .hint("pcluster config explain shows the configuration"));
    }
    let Some(id) = words.rest.get(1) else {
        return Err(Refusal::plain("too few arguments for keyword:write", 1));
    };
    let asked = ask::again(context, async |client| client.job(id).await).await;
    let detail = asked.map_err(|trouble| {
        let (text, hints) = trouble_words(&trouble);
        let refusal = Refusal::plain(format!("job script retrieval failed: {text}"), 1);
        hints.into_iter().fold(refusal, Refusal::hint)
    })?;
    let Some(script) = detail.script else {
        return Err(Refusal::plain("job script retrieval failed: Access/permission denied", 1));
    };
    let file = words.rest.get(2).cloned().unwrap_or_else(|| format!("slurm-{id}.sh"));
    if file == "-" {
        let _ = say::bytes(script.as_bytes());
        return Ok(0);
    }
    std::fs::write(&file, script)
        .map_err(|error| Refusal::plain(format!("failed to open file `{file}`: {error}"), 1))?;
    if !words.has("quiet") {
        let _ = say::data(&format!("batch script for job {id} written to {file}\n"));
    }
    Ok(0)
}

/// Until the nodes of a job are there.
async fn wait_job(words: &Words, context: &Context) -> Result<u8, Refusal> {
    const POLL: Duration = Duration::from_secs(1);
    for id in jobs(&words.rest, context).await? {
        loop {
            let query =
                RecordsQuery { ids: Some(id.clone()), ended: true, ..RecordsQuery::default() };
            let list = ask::records(context, "scontrol", &query).await?;
            let Some(record) = list.records.first() else {
                return Err(Refusal::plain(format!("Invalid job id specified for job {id}"), 1));
            };
            match State::of(record) {
                State::Running | State::Suspended => break,
                State::Pending | State::Configuring | State::Requeued => {
                    tokio::time::sleep(POLL).await;
                }
                _ => {
                    return Err(Refusal::plain(format!("scontrol: Job {id} no longer running"), 1));
                }
            }
        }
    }
    Ok(0)
}

/// A signal to one step.
pub(super) async fn signal_step(
    context: &Context,
    id: &str,
    step: u32,
    signal: i32,
) -> Result<(), Trouble> {
    ask::again(context, async |client| nudge::signal(client, id, step, signal).await).await
}
