//! Options as words become a [`JobSpec`].
//!
//! Invariant: what cannot be done yet and would change money or results is refused, never dropped.
//! Deliberately absent: defaults that the head knows (pool, time limit of the pool).
use super::options::JobOptions;
use super::process::ProcessFacts;
use super::words;
use crate::failure::Failure;
use jiff::Zoned;
use pcluster_model::job::MemoryAsk;
use pcluster_model::units::{UnitError, parse_memory, parse_size, parse_time_limit};
use pcluster_model::{DependencyKind, DurationMs, JobSpec, MicroUsd, OpenMode, PoolName};

/// Names longer than this are refused; file names hold no more.
const MAX_NAME_BYTES: usize = 200;
const MAX_PATH_BYTES: usize = 4096;

/// Who asks: decides where output goes by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    Submit,
    Run,
}

impl Face {
    /// The word of the request.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Run => "run",
        }
    }
}

/// What is said about a request beside its result.
pub type Notes = Vec<String>;

fn unit(option: &str, error: &UnitError) -> Failure {
    Failure::usage(format!("{option}: {error}"))
}

/// Builds the request's specification.
///
/// # Errors
/// Any value that is not allowed, with its option.
pub fn build(
    options: &JobOptions,
    script_name: &str,
    args: Vec<String>,
    facts: &ProcessFacts,
    face: Face,
    now: &Zoned,
) -> Result<(JobSpec, Notes), Failure> {
    let mut notes = Notes::new();
    if options.mail_user.is_some() || options.mail_type.is_some() {
        notes.push("--mail-type and --mail-user have no effect in this version".to_owned());
    }
    let (nodes, tasks, tasks_per_node) = layout(options)?;
    let (gpus_per_node, gpu_type) = gpus(options, nodes)?;
    let array = options.array.as_deref().map(words::array).transpose()?;
    let (dependencies, any_dependency) = dependencies(options)?;
    let (name, work_dir) = (name(options, script_name)?, work_dir(options, facts)?);
    let output = output_pattern(options, face, array.is_some())?;
    let given_path = |option: &'static str, text: &Option<String>| {
        text.as_deref().map(|text| path(option, text)).transpose()
    };
    let moment = |option: &'static str, text: &Option<String>| {
        text.as_deref().map(|text| words::moment(option, text, now)).transpose()
    };
    let spec = JobSpec {
        name,
        pools: pools(options.partition.as_deref())?,
        nodes,
        tasks,
        cpus_per_task: at_least_one("--cpus-per-task", options.cpus_per_task)?.unwrap_or(1),
        tasks_per_node,
        memory: memory(options)?,
        gpus_per_node,
        gpu_type,
        tmp_bytes: options.tmp.as_deref().map_or(Ok(0), |text| memory_bytes("--tmp", text))?,
        time_limit_ms: time_limit(options)?,
        exclusive: options.exclusive.is_some(),
        array,
        dependencies,
        any_dependency,
        begin: moment("--begin", &options.begin)?,
        priority: options.priority.unwrap_or(0).saturating_sub(options.nice.unwrap_or(0)),
        hold: options.hold,
        requeue: !options.no_requeue,
        warn_signal: options.signal.as_deref().map(words::warn_signal).transpose()?,
        output,
        error: given_path("--error", &options.error)?,
        input: given_path("--input", &options.input)?,
        open_mode: open_mode(options.open_mode.as_deref())?,
        make_output_dirs: true,
        args,
        work_dir,
        umask: facts.umask,
        soft_limits: facts.soft_limits.clone(),
        comment: options.comment.clone().unwrap_or_default(),
        account: options.account.clone().unwrap_or_default(),
        max_cost: max_cost(options)?,
        deadline: moment("--deadline", &options.deadline)?,
        image: options.image.clone(),
        spot: options.spot.as_deref().map(words::spot).transpose()?.unwrap_or_default(),
        mail: options.mail_type.as_deref().map(words::mail).transpose()?.unwrap_or_default(),
        tasks_given: options.ntasks.is_some() || options.ntasks_per_node.is_some(),
        cpus_given: options.cpus_per_task.is_some(),
        submit_host: hostname(),
        submit_dir: facts.work_dir.clone().unwrap_or_default(),
        ..JobSpec::default()
    };
    Ok((spec, notes))
}

