//! The step daemon as a program of its own: what `pcluster-agent stepd` is, without the agent.
use std::process::ExitCode;

fn main() -> ExitCode {
    pcluster_steps::daemon::main(std::env::args_os().skip(1).collect())
}
