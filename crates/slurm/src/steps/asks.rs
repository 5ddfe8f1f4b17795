//! What a step is to be, read from options and variables.
//!
//! Invariant: the command line wins over variables, which win over what the job asked for.
use super::layout::{Ask, Order};
use super::{bind, layout};
use crate::grammar;
use crate::options::{SRUN, Words, from_environment};
use crate::refusal::Refusal;
use crate::words::hosts;
use pcluster_model::job::MemoryAsk;
use pcluster_steps::message::Bind;
use std::time::Duration;

/// Variables that are options, in the order of importance (the last counts).
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("SLURM_NPROCS", "ntasks"),
    ("SLURM_NTASKS", "ntasks"),
    ("SLURM_NTASKS_PER_NODE", "ntasks-per-node"),
    ("SRUN_CPUS_PER_TASK", "cpus-per-task"),
    ("SLURM_DISTRIBUTION", "distribution"),
    ("SLURM_OVERCOMMIT", "overcommit"),
    ("SLURM_OVERLAP", "overlap"),
    ("SLURM_LABELIO", "label"),
    ("SLURM_UNBUFFEREDIO", "unbuffered"),
    ("SLURM_KILL_BAD_EXIT", "kill-on-bad-exit"),
    ("SLURM_WAIT", "wait"),
    ("SLURM_CPU_BIND", "cpu-bind"),
    ("SLURM_MPI_TYPE", "mpi"),
    ("SLURM_STDINMODE", "input"),
    ("SLURM_STDOUTMODE", "output"),
    ("SLURM_STDERRMODE", "error"),
    ("SRUN_INPUT", "input"),
    ("SRUN_OUTPUT", "output"),
    ("SRUN_ERROR", "error"),
    ("SLURM_REMOTE_CWD", "chdir"),
    ("SLURM_WORKING_DIR", "chdir"),
    ("SLURM_EXPORT_ENV", "export"),
    ("SRUN_EXPORT_ENV", "export"),
    ("SLURM_OPEN_MODE", "open-mode"),
    ("SLURM_DISABLE_STATUS", "disable-status"),
    ("SLURM_MULTI_PROG", "multi-prog"),
    ("SLURM_IMMEDIATE", "immediate"),
    ("SLURM_TASK_PROLOG", "task-prolog"),
    ("SLURM_TASK_EPILOG", "task-epilog"),
    ("SLURM_PROLOG", "prolog"),
    ("SLURM_EPILOG", "epilog"),
    ("SLURM_EXACT", "exact"),
    ("SLURM_DEBUG", "verbose"),
    ("SRUN_CONTAINER", "container"),
    ("SRUN_CONTAINER_ID", "container-id"),
];

/// Where a step's input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    All,
    Task(u32),
    Nothing,
    File(String),
}

/// Where output of a step goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// This command's own stream.
    Own,
    /// Only that of one task.
    Task(u32),
    Nothing,
    File(String),
}

/// Everything that `srun` was told about its step.
#[derive(Debug, Clone)]
pub(super) struct StepAsk {
    pub layout: Ask,
    pub cpus_given: bool,
    pub overlap: bool,
    pub name: Option<String>,
    pub label: bool,
    pub unbuffered: bool,
    pub kill_on_bad_exit: bool,
    pub wait: Option<Duration>,
    pub time_limit: Option<Duration>,
    pub input: Source,
    pub output: Target,
    /// `None`: with the output.
    pub error: Option<Target>,
    pub append: bool,
    pub chdir: Option<String>,
    pub export: Option<String>,
    pub bind: Bind,
    pub library: bool,
    pub pty: bool,
    pub multi_prog: bool,
    pub quit_on_interrupt: bool,
    pub immediate: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub prolog: [Option<String>; 4],
    pub memory: MemoryAsk,
    /// `None`: those of the job.
    pub gpus: Option<Gpus>,
    pub command: Vec<String>,
}

