//! `#SBATCH` and `#PCLUSTER` lines of a script as options, and `SBATCH_*` variables.
//!
//! Invariant: a line that cannot be read is refused in Slurm's words, with its number. `#PCLUSTER`
//! lines win over `#SBATCH` lines wherever they stand. Deliberately absent: the meaning of options
//! (`spec`).
use crate::options::{DIRECTIVES, Order, Origin, SBATCH, Words, parse_some};
use crate::refusal::Refusal;
use pcluster_client::submit::directives::{self as lines, Directive};

/// Variables of `sbatch`, and the options that they are.
pub const VARIABLES: [(&str, &str); 58] = [
    ("SLURM_CLUSTERS", "clusters"),
    ("SLURM_HINT", "hint"),
    ("SBATCH_ACCOUNT", "account"),
    ("SBATCH_ACCTG_FREQ", "acctg-freq"),
    ("SBATCH_ARRAY_INX", "array"),
    ("SBATCH_BATCH", "batch"),
    ("SBATCH_CLUSTERS", "clusters"),
    ("SBATCH_CONSTRAINT", "constraint"),
    ("SBATCH_CONTAINER", "container"),
    ("SBATCH_CONTAINER_ID", "container-id"),
    ("SBATCH_CORE_SPEC", "core-spec"),
    ("SBATCH_CPUS_PER_GPU", "cpus-per-gpu"),
    ("SBATCH_DEBUG", "verbose"),
    ("SBATCH_DELAY_BOOT", "delay-boot"),
    ("SBATCH_DISTRIBUTION", "distribution"),
    ("SBATCH_ERROR", "error"),
    ("SBATCH_EXCLUSIVE", "exclusive"),
    ("SBATCH_EXPORT", "export"),
    ("SBATCH_GET_USER_ENV", "get-user-env"),
    ("SBATCH_GPU_BIND", "gpu-bind"),
    ("SBATCH_GPU_FREQ", "gpu-freq"),
    ("SBATCH_GPUS", "gpus"),
    ("SBATCH_GPUS_PER_NODE", "gpus-per-node"),
    ("SBATCH_GPUS_PER_TASK", "gpus-per-task"),
    ("SBATCH_GRES", "gres"),
    ("SBATCH_GRES_FLAGS", "gres-flags"),
    ("SBATCH_HINT", "hint"),
    ("SBATCH_IGNORE_PBS", "ignore-pbs"),
    ("SBATCH_INPUT", "input"),
    ("SBATCH_JOB_NAME", "job-name"),
    ("SBATCH_MEM_BIND", "mem-bind"),
    ("SBATCH_MEM_PER_CPU", "mem-per-cpu"),
    ("SBATCH_MEM_PER_GPU", "mem-per-gpu"),
    ("SBATCH_MEM_PER_NODE", "mem"),
    ("SBATCH_NETWORK", "network"),
    ("SBATCH_NO_KILL", "no-kill"),
    ("SBATCH_NO_REQUEUE", "no-requeue"),
    ("SBATCH_OPEN_MODE", "open-mode"),
    ("SBATCH_OUTPUT", "output"),
    ("SBATCH_OVERCOMMIT", "overcommit"),
    ("SBATCH_PARTITION", "partition"),
    ("SBATCH_POWER", "power"),
    ("SBATCH_PROFILE", "profile"),
    ("SBATCH_QOS", "qos"),
    ("SBATCH_REQ_SWITCH", "switches"),
    ("SBATCH_REQUEUE", "requeue"),
    ("SBATCH_RESERVATION", "reservation"),
    ("SBATCH_SIGNAL", "signal"),
    ("SBATCH_SPREAD_JOB", "spread-job"),
    ("SBATCH_THREAD_SPEC", "thread-spec"),
    ("SBATCH_THREADS_PER_CORE", "threads-per-core"),
    ("SBATCH_TIMELIMIT", "time"),
    ("SBATCH_TRES_BIND", "tres-bind"),
    ("SBATCH_TRES_PER_TASK", "tres-per-task"),
    ("SBATCH_USE_MIN_NODES", "use-min-nodes"),
    ("SBATCH_WAIT", "wait"),
    ("SBATCH_WAIT_ALL_NODES", "wait-all-nodes"),
    ("SBATCH_WCKEY", "wckey"),
];

/// The options of a script's lines. `name` is how the script is called in messages.
///
/// # Errors
/// An open quote, an unknown option, a word that is none.
pub fn of_script(text: &str, name: &str) -> Result<Words, Refusal> {
    let found = lines::directives(text).map_err(|open| {
        let quote = open.quote;
        let what = format!("{name}: line {}: Unmatched `{quote}` in [{}]", open.line, open.text);
        Refusal::fatal("sbatch", what)
    })?;
    let mut words = Words::default();
    for mark in lines::MARKS {
        for directive in found.iter().filter(|directive| directive.mark == mark) {
            words = words.then(of_line(directive)?);
        }
    }
    Ok(words)
}

fn of_line(directive: &Directive) -> Result<Words, Refusal> {
    let origin = Origin::Script { line: directive.line, mark: directive.mark };
    let table = if directive.mark == "#SBATCH" { &SBATCH } else { &DIRECTIVES };
    let words = parse_some(table, &directive.words, Order::StopAtFirst, &origin)?;
    match words.rest.first() {
        None => Ok(words),
        Some(word) => {
            let what = format!("Invalid directive found in batch script: {word}");
            let mark = directive.mark;
            Err(Refusal::error("sbatch", what, 255)
                .hint(format!("line {}: {mark} {}", directive.line, directive.words.join(" ")))
                .hint("quote a value with blanks; a remark starts with #"))
        }
    }
}

/// Warnings about lines that were surely meant to be read.
#[must_use]
pub fn overlooked(text: &str) -> Vec<String> {
    let found = lines::overlooked(text).into_iter().take(5);
    let warnings = found.map(|(line, text)| {
        let shown: String = text.chars().take(60).collect();
        format!("sbatch: warning: line {line} is not read: {shown}")
    });
    warnings.collect()
}
