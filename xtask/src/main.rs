//! Chores of the repository, as `cargo xtask CHORE`.
//!
//! Deliberately absent: everything that a shell script says as well (building, testing,
//! installing), and network access.
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask CHORE

  tidy    check sizes and habits of the whole tree against its budgets";

fn main() -> ExitCode {
    let chore: Vec<String> = std::env::args().skip(1).collect();
    match chore.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy(),
        [] | ["help" | "-h" | "--help"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("error: there is no chore {:?}\n{HELP}", other.join(" "));
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    match tidy::check_tree(&tidy::root()) {
        Ok(report) => {
            print!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