fn max_cost(options: &JobOptions) -> Result<Option<MicroUsd>, Failure> {
    options.max_cost.as_deref().map(|text| words::money("--max-cost", text)).transpose()
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn output_pattern(options: &JobOptions, face: Face, is_array: bool) -> Result<String, Failure> {
    match (&options.output, face, is_array) {
        (Some(pattern), _, _) => path("--output", pattern),
        // Named by the request's key, which `run` has and this has not.
        (None, Face::Run, _) => Ok(String::new()),
        (None, Face::Submit, false) => Ok("pcluster-%j.out".to_owned()),
        (None, Face::Submit, true) => Ok("pcluster-%A_%a.out".to_owned()),
    }
}

fn at_least_one(option: &str, value: Option<u32>) -> Result<Option<u32>, Failure> {
    match value {
        Some(0) => Err(Failure::usage(format!("{option} is at least 1"))),
        value => Ok(value),
    }
}

fn layout(options: &JobOptions) -> Result<(u32, u32, Option<u32>), Failure> {
    let nodes = match options.nodes.as_deref() {
        None => None,
        Some(text) => {
            // `2-4` is any number from 2 to 4: the least is what can start first.
            let least = text.split_once('-').map_or(text, |(least, _)| least);
            let number = least.parse::<u32>().map_err(|_| {
                Failure::usage(format!("`{text}` is not a number of nodes"))
                    .fact("allowed", "2, or 2-4")
            })?;
            at_least_one("--nodes", Some(number))?
        }
    };
    let per_node = at_least_one("--ntasks-per-node", options.ntasks_per_node)?;
    let tasks = at_least_one("--ntasks", options.ntasks)?;
    let nodes = match (nodes, tasks, per_node) {
        (Some(nodes), _, _) => nodes,
        (None, Some(tasks), Some(per_node)) => tasks.div_ceil(per_node),
        (None, _, _) => 1,
    };
    let tasks = tasks.unwrap_or_else(|| nodes.saturating_mul(per_node.unwrap_or(1)));
    if tasks < nodes {
        return Err(Failure::usage(format!("{tasks} tasks cannot be spread over {nodes} nodes"))
            .hint(format!("--ntasks {nodes}")));
    }
    Ok((nodes, tasks, per_node))
}

fn memory(options: &JobOptions) -> Result<MemoryAsk, Failure> {
    match (&options.mem, &options.mem_per_cpu) {
        (Some(text), _) => match parse_memory(text).map_err(|error| unit("--mem", &error))? {
            // Slurm's word for all memory of the node.
            0 => Err(Failure::refused("--mem 0 (all memory of a node) is not supported yet")
                .hint("--exclusive    takes the whole node, with its memory")),
            bytes => Ok(MemoryAsk::PerNode(bytes)),
        },
        (None, Some(text)) => {
            parse_memory(text).map(MemoryAsk::PerCpu).map_err(|error| unit("--mem-per-cpu", &error))
        }
        (None, None) => Ok(MemoryAsk::Proportional),
    }
}

fn gpus(options: &JobOptions, nodes: u32) -> Result<(u32, String), Failure> {
    if let Some(text) = &options.gpus_per_node {
        return words::gpus("--gpus-per-node", text);
    }
    if let Some(text) = &options.gres {
        return words::gres(text);
    }
    let Some(text) = &options.gpus else { return Ok((0, String::new())) };
    let (all, model) = words::gpus("--gpus", text)?;
    if !all.is_multiple_of(nodes) {
        return Err(Failure::usage(format!(
            "{all} GPUs cannot be spread evenly over {nodes} nodes"
        ))
        .hint(format!("--gpus-per-node {}", all.div_ceil(nodes))));
    }
    Ok((all / nodes, model))
}

fn dependencies(options: &JobOptions) -> Result<(Vec<pcluster_model::Dependency>, bool), Failure> {
    let (mut found, any) = match options.dependency.as_deref().map(str::trim) {
        None | Some("") => (Vec::new(), false),
        Some(text) => words::dependency(text)?,
    };
    let ours = [
        ("--after", DependencyKind::AfterAny, &options.after),
        ("--after-ok", DependencyKind::AfterOk, &options.after_ok),
        ("--after-notok", DependencyKind::AfterNotOk, &options.after_notok),
        ("--after-start", DependencyKind::After, &options.after_start),
    ];
    for (option, kind, texts) in ours {
        let more = words::after(option, kind, texts)?;
        if any && !more.is_empty() {
            return Err(Failure::usage(format!("{option} with `?` in --dependency is not clear"))
                .hint("write all of them in --dependency"));
        }
        found.extend(more);
    }
    Ok((found, any))
}

fn time_limit(options: &JobOptions) -> Result<Option<DurationMs>, Failure> {
    let Some(text) = &options.time else { return Ok(None) };
    let limit = parse_time_limit(text).map_err(|error| unit("--time", &error))?;
    // "Unlimited" is said as 0: nothing at all would mean the pool's default.
    Ok(Some(limit.unwrap_or(DurationMs::ZERO)))
}

fn pools(text: Option<&str>) -> Result<Vec<PoolName>, Failure> {
    let words: Vec<&str> = text.unwrap_or("").split(',').filter(|word| !word.is_empty()).collect();
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match words.iter().find(|word| word.len() > 32 || !word.chars().all(right)) {
        Some(bad) => Err(Failure::usage(format!("`{bad}` is not the name of a pool"))
            .hint("pcluster nodes    and cluster.toml name the pools")),
        None => Ok(words.into_iter().map(PoolName::from).collect()),
    }
}

fn open_mode(text: Option<&str>) -> Result<OpenMode, Failure> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(OpenMode::AppendOnRequeue),
        Some("append" | "a") => Ok(OpenMode::Append),
        Some("truncate" | "t") => Ok(OpenMode::Truncate),
        Some(other) => Err(Failure::usage(format!("`{other}` is not a value of --open-mode"))
            .fact("allowed", "append, truncate")),
    }
}

