//! `#PCLUSTER` and `#SBATCH` lines of a script, and `PCLUSTER_SUBMIT_*` variables, as words.
//!
//! Invariant: every word knows its line, so that an error can show it. Deliberately absent: the
//! grammar of the lines (`pcluster_client`), and the meaning of words (`spec`).
use super::options::LineOptions;
use crate::failure::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use pcluster_client::submit::directives::{Directive, MARKS, directives as lines};

/// The directives of `script`, in the order of its lines.
///
/// # Errors
/// A quote that is never closed.
pub fn directives(script: &str, file: &str) -> Result<Vec<Directive>, Failure> {
    lines(script).map_err(|open| {
        Failure::usage(format!("a quote is never closed in line {} of {file}", open.line))
            .fact("line", open.text)
    })
}

/// All options of a script's lines: those of `#SBATCH` first, so that `#PCLUSTER` wins, and later
/// lines after earlier ones.
///
/// # Errors
/// An unknown option or a wrong value, with its line and the nearest right one.
pub fn words_in_order(found: &[Directive], file: &str) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for mark in MARKS {
        for directive in found.iter().filter(|directive| directive.mark == mark) {
            // One line at a time, so that the error knows its line.
            if let Err(error) = LineOptions::try_parse_from(&directive.words) {
                let place = format!("{file}:{}", directive.line);
                let line = format!("{mark} {}", directive.words.join(" "));
                return Err(refusal(&error, mark, &place, &line));
            }
            all.extend(directive.words.iter().cloned());
        }
    }
    Ok(all)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

fn refusal(error: &clap::Error, mark: &str, place: &str, line: &str) -> Failure {
    let option = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let option = option.split_whitespace().next().unwrap_or_default().to_owned();
    let message = match error.kind() {
        // A word that is no option at all: `#SBATCH -t 10 20`.
        ErrorKind::UnknownArgument if !option.starts_with('-') => {
            format!("`{option}` is not an option of {mark}")
        }
        ErrorKind::UnknownArgument => format!("unknown {mark} option `{option}`"),
        ErrorKind::InvalidValue
            if context(error, ContextKind::InvalidValue).is_none_or(|v| v.is_empty()) =>
        {
            format!("{mark} option `{option}` needs a value")
        }
        _ => {
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            format!("`{value}` is not a value of {mark} option `{option}`")
        }
    };
    let failure = Failure::usage(message).fact("in", place).fact("line", line);
    match nearest(error, &option) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("pcluster submit --help    shows all options"),
    }
}

fn nearest(error: &clap::Error, option: &str) -> Option<String> {
    if let Some(suggested) = context(error, ContextKind::SuggestedArg) {
        return Some(suggested);
    }
    let wanted = option.trim_start_matches('-').to_ascii_lowercase().replace('_', "-");
    let command = LineOptions::command();
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    longs.filter(|long| *long == wanted).map(|long| format!("--{long}")).next()
}

/// `PCLUSTER_SUBMIT_TIME=2h` as `--time=2h`. The prefix is a name of its own because jobs find
/// `PCLUSTER_*` facts about themselves in their environment, which must not shape the jobs they
/// submit.
///
/// # Errors
/// A wrong value, with the variable's name.
pub fn words_of_variables<I>(variables: I) -> Result<Vec<String>, Failure>
where
    I: IntoIterator<Item = (String, String)>,
{
    let command = LineOptions::command();
    let mut all = Vec::new();
    let mut given: Vec<(String, String)> =
        variables.into_iter().filter(|(name, _)| name.starts_with("PCLUSTER_SUBMIT_")).collect();
    given.sort();
    for (name, value) in given {
        let long = name["PCLUSTER_SUBMIT_".len()..].to_ascii_lowercase().replace('_', "-");
        let found = command.get_arguments().find(|arg| {
            let alias = arg.get_visible_aliases().is_some_and(|all| all.contains(&long.as_str()));
            arg.get_long() == Some(&long) || alias
        });
        let Some(option) = found else { continue };
        let takes_value = option.get_action().takes_values();
        let word = match (takes_value, value.to_ascii_lowercase().as_str()) {
            (true, "") | (false, "" | "0" | "no" | "false") => continue,
            (true, _) => format!("--{long}={value}"),
            (false, _) => format!("--{long}"),
        };
        if let Err(error) = LineOptions::try_parse_from([&word]) {
            let line = format!("{name}={value}");
            return Err(refusal(&error, &name, "the environment", &line));
        }
        all.push(word);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Vec<String> {
        words_in_order(&directives(script, "job.sh").unwrap(), "job.sh").unwrap()
    }

    #[test]
    fn lines_end_at_the_first_command_and_quotes_hold_blanks() {
        let script = "#!/bin/sh\n\n# a comment\n#SBATCH  -J\"q d\"\t--mem=4G -n 2 # two\n\
                      ##SBATCH --nodes=9\n#SBATCHES no\n #SBATCH --nodes=8\necho\n#SBATCH -c 4\n";
        assert_eq!(words(script), ["-Jq d", "--mem=4G", "-n", "2"]);
    }

    #[test]
    fn our_lines_win_over_slurms_wherever_they_stand() {
        let script = "#!/bin/sh\n#PCLUSTER --time 2h\n#SBATCH --time 1:00\n";
        assert_eq!(words(script), ["--time", "1:00", "--time", "2h"]);
    }

    #[test]
    fn an_unknown_option_names_its_line_and_the_nearest() {
        let script = "#!/bin/sh\n#PCLUSTER --tmie=2h\n";
        let found = directives(script, "job.sh").unwrap();
        let failure = words_in_order(&found, "job.sh").unwrap_err();
        insta::assert_snapshot!(failure.render(80), @r"
        error: unknown #PCLUSTER option `--tmie`
          in       job.sh:2
          line     #PCLUSTER --tmie=2h
        hint: did you mean `--time`?
        ");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn a_wrong_number_is_refused_with_its_line() {
        let found = directives("#!/bin/sh\n#SBATCH -c four\n", "job.sh").unwrap();
        let failure = words_in_order(&found, "job.sh").unwrap_err();
        assert!(
            failure
                .render(80)
                .starts_with("error: `four` is not a value of #SBATCH option `--cpus-per-task`\n")
        );
    }

    #[test]
    fn an_open_quote_is_refused() {
        assert!(directives("#!/bin/sh\n#SBATCH -J \"x\n", "job.sh").is_err());
    }

    #[test]
    fn variables_are_options_too_and_foreign_ones_are_left_alone() {
        let given = [
            ("PCLUSTER_SUBMIT_TIME", "2h"),
            ("PCLUSTER_SUBMIT_HOLD", "no"),
            ("PCLUSTER_SUBMIT_REQUEUE", "1"),
            ("PCLUSTER_SUBMIT_DIR", "/x"),
            ("PCLUSTER_JOB_NAME", "outer"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(words_of_variables(given).unwrap(), ["--requeue", "--time=2h"]);
    }
}
