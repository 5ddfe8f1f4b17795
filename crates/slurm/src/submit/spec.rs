//! Options become what a job asks for, the same for `sbatch`, `srun` and `salloc`.
//!
//! Invariant: what Slurm refuses before it speaks to its controller is refused here, in its words and
//! with its exit codes. Deliberately absent: what only the head knows (pools, sizes, ids).
use super::layout::layout;
use super::resources::{Gpus, cpus, gpus, memory};
use crate::grammar::constraint::{self, Constraint, Wrong};
use crate::grammar::{memory as size, number, time};
use crate::options::{Effect, Origin, Said, Words};
use crate::refusal::Refusal;
use crate::words::hosts;
use jiff::Zoned;
use pcluster_client::failure::Failure;
use pcluster_client::submit::process::ProcessFacts;
use pcluster_client::submit::words;
use pcluster_model::job::OpenMode;
use pcluster_model::units::{UnitError, parse_memory, parse_time_limit};
use pcluster_model::{Dependency, DurationMs, JobSpec, PoolName};

/// Names longer than this are refused; file names hold no more.
const MAX_NAME_BYTES: usize = 200;
/// What `--nice` without a number means.
const NICE: i64 = 100;

/// Who asks, and where.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    pub command: &'static str,
    pub facts: &'a ProcessFacts,
    pub now: &'a Zoned,
}

/// A specification, without name, output, script and environment where nothing was said of them.
#[derive(Debug, Clone)]
pub struct Asked {
    pub spec: JobSpec,
    /// More nodes than `spec.nodes` are right, too: the most, where `--nodes` did not fix them.
    pub nodes_most: Option<u32>,
    /// Said on stderr, whole lines.
    pub warnings: Vec<String>,
}

/// `Invalid --X specification`, exit code 255, with what is allowed.
pub(super) fn invalid(command: &str, option: &str) -> Refusal {
    Refusal::error(command, format!("Invalid --{option} specification"), 255)
}

/// The same, for what one of the shared languages refused.
pub(super) fn because(command: &str, option: &str, failure: &Failure) -> Refusal {
    invalid(command, option).because(failure)
}

/// `Batch job submission failed: …`, or what `srun` and `salloc` say then.
#[must_use]
pub fn failed(command: &str, text: &str) -> Refusal {
    let what = match command {
        "sbatch" => "Batch job submission failed",
        "salloc" => "Job submit/allocate failed",
        _ => "Unable to allocate resources",
    };
    Refusal::error(command, format!("{what}: {text}"), 1)
}

/// Builds it.
///
/// # Errors
/// Any value that Slurm does not take, and options that would change the result.
pub fn spec(words: &Words, here: &Here<'_>) -> Result<Asked, Refusal> {
    let command = here.command;
    refuse_what_cannot_be_done(words, command)?;
    check_numbers(words, command)?;
    let mut warnings = Vec::new();
    let layout = layout(words, command, &mut warnings)?;
    let Gpus { per_node: gpus_per_node, kind: gpu_type } = gpus(words, &layout, command)?;
    let memory = memory(words, gpus_per_node, command)?;
    let array = words.value("array").map(|text| {
        words::array(text)
            .map_err(|failure| failed(command, "Invalid job array specification").because(&failure))
    });
    let (dependencies, any_dependency) = dependencies(words, command)?;
    let priority = priority(words, command)?;
    let asked = features(words, command)?;
    let spec = JobSpec {
        name: words
            .value("job-name")
            .map(|name| name_of(name, command))
            .transpose()?
            .unwrap_or_default(),
        pools: pools(words.value("partition")),
        nodes: layout.nodes,
        tasks: layout.tasks,
        cpus_per_task: cpus(words, &layout, gpus_per_node, command)?,
        tasks_per_node: layout.per_node,
        exclusive: memory.whole || exclusive(words, command)?,
        memory: memory.ask,
        gpus_per_node,
        gpu_type,
        tmp_bytes: sized(words, "tmp", command)?.unwrap_or(0),
        time_limit_ms: time_limit(words, command)?,
        array: array.transpose()?,
        dependencies,
        any_dependency,
        begin: moment(words, "begin", here)?,
        deadline: moment(words, "deadline", here)?,
        priority,
        hold: words.has("hold") || words.value("priority") == Some("0"),
        requeue: words
            .last_of(&["requeue", "no-requeue"])
            .is_none_or(|s| s.option.name == "requeue"),
        warn_signal: shared(words, "signal", command, words::warn_signal)?,
        error: path(words, "error"),
        input: path(words, "input"),
        output: path(words, "output").unwrap_or_default(),
        open_mode: open_mode(words, command)?,
        work_dir: work_dir(words, here)?,
        tmp_fallback: true,
        umask: here.facts.umask,
        soft_limits: soft_limits(words, here)?,
        comment: words.value("comment").unwrap_or_default().to_owned(),
        account: words.value("account").unwrap_or_default().to_owned(),
        qos: words.value("qos").unwrap_or_default().to_owned(),
        mail: shared(words, "mail-type", command, words::mail)?.unwrap_or_default(),
        tasks_given: layout.tasks_given,
        cpus_given: words.has("cpus-per-task"),
        features: asked.features,
        feature_choices: asked.choices,
        same_choice: asked.same,
        only_nodes: node_list(words, &["nodelist", "nodefile"], command)?,
        not_nodes: node_list(words, &["exclude"], command)?,
        submit_host: hostname(),
        end_when_never: end_when_never(words, command)?,
        ..JobSpec::default()
    };
    Ok(Asked { spec, nodes_most: layout.nodes_most, warnings })
}