/// GPUs of a step, as its options name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gpus {
    /// Of the whole step.
    InAll(u32),
    PerNode(u32),
    /// Each task has its own.
    PerTask(u32),
}

/// The words of the command line over those of variables.
pub(super) fn with_variables(line: Words, variable: impl Fn(&str) -> Option<String>) -> Words {
    let mut words = from_environment(&SRUN, VARIABLES, variable);
    words.rest.clear();
    words.then(line)
}

fn bad(text: impl AsRef<str>) -> Refusal {
    Refusal::error("srun", text, 1)
}

/// A number of an option; `None` when it was not said.
fn number(words: &Words, name: &str) -> Result<Option<u32>, Refusal> {
    words
        .value(name)
        .map(|text| {
            let wrong = || bad(format!("Invalid numeric value \"{text}\" for --{name}."));
            grammar::number::at_least_one(text).ok_or_else(wrong)
        })
        .transpose()
}

fn hosts_of(words: &Words, name: &str) -> Result<Vec<String>, Refusal> {
    let Some(text) = words.value(name) else { return Ok(Vec::new()) };
    if text.contains('/') {
        let read = std::fs::read_to_string(text);
        let read = read.map_err(|error| bad(format!("Unable to open {text}: {error}")))?;
        return Ok(read.split_whitespace().map(str::to_owned).collect());
    }
    hosts::expand(text).ok_or_else(|| bad(format!("Invalid node name specified: {text}")))
}

