//! `pcluster-headnode`: the head node daemon. `pcluster up` starts it, `pcluster admin` its upkeep.
use clap::Parser;
use pcluster_headnode::driver::Ended;
use pcluster_headnode::{agents, errand::Errand, logfile, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// The head node of a pcluster cluster.
#[derive(Parser)]
#[command(
    name = "pcluster-headnode",
    version,
    about,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    /// The cluster's file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Log to stderr, for systemd and for looking; else to the cluster's log file.
    #[arg(long)]
    foreground: bool,
    #[command(subcommand)]
    errand: Option<Errand>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(errand) = &arguments.errand {
        return errand.run();
    }
    let prepared = match run::prepare(&arguments.config.unwrap_or_default()) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, error.exit_code()),
    };
    let file = (!arguments.foreground).then(|| prepared.places.log.clone());
    if let Err(error) = logfile::set_up(file.as_deref()) {
        return fail(&error, 1);
    }
    agents::tls::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let ended = runtime.block_on(run::run(prepared));
    runtime.shutdown_timeout(pcluster_headnode::limits::LAST_REQUESTS);
    match ended {
        Ok(Ended::Stopped | Ended::Closed) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the head ends");
            fail(&error, error.exit_code())
        }
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