/// A value in a language that both faces read.
fn shared<T>(
    words: &Words,
    name: &str,
    command: &str,
    read: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Option<T>, Refusal> {
    let value = words.value(name).map(read).transpose();
    value.map_err(|failure| because(command, name, &failure))
}

/// Name of this machine.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Lines for `-v`: options that were said and have no effect here.
#[must_use]
pub fn without_effect(words: &Words, command: &str) -> Vec<String> {
    let said = words.said.iter().filter_map(|said| match said.option.effect {
        Effect::Silent(why) => {
            Some(format!("{command}: --{} has no effect here: {why}", said.option.name))
        }
        Effect::Used | Effect::Refused(_) => None,
    });
    said.collect()
}

pub(crate) fn refuse_what_cannot_be_done(words: &Words, command: &str) -> Result<(), Refusal> {
    let refused = words.said.iter().find_map(|said| match said.option.effect {
        Effect::Refused(why) => Some((said, why)),
        Effect::Used | Effect::Silent(_) => None,
    });
    let Some((Said { option, origin, .. }, why)) = refused else { return Ok(()) };
    let refusal = match option.name {
        "licenses" => failed(command, "Invalid license specification"),
        "reservation" => failed(command, "Requested reservation is invalid"),
        "bb" | "bbf" => failed(command, "Burst Buffer request invalid"),
        name => Refusal::error(command, format!("--{name} is not supported here"), 1),
    };
    Err(refusal.hint(format!("{why} (said in {origin})")))
}

/// Options without effect here that still must be numbers.
fn check_numbers(words: &Words, command: &str) -> Result<(), Refusal> {
    const NUMBERS: [&str; 9] = [
        "core-spec",
        "cores-per-socket",
        "mincpus",
        "ntasks-per-core",
        "ntasks-per-socket",
        "sockets-per-node",
        "thread-spec",
        "threads-per-core",
        "cpus-per-gpu",
    ];
    for name in NUMBERS {
        counted(words, name, command)?;
    }
    if let Some(hint) = words.value("hint") {
        let known = ["compute_bound", "memory_bound", "multithread", "nomultithread", "none"];
        if !hint.split(',').all(|word| known.contains(&word)) {
            let text = format!("unrecognized --hint argument \"{hint}\", see --hint=help");
            return Err(
                Refusal::error(command, text, 255).hint(format!("one of {}", known.join(", ")))
            );
        }
    }
    Ok(())
}

fn end_when_never(words: &Words, command: &str) -> Result<bool, Refusal> {
    match words.value("kill-on-invalid-dep").map(str::to_ascii_lowercase).as_deref() {
        None | Some("no" | "n") => Ok(false),
        Some("yes" | "y") => Ok(true),
        Some(_) => Err(invalid(command, "kill-on-invalid-dep").hint("yes or no")),
    }
}

/// A whole number of at least 1.
pub(super) fn counted(words: &Words, name: &str, command: &str) -> Result<Option<u32>, Refusal> {
    let Some(text) = words.value(name) else { return Ok(None) };
    match number::at_least_one(text) {
        Some(number) => Ok(Some(number)),
        None => {
            let text = format!("Invalid numeric value \"{text}\" for --{name}.");
            Err(Refusal::error(command, text, 1))
        }
    }
}

/// A `#PCLUSTER` line says sizes and times as `pcluster submit` does.
fn ours(said: &Said) -> bool {
    matches!(said.origin, Origin::Script { mark: "#PCLUSTER", .. })
}

fn native(command: &str, name: &str, error: &UnitError) -> Refusal {
    invalid(command, name).hint(error.to_string())
}

/// A size in bytes.
pub(super) fn sized(words: &Words, name: &str, command: &str) -> Result<Option<u64>, Refusal> {
    let Some(said) = words.last(name) else { return Ok(None) };
    let text = said.value.as_deref().unwrap_or_default();
    if ours(said) {
        return parse_memory(text).map(Some).map_err(|error| native(command, name, &error));
    }
    let hint = "a whole number with K, M, G or T: 512M, 16G; without one it is megabytes";
    size::bytes(text).map(Some).ok_or_else(|| invalid(command, name).hint(hint))
}

fn time_limit(words: &Words, command: &str) -> Result<Option<DurationMs>, Refusal> {
    let Some(said) = words.last("time") else { return Ok(None) };
    let text = said.value.as_deref().unwrap_or_default();
    if ours(said) {
        let limit = parse_time_limit(text).map_err(|error| native(command, "time", &error))?;
        return Ok(Some(limit.unwrap_or(DurationMs::ZERO)));
    }
    let Some(limit) = time::limit(text) else {
        return Err(invalid(command, "time")
            .hint("minutes, H:M:S, D-H, D-H:M:S or UNLIMITED:  30   2:00:00   1-12"));
    };
    // "Unlimited" is said as 0: nothing at all would mean the pool's default.
    Ok(Some(limit.unwrap_or(DurationMs::ZERO)))
}

fn moment(
    words: &Words,
    name: &str,
    here: &Here<'_>,
) -> Result<Option<pcluster_model::Timestamp>, Refusal> {
    let Some(text) = words.value(name) else { return Ok(None) };
    words::moment(&format!("--{name}"), text, here.now).map(Some).map_err(|failure| {
        Refusal::plain(format!("Invalid time specification (pos=0): {text}"), 255)
            .line(format!("{}: error: Invalid --{name} specification", here.command))
            .because(&failure)
    })
}

fn dependencies(words: &Words, command: &str) -> Result<(Vec<Dependency>, bool), Refusal> {
    match words.value("dependency").map(str::trim) {
        None | Some("") => Ok((Vec::new(), false)),
        Some(text) => words::dependency(text)
            .map_err(|failure| failed(command, "Job dependency problem").because(&failure)),
    }
}

/// `--priority` less `--nice`; 0 of `--priority` is "held".
fn priority(words: &Words, command: &str) -> Result<i64, Refusal> {
    let asked: i64 = words.value("priority").and_then(|text| text.parse().ok()).unwrap_or(0);
    if asked < 0 {
        return Err(Refusal::error(command, "Priority must be >= 0", 255));
    }
    let nice = match words.value("nice") {
        None => 0,
        Some("") => NICE,
        Some(text) => text.parse().unwrap_or(0),
    };
    Ok(asked.saturating_sub(nice))
}

fn exclusive(words: &Words, command: &str) -> Result<bool, Refusal> {
    match words.value("exclusive").map(str::to_ascii_lowercase).as_deref() {
        None => Ok(false),
        Some("" | "user" | "mcs" | "topo" | "exclusive") => Ok(true),
        Some(_) => Err(invalid(command, "exclusive").hint("--exclusive, or --exclusive=user")),
    }
}

fn open_mode(words: &Words, command: &str) -> Result<OpenMode, Refusal> {
    match words.value("open-mode").map(str::to_ascii_lowercase).as_deref() {
        None => Ok(OpenMode::AppendOnRequeue),
        Some("a" | "append") => Ok(OpenMode::Append),
        Some("t" | "truncate") => Ok(OpenMode::Truncate),
        Some(_) => Err(invalid(command, "open-mode").hint("append or truncate")),
    }
}

fn pools(text: Option<&str>) -> Vec<PoolName> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(PoolName::from).collect()
}