/// Reads what the step is to be.
///
/// # Errors
/// Values that mean nothing, in Slurm's words.
pub(super) fn step_ask(
    words: &Words,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<StepAsk, Refusal> {
    let pty = words.has("pty");
    let wait = words.value("wait").and_then(|text| text.parse().ok()).filter(|wait| *wait > 0);
    let time = words
        .value("time")
        .map(|text| grammar::time::limit(text).ok_or_else(|| bad("Invalid --time specification")));
    let bind = bind::parse(words.value("cpu-bind")).map_err(bad)?;
    let library = library(words.value("mpi").unwrap_or("pmi2"))?;
    let program = |name: &str| words.value(name).filter(|path| !path.is_empty()).map(str::to_owned);
    Ok(StepAsk {
        layout: layout_ask(words, variable)?,
        cpus_given: words.has("cpus-per-task"),
        overlap: words.has("overlap") || words.has("overcommit") || words.has("oversubscribe"),
        name: words.value("job-name").map(str::to_owned),
        label: words.has("label"),
        unbuffered: words.has("unbuffered") || pty,
        kill_on_bad_exit: words.value("kill-on-bad-exit").is_some_and(|value| value != "0"),
        wait: wait.map(Duration::from_secs),
        time_limit: time.transpose()?.flatten().map(|limit| Duration::from_millis(limit.0)),
        input: source(words.value("input"), pty)?,
        output: target(words.value("output")).unwrap_or(Target::Own),
        error: target(words.value("error")),
        append: words.value("open-mode").is_some_and(|mode| mode.starts_with(['a', 'A'])),
        chdir: words.value("chdir").map(str::to_owned),
        export: words.value("export").map(str::to_owned),
        bind,
        library: library && !pty,
        pty,
        multi_prog: words.has("multi-prog"),
        quit_on_interrupt: words.has("quit-on-interrupt") || words.has("disable-status"),
        immediate: words.has("immediate"),
        quiet: words.has("quiet"),
        verbose: words.has("verbose"),
        prolog: ["prolog", "epilog", "task-prolog", "task-epilog"].map(program),
        memory: memory(words)?,
        gpus: gpus(words)?,
        command: words.rest.clone(),
    })
}

/// What the step itself was told to take; the variables of a job say what the job has.
fn memory(words: &Words) -> Result<MemoryAsk, Refusal> {
    let Some(said) = words.last_of(&["mem", "mem-per-cpu"]) else {
        return Ok(MemoryAsk::Proportional);
    };
    let (name, text) = (said.option.name, said.value.as_deref().unwrap_or_default());
    let bytes = grammar::memory::bytes(text)
        .ok_or_else(|| bad(format!("Invalid --{name} specification")))?;
    Ok(match (name, bytes) {
        (_, 0) => MemoryAsk::Proportional,
        ("mem", bytes) => MemoryAsk::PerNode(bytes),
        (_, bytes) => MemoryAsk::PerCpu(bytes),
    })
}

/// GPUs that the step itself was told to take, by the last option that speaks of them.
fn gpus(words: &Words) -> Result<Option<Gpus>, Refusal> {
    let Some(said) = words.last_of(&["gpus", "gpus-per-node", "gpus-per-task", "gres"]) else {
        return Ok(None);
    };
    let (name, text) = (said.option.name, said.value.as_deref().unwrap_or_default());
    if name == "gres" {
        let found = crate::submit::resources::gres(text, "srun")?;
        return Ok(Some(Gpus::PerNode(found.per_node)));
    }
    // The model is that of the job.
    let (count, _) = pcluster_client::submit::words::gpus(&format!("--{name}"), text)
        .map_err(|_| bad(format!("Invalid --{name} specification")))?;
    Ok(Some(match name {
        "gpus" => Gpus::InAll(count),
        "gpus-per-task" => Gpus::PerTask(count),
        _ => Gpus::PerNode(count),
    }))
}

fn layout_ask(words: &Words, variable: impl Fn(&str) -> Option<String>) -> Result<Ask, Refusal> {
    let order = words.value("distribution").unwrap_or("block");
    let order = Order::parse(order)
        .ok_or_else(|| bad(format!("Invalid --distribution specification: {order}")))?;
    let mut on = hosts_of(words, "nodelist")?;
    if on.is_empty() {
        on = hosts_of(words, "nodefile")?;
    }
    if let Some(file) =
        variable("SLURM_HOSTFILE").filter(|_| order == Order::Arbitrary && on.is_empty())
    {
        let read = std::fs::read_to_string(&file);
        let read = read.map_err(|error| bad(format!("Unable to open {file}: {error}")))?;
        on = read.split_whitespace().map(str::to_owned).collect();
    }
    let nodes = words.value("nodes").map(|text| {
        grammar::number::nodes(text).map_err(|_| bad(format!("invalid node count `{text}'")))
    });
    Ok(layout::Ask {
        tasks: number(words, "ntasks")?,
        nodes: nodes.transpose()?,
        tasks_per_node: number(words, "ntasks-per-node")?,
        cpus_per_task: number(words, "cpus-per-task")?.unwrap_or(1),
        overcommit: words.has("overcommit"),
        order,
        on,
        not_on: hosts_of(words, "exclude")?,
        relative: words.value("relative").and_then(|text| text.parse().ok()).unwrap_or(0),
        job_tasks: None,
    })
}

/// Whether tasks get the process manager interface.
fn library(kind: &str) -> Result<bool, Refusal> {
    match kind.split(',').next().unwrap_or("") {
        "pmi2" | "pmi1" | "pmi" | "cray_shasta" | "" => Ok(true),
        "none" | "openmpi" => Ok(false),
        kind if kind.starts_with("pmix") => {
            Err(bad(format!("Couldn't find the specified plugin name for mpi/{kind}"))
                .line("srun: error: cannot find mpi plugin, use --mpi=list for what is there")
                .hint("MPICH and its relatives start with --mpi=pmi2, the default")
                .hint("Open MPI starts with mpirun inside the job: it finds the nodes by itself"))
        }
        kind => Err(bad(format!("Couldn't find the specified plugin name for mpi/{kind}"))
            .hint("srun --mpi=list shows what is there")),
    }
}

fn source(text: Option<&str>, pty: bool) -> Result<Source, Refusal> {
    Ok(match text {
        _ if pty => Source::Task(0),
        None | Some("all" | "") => Source::All,
        Some("none") => Source::Nothing,
        Some(text) => match text.parse() {
            Ok(task) => Source::Task(task),
            Err(_) => Source::File(text.to_owned()),
        },
    })
}

fn target(text: Option<&str>) -> Option<Target> {
    Some(match text? {
        "all" | "" => Target::Own,
        "none" => Target::Nothing,
        text => match text.parse() {
            Ok(task) => Target::Task(task),
            Err(_) => Target::File(text.to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Order as Reading, parse};

    fn ask(line: &[&str], variables: &[(&str, &str)]) -> Result<StepAsk, Refusal> {
        let args: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let line = parse(&SRUN, &args, Reading::StopAtFirst)?;
        let variable = |name: &str| {
            variables.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned())
        };
        step_ask(&with_variables(line, variable), variable)
    }

    #[test]
    fn the_line_wins_over_variables() {
        let vars = [("SLURM_NTASKS", "4"), ("SLURM_LABELIO", "1"), ("SLURM_KILL_BAD_EXIT", "0")];
        let step = ask(&["-n", "2", "-K", "a", "-n", "9"], &vars).unwrap();
        assert_eq!(step.layout.tasks, Some(2));
        assert!(step.label && step.kill_on_bad_exit);
        assert_eq!(step.command, ["a", "-n", "9"]);
        assert_eq!(ask(&["a"], &vars).unwrap().layout.tasks, Some(4));
    }

    #[test]
    fn what_launchers_of_mpi_send_is_understood() {
        let hydra = [
            "--nodelist",
            "c1,c2",
            "-N",
            "2",
            "-n",
            "2",
            "--input",
            "none",
            "p",
            "--proxy-id",
            "-1",
        ];
        let step = ask(&hydra, &[]).unwrap();
        assert_eq!(step.input, Source::Nothing);
        assert_eq!(step.layout.on, ["c1", "c2"]);
        assert_eq!(step.command, ["p", "--proxy-id", "-1"]);
        let orted = [
            "--ntasks-per-node=1",
            "--kill-on-bad-exit",
            "--mpi=none",
            "--nodes=1",
            "--nodelist=c2",
            "--ntasks=1",
            "orted",
        ];
        let step = ask(&orted, &[]).unwrap();
        assert!(step.kill_on_bad_exit && !step.library);
    }

    #[test]
    fn memory_is_what_the_step_itself_was_told() {
        let of = |line: &[&str]| ask(line, &[("SLURM_MEM_PER_NODE", "100")]).map(|ask| ask.memory);
        assert_eq!(of(&["a"]).unwrap(), MemoryAsk::Proportional);
        assert_eq!(of(&["--mem=0", "a"]).unwrap(), MemoryAsk::Proportional);
        assert_eq!(of(&["--mem", "2G", "a"]).unwrap(), MemoryAsk::PerNode(2 << 30));
        let both = ["--mem=2G", "--mem-per-cpu=5", "a"];
        assert_eq!(of(&both).unwrap(), MemoryAsk::PerCpu(5 << 20));
        assert!(of(&["--mem=lots", "a"]).is_err());
    }

    #[test]
    fn targets_and_sources() {
        let step = ask(&["-o", "o.%t", "-e", "none", "-i", "3", "x"], &[]).unwrap();
        assert_eq!(step.output, Target::File("o.%t".into()));
        assert_eq!((step.error, step.input), (Some(Target::Nothing), Source::Task(3)));
        let pmix = ask(&["--mpi=pmix", "x"], &[]).unwrap_err().text();
        assert!(pmix.contains("mpi/pmix") && pmix.contains("mpirun"), "{pmix}");
        assert_eq!(ask(&["-n", "x", "y"], &[]).unwrap_err().code, 1);
    }
}
