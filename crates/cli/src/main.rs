//! The `pcluster` command: parses, asks the head, renders.
//!
//! Invariant: a command is parse → client call → render; nothing here knows states or makes
//! decisions. Deliberately absent: any door to the head but its HTTP interface.
mod cli;
mod commands;
mod render;
mod submit;

use pcluster_client::{cluster, config_file, failure, look, say, text};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread: the umask can only be read by setting it.
    let facts = submit::process::facts();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::line(format!("error: cannot start: {error}"));
            return ExitCode::from(failure::code::REFUSED);
        }
    };
    let mut args = std::env::args_os();
    if let Some(command) = args.next().as_ref().and_then(pcluster_slurm::command_of) {
        let run = pcluster_slurm::run(command, args.collect(), pcluster_slurm::Context { facts });
        let code = runtime.block_on(run);
        runtime.shutdown_background();
        return ExitCode::from(code);
    }
    let code = match runtime.block_on(cli::run(std::env::args_os(), &facts)) {
        Ok(code) => code,
        Err(failure) => {
            say::talk(&failure.render(look::Look::here().width));
            failure.exit_code()
        }
    };
    // A reader of stdin in the background would otherwise be waited for.
    runtime.shutdown_background();
    ExitCode::from(code)
}