/// The name of a job, cut or refused as Slurm does.
///
/// # Errors
/// One that is no line.
pub fn name_of(name: &str, command: &str) -> Result<String, Refusal> {
    if name.len() > MAX_NAME_BYTES || name.contains(['\n', '\r', '\0']) {
        let text = "Pathname of a file, directory or other parameter too long";
        let hint = format!("a name is one line of at most {MAX_NAME_BYTES} bytes");
        return Err(failed(command, text).hint(hint));
    }
    Ok(name.to_owned())
}

fn path(words: &Words, name: &str) -> Option<String> {
    words.value(name).filter(|path| !path.is_empty()).map(str::to_owned)
}

fn work_dir(words: &Words, here: &Here<'_>) -> Result<String, Refusal> {
    let chosen = words.value("chdir").filter(|chosen| !chosen.is_empty());
    match (&here.facts.work_dir, chosen) {
        (_, Some(chosen)) if chosen.starts_with('/') => Ok(chosen.to_owned()),
        (Some(current), None) => Ok(current.clone()),
        (Some(current), Some(chosen)) => {
            Ok(std::path::Path::new(current).join(chosen).to_string_lossy().into_owned())
        }
        (None, _) => {
            let text = "getcwd failed: this directory is gone, or its name is not UTF-8";
            Err(Refusal::error(here.command, text, 1).hint("--chdir=/DIR names another one"))
        }
    }
}