fn name(options: &JobOptions, script_name: &str) -> Result<String, Failure> {
    let name = options.job_name.clone().unwrap_or_else(|| script_name.to_owned());
    let name = if options.job_name.is_none() {
        name.strip_suffix(".sh").unwrap_or(&name).to_owned()
    } else {
        name
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        return Err(Failure::usage("the name of the job is empty or too long")
            .fact("at most", format!("{MAX_NAME_BYTES} bytes")));
    }
    Ok(name)
}

fn path(option: &str, text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.len() > MAX_PATH_BYTES || text.contains(['\0', '\n']) {
        return Err(Failure::usage(format!(
            "{option} is not a path: empty, too long or with a line break"
        )));
    }
    Ok(text.to_owned())
}

fn work_dir(options: &JobOptions, facts: &ProcessFacts) -> Result<String, Failure> {
    let Some(current) = &facts.work_dir else {
        let chosen = options.chdir.as_deref().filter(|chosen| chosen.starts_with('/'));
        return chosen.map(str::to_owned).ok_or_else(|| {
            Failure::refused("this directory is gone, or its name is not UTF-8")
                .hint("--chdir DIR    names another one")
        });
    };
    match options.chdir.as_deref() {
        None => Ok(current.clone()),
        Some(chosen) => {
            let joined = std::path::Path::new(current).join(path("--chdir", chosen)?);
            Ok(joined.to_string_lossy().into_owned())
        }
    }
}

/// Used by `update`, which changes a few of the same values.
///
/// # Errors
/// A size that is none.
pub fn memory_bytes(option: &str, text: &str) -> Result<u64, Failure> {
    parse_memory(text).or_else(|_| parse_size(text)).map_err(|error| unit(option, &error))
}

#[cfg(test)]
mod tests;
