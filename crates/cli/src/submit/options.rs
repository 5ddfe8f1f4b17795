//! What a job may ask for, written once: the options of `submit` and `run`, of `#PCLUSTER` and
//! `#SBATCH` lines, and of `PCLUSTER_SUBMIT_*` variables.
//!
//! Invariant: every source is words in one order of importance, and one parser reads all of them,
//! the later word winning. Deliberately absent: what the words mean (`spec`, `words`).
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

/// Options that `sbatch` has by the same names and values, and some of our own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What the job needs")]
pub struct JobOptions {
    /// Name of the job (default: the script's file name)
    #[arg(short = 'J', long, value_name = "NAME", overrides_with = "job_name")]
    pub job_name: Option<String>,
    /// Nodes
    #[arg(short = 'N', long, value_name = "N", overrides_with = "nodes")]
    pub nodes: Option<String>,
    /// Tasks over all nodes (what srun starts)
    #[arg(short = 'n', long, value_name = "N", overrides_with = "ntasks")]
    pub ntasks: Option<u32>,
    /// Tasks on each node
    #[arg(long, value_name = "N", overrides_with = "ntasks_per_node")]
    pub ntasks_per_node: Option<u32>,
    /// CPUs for each task
    #[arg(short = 'c', long, value_name = "N", overrides_with = "cpus_per_task")]
    pub cpus_per_task: Option<u32>,
    /// Memory on each node: 16G, 512M, or a number of MB
    #[arg(long, value_name = "SIZE", overrides_with_all = ["mem", "mem_per_cpu"])]
    pub mem: Option<String>,
    /// Memory for each CPU
    #[arg(long, value_name = "SIZE", overrides_with_all = ["mem", "mem_per_cpu"])]
    pub mem_per_cpu: Option<String>,
    /// GPUs of the whole job: 2, a10g:1
    #[arg(short = 'G', long, value_name = "[TYPE:]N",
        overrides_with_all = ["gpus", "gpus_per_node", "gres"])]
    pub gpus: Option<String>,
    /// GPUs on each node
    #[arg(long, value_name = "[TYPE:]N", overrides_with_all = ["gpus", "gpus_per_node", "gres"])]
    pub gpus_per_node: Option<String>,
    /// As --gpus-per-node, in Slurm's words: gpu:a10g:1
    #[arg(long, value_name = "gpu[:TYPE]:N",
        overrides_with_all = ["gpus", "gpus_per_node", "gres"])]
    pub gres: Option<String>,
    /// Local scratch disk on each node
    #[arg(long, value_name = "SIZE", overrides_with = "tmp")]
    pub tmp: Option<String>,
    /// Time limit: 90 (minutes), 10m, 2h, 1-12:00:00, unlimited
    #[arg(short = 't', long, value_name = "TIME", overrides_with = "time")]
    pub time: Option<String>,
    /// Pools in order of preference (default: the cluster's default pool)
    #[arg(
        short = 'p',
        long = "partition",
        visible_alias = "pool",
        value_name = "POOL,…",
        overrides_with = "partition"
    )]
    pub partition: Option<String>,
    /// The node is for this job alone
    #[arg(long, value_name = "user", num_args = 0..=1, require_equals = true,
        default_missing_value = "", overrides_with = "exclusive")]
    pub exclusive: Option<String>,
    /// Image of its nodes (default: the pool's)
    #[arg(long, value_name = "NAME", overrides_with = "image")]
    pub image: Option<String>,
    /// Many tasks of one script: 1-96, 0-15:4, 1,3,7, 1-96%8 for 8 at once
    #[arg(
        short = 'a',
        long,
        value_name = "RANGES",
        overrides_with = "array",
        help_heading = "When it starts"
    )]
    pub array: Option<String>,
    /// In Slurm's words: afterok:41:42, afterany:41_3
    #[arg(
        short = 'd',
        long,
        value_name = "WORDS",
        overrides_with = "dependency",
        help_heading = "When it starts"
    )]
    pub dependency: Option<String>,
    /// Start after these have ended, however they ended
    #[arg(long, value_name = "ID,…", help_heading = "When it starts")]
    pub after: Vec<String>,
    /// Start after these have ended well
    #[arg(long, value_name = "ID,…", help_heading = "When it starts")]
    pub after_ok: Vec<String>,
    /// Start after these have failed
    #[arg(long, value_name = "ID,…", help_heading = "When it starts")]
    pub after_notok: Vec<String>,
    /// Start after these have started
    #[arg(long, value_name = "ID,…", help_heading = "When it starts")]
    pub after_start: Vec<String>,
    /// Not before: 18:30, tomorrow, now+2h, 2026-11-24T08:00
    #[arg(
        short = 'b',
        long,
        value_name = "TIME",
        overrides_with = "begin",
        help_heading = "When it starts"
    )]
    pub begin: Option<String>,
    /// Higher starts first
    #[arg(
        long,
        value_name = "N",
        overrides_with = "priority",
        allow_negative_numbers = true,
        help_heading = "When it starts"
    )]
    pub priority: Option<i64>,
    /// Let others go first
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
        default_missing_value = "100", overrides_with = "nice", help_heading = "When it starts")]
    pub nice: Option<i64>,
    /// Wait until `pcluster release`
    #[arg(short = 'H', long, overrides_with = "hold", help_heading = "When it starts")]
    pub hold: bool,
    /// Put back when its node is lost (the default)
    #[arg(long, overrides_with_all = ["requeue", "no_requeue"],
        help_heading = "How it runs and ends")]
    pub requeue: bool,
    /// Never run a second time
    #[arg(long, overrides_with_all = ["requeue", "no_requeue"],
        help_heading = "How it runs and ends")]
    pub no_requeue: bool,
    /// A signal before the time limit: USR2@90, B:TERM@60
    #[arg(
        long,
        value_name = "[B:]SIG[@SECONDS]",
        overrides_with = "signal",
        help_heading = "How it runs and ends"
    )]
    pub signal: Option<String>,
    /// Where output goes; %j job, %A array, %a task, %x name, %u user, %N node
    #[arg(
        short = 'o',
        long,
        value_name = "PATTERN",
        overrides_with = "output",
        help_heading = "How it runs and ends"
    )]
    pub output: Option<String>,
    /// Where errors go (default: with the output)
    #[arg(
        short = 'e',
        long,
        value_name = "PATTERN",
        overrides_with = "error",
        help_heading = "How it runs and ends"
    )]
    pub error: Option<String>,
    /// What it reads (default: nothing)
    #[arg(
        short = 'i',
        long,
        value_name = "FILE",
        overrides_with = "input",
        help_heading = "How it runs and ends"
    )]
    pub input: Option<String>,
    /// Whether output files are emptied at the start: append or truncate
    #[arg(
        long,
        value_name = "MODE",
        overrides_with = "open_mode",
        help_heading = "How it runs and ends"
    )]
    pub open_mode: Option<String>,
    /// Variables that go along: ALL, NONE, NAME, NAME=VALUE, …
    #[arg(
        long,
        value_name = "WORDS",
        overrides_with = "export",
        help_heading = "How it runs and ends"
    )]
    pub export: Option<String>,
    /// Working directory (default: this one)
    #[arg(
        short = 'D',
        long,
        value_name = "DIR",
        overrides_with = "chdir",
        help_heading = "How it runs and ends"
    )]
    pub chdir: Option<String>,
    /// Account that the cost is counted under
    #[arg(
        short = 'A',
        long,
        value_name = "NAME",
        overrides_with = "account",
        help_heading = "Money and messages"
    )]
    pub account: Option<String>,
    /// Never start what could cost more: $5 (needs a time limit)
    #[arg(
        long,
        value_name = "$",
        overrides_with = "max_cost",
        help_heading = "Money and messages"
    )]
    pub max_cost: Option<String>,
    /// Be done by then: given up when it cannot be, ended when it is not
    #[arg(
        long,
        value_name = "TIME",
        overrides_with = "deadline",
        help_heading = "Money and messages"
    )]
    pub deadline: Option<String>,
    /// Spot machines: yes (first), no, only (default: as its pool has it)
    #[arg(long, value_name = "yes|no|only", num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", overrides_with = "spot", help_heading = "Money and messages")]
    pub spot: Option<String>,
    /// A note that `show` repeats
    #[arg(
        long,
        value_name = "TEXT",
        overrides_with = "comment",
        help_heading = "Money and messages"
    )]
    pub comment: Option<String>,
    /// Mail at: BEGIN, END, FAIL, REQUEUE, ALL, NONE
    #[arg(
        long,
        value_name = "EVENTS",
        overrides_with = "mail_type",
        help_heading = "Money and messages"
    )]
    pub mail_type: Option<String>,
    /// Whom to mail (no effect yet: the submitter)
    #[arg(
        long,
        value_name = "USER",
        overrides_with = "mail_user",
        help_heading = "Money and messages"
    )]
    pub mail_user: Option<String>,
    /// The same key again answers with the first job: a retry is safe
    #[arg(long, value_name = "KEY", overrides_with = "key", help_heading = "Money and messages")]
    pub key: Option<String>,
}

