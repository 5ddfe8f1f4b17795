//! The command line: every command, its options and the examples that teach it.
//!
//! Invariant: help, completion and manual pages all come from the types here and in the commands'
//! own files. Deliberately absent: what commands do.
use crate::cluster::{self, Global};
use crate::commands;
use crate::failure::{Failure, Outcome};
use crate::submit::options::given_words;
use crate::submit::process::ProcessFacts;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

const FIRST_HOUR: &str = "\
First hour:
  pcluster init                     write a cluster.toml: this machine as a cluster
  pcluster up                       start its head
  pcluster submit job.sh            submit a job; nodes appear and go away by themselves
  pcluster queue                    what runs and waits, and why
  pcluster doctor                   what keeps jobs from running, and what to do
  pcluster cost                     what it cost
  pcluster down                     stop everything

The cluster is that of --config, PCLUSTER_CONFIG, ./cluster.toml or one in a parent folder,
~/.config/pcluster/cluster.toml, or /etc/pcluster/cluster.toml.

Exit codes: 0 done, 1 the job failed or something needs attention, 2 usage, 3 refused,
4 no such thing, 5 not allowed, 6 no head, 7 timeout. run, wait, shell and --wait give the job's
own code (128 + signal), and 255 for their own trouble.";

/// A cluster that exists only while there is work.
#[derive(Debug, Parser)]
#[command(name = "pcluster", version, after_help = FIRST_HOUR, max_term_width = 100,
    disable_help_subcommand = false, propagate_version = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(commands::init::InitArgs),
    Up(commands::up::UpArgs),
    Down(commands::down::DownArgs),
    Connect(commands::connect::ConnectArgs),
    Submit(Box<commands::submit::SubmitArgs>),
    Run(Box<commands::run::RunArgs>),
    Queue(commands::jobs::QueueArgs),
    Show(commands::jobs::ShowArgs),
    Why(commands::jobs::WhyArgs),
    Logs(commands::logs::LogsArgs),
    Shell(commands::shell::ShellArgs),
    Wait(commands::wait::WaitArgs),
    Cancel(commands::act::CancelArgs),
    Hold(commands::act::HoldArgs),
    Release(commands::act::ReleaseArgs),
    Requeue(commands::act::RequeueArgs),
    Rerun(commands::act::RerunArgs),
    Update(Box<commands::act::UpdateArgs>),
    Nodes(commands::nodes::NodesArgs),
    Node(commands::nodes::NodeArgs),
    History(commands::money::HistoryArgs),
    Cost(commands::money::CostArgs),
    Status(commands::status::StatusArgs),
    Doctor(commands::doctor::DoctorArgs),
    Config(commands::config::ConfigArgs),
    Admin(commands::admin::AdminArgs),
    Image(commands::image::ImageArgs),
    Provider(commands::provider::ProviderArgs),
    Env(commands::env::EnvArgs),
    Completion(commands::paper::CompletionArgs),
    Man(commands::paper::ManArgs),
    Version(commands::paper::VersionArgs),
    #[command(name = "internal-detach", hide = true)]
    Detach(commands::up::DetachArgs),
    #[command(name = "internal-names", hide = true)]
    Names,
}

/// Parses and runs one command.
///
/// # Errors
/// Whatever kept the command from doing what was asked.
pub async fn run(args: impl Iterator<Item = OsString>, facts: &ProcessFacts) -> Outcome {
    let parsed = Cli::command().try_get_matches_from(args);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return spoken_by_clap(&error.format(&mut Cli::command())),
    };
    let global = &cli.global;
    let facts = &match cli.command {
        Command::Submit(_) | Command::Run(_) => cluster::facts_for(global, facts)?,
        _ => facts.clone(),
    };
    // Options of a job are read as words, with those of its script below them.
    let given = || matches.subcommand().map(|(_, sub)| given_words(sub)).unwrap_or_default();
    match cli.command {
        Command::Init(args) => commands::init::run(global, &args),
        Command::Up(args) => commands::up::run(global, &args).await,
        Command::Down(args) => commands::down::run(global, &args).await,
        Command::Connect(args) => commands::connect::run(global, &args).await,
        Command::Submit(args) => commands::submit::run(global, &args, &given(), facts).await,
        Command::Run(args) => commands::run::run(global, &args, &given(), facts).await,
        Command::Queue(args) => commands::jobs::queue(global, &args).await,
        Command::Show(args) => commands::jobs::show(global, &args).await,
        Command::Why(args) => commands::jobs::why(global, &args).await,
        Command::Logs(args) => commands::logs::run(global, &args).await,
        Command::Shell(args) => commands::shell::run(global, &args).await,
        Command::Wait(args) => commands::wait::run(global, &args).await,
        Command::Cancel(args) => commands::act::cancel(global, &args).await,
        Command::Hold(args) => commands::act::simple(global, &args.ids, "hold").await,
        Command::Release(args) => commands::act::simple(global, &args.ids, "release").await,
        Command::Requeue(args) => commands::act::simple(global, &args.ids, "requeue").await,
        Command::Rerun(args) => commands::act::rerun(global, &args).await,
        Command::Update(args) => commands::act::update(global, &args).await,
        Command::Nodes(args) => commands::nodes::nodes(global, &args).await,
        Command::Node(args) => commands::nodes::node(global, &args).await,
        Command::History(args) => commands::money::history(global, &args).await,
        Command::Cost(args) => commands::money::cost(global, &args).await,
        Command::Status(args) => commands::status::run(global, &args).await,
        Command::Doctor(args) => commands::doctor::run(global, &args).await,
        Command::Config(args) => commands::config::run(global, &args),
        Command::Admin(args) => commands::admin::run(global, &args).await,
        Command::Image(args) => commands::image::run(global, &args).await,
        Command::Provider(args) => commands::provider::run(global, &args),
        Command::Env(_) => commands::env::run(global),
        Command::Names => commands::env::names(),
        Command::Completion(args) => commands::paper::completion(&args, Cli::command()),
        Command::Man(args) => commands::paper::man(&args, Cli::command()),
        Command::Version(_) => commands::paper::version(global),
        Command::Detach(args) => commands::up::detach(&args),
    }
}

/// Help and version are data; everything else is a usage error in clap's words.
fn spoken_by_clap(error: &clap::Error) -> Outcome {
    let text = error.render().to_string();
    if error.use_stderr() {
        return Err(Failure::Rendered { text, code: crate::failure::code::USAGE });
    }
    crate::say::data(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        crate::submit::options::LineOptions::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let subs: Vec<_> = command.get_subcommands().collect();
            let all = if subs.is_empty() { vec![command] } else { subs };
            for command in all {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
                assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            }
        }
    }
}