fn soft_limits(words: &Words, here: &Here<'_>) -> Result<Vec<(String, Option<u64>)>, Refusal> {
    let all = || here.facts.soft_limits.clone();
    let Some(text) = words.value("propagate") else { return Ok(all()) };
    let known =
        ["as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack"];
    let mut chosen = Vec::new();
    for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()) {
        match word.strip_prefix("rlimit_").unwrap_or(&word) {
            "" | "all" => return Ok(all()),
            "none" => return Ok(Vec::new()),
            name if known.contains(&name) => chosen.push(name.to_owned()),
            name => {
                return Err(Refusal::error(here.command, format!("Bad rlimit name: {name}"), 1)
                    .hint(format!("ALL, NONE, or some of {}", known.join(", ").to_uppercase())));
            }
        }
    }
    Ok(all().into_iter().filter(|(name, _)| chosen.contains(name)).collect())
}

fn features(words: &Words, command: &str) -> Result<Constraint, Refusal> {
    constraint(words.value("constraint").unwrap_or_default()).map_err(|hints| {
        let refusal = failed(command, "Invalid feature specification");
        hints.into_iter().fold(refusal, Refusal::hint)
    })
}

/// What `-C` means.
///
/// # Errors
/// What Slurm refuses, and what counts nodes by feature.
pub fn constraint(text: &str) -> Result<Constraint, Vec<&'static str>> {
    constraint::read(text).map_err(|wrong| match wrong {
        Wrong::Grammar => vec!["names are joined by & (all of them) and | (one of them): a&(b|c)"],
        Wrong::Counts => vec![
            "so many nodes of one kind and so many of another are not supported",
            "two jobs, or --nodelist, name nodes of two kinds",
        ],
    })
}

fn node_list(words: &Words, names: &[&str], command: &str) -> Result<Vec<String>, Refusal> {
    let Some(said) = words.last_of(names) else { return Ok(Vec::new()) };
    let value = said.value.as_deref().unwrap_or_default();
    let is_file = said.option.name == "nodefile";
    let text = if is_file || value.contains('/') {
        std::fs::read_to_string(value).map_err(|error| {
            let error = pcluster_client::text::clean(&error.to_string());
            let text = format!("slurm_allocate_resources error opening file {value}, {error}");
            Refusal::error(command, text, if is_file { 255 } else { 1 })
        })?
    } else {
        value.to_owned()
    };
    let text = text.replace('\n', ",");
    hosts::expand(&text).ok_or_else(|| failed(command, "Invalid node name specified"))
}