/// What lines of a script may hold beside [`JobOptions`]: options of `submit` itself, and options of
/// `sbatch` that ask for nothing here. They are taken so that scripts run unmodified.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(
    name = "directives",
    disable_help_flag = true,
    disable_version_flag = true,
    no_binary_name = true
)]
pub struct LineOptions {
    #[command(flatten)]
    pub job: JobOptions,
    #[arg(short = 'W', long, overrides_with = "wait")]
    pub wait: bool,
    #[arg(long, overrides_with = "parsable")]
    pub parsable: bool,
    #[arg(short = 'q', long, overrides_with = "qos")]
    pub qos: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "",
        overrides_with = "get_user_env")]
    pub get_user_env: Option<String>,
    #[arg(long, overrides_with = "hint")]
    pub hint: Option<String>,
    #[arg(long, overrides_with = "wckey")]
    pub wckey: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "",
        overrides_with = "propagate")]
    pub propagate: Option<String>,
    #[arg(long, overrides_with = "oversubscribe", short = 's')]
    pub oversubscribe: bool,
    #[arg(short = 'k', long, num_args = 0..=1, require_equals = true, default_missing_value = "",
        overrides_with = "no_kill")]
    pub no_kill: Option<String>,
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[arg(short = 'Q', long, overrides_with = "quiet")]
    pub quiet: bool,
}

/// The options given on the command line, as words that can be read again after those of a script.
///
/// `matches` are those of a command that has [`JobOptions`].
#[must_use]
pub fn given_words(matches: &ArgMatches) -> Vec<String> {
    let command = JobOptions::augment_args(clap::Command::new("options"));
    let mut words = Vec::new();
    for option in command.get_arguments() {
        let (id, Some(long)) = (option.get_id().as_str(), option.get_long()) else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if !option.get_action().takes_values() {
            words.push(format!("--{long}"));
            continue;
        }
        let optional = option.get_num_args().is_some_and(|number| number.min_values() == 0);
        for value in matches.get_raw(id).into_iter().flatten() {
            match value.to_string_lossy() {
                empty if empty.is_empty() && optional => words.push(format!("--{long}")),
                value => words.push(format!("--{long}={value}")),
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn given_options_become_words_that_mean_the_same() {
        let line =
            ["-c4", "--exclusive", "-J", "a b", "--after", "1", "--after", "2", "-H", "--nice"];
        let matches = LineOptions::command().get_matches_from(line);
        let words = given_words(&matches);
        assert_eq!(
            words,
            [
                "--job-name=a b",
                "--cpus-per-task=4",
                "--exclusive",
                "--after=1",
                "--after=2",
                "--nice=100",
                "--hold",
            ]
        );
    }
}
