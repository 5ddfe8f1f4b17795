//! The lines of a script that hold options: `#SBATCH` and `#PCLUSTER`.
//!
//! Invariant: lines count while only comments and blank lines came before them, and only when the
//! mark is their first letter. Deliberately absent: the meaning of words.
use super::split::split;

/// Marks whose lines are read.
pub const MARKS: [&str; 2] = ["#SBATCH", "#PCLUSTER"];

/// Words of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// From 1.
    pub line: usize,
    /// `#SBATCH` or `#PCLUSTER`.
    pub mark: &'static str,
    pub words: Vec<String>,
}

/// A quote that is never closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenQuote {
    pub line: usize,
    pub quote: char,
    /// The line without its mark.
    pub text: String,
}

/// The directives of `script`, in the order of its lines.
///
/// # Errors
/// A quote that is never closed.
pub fn directives(script: &str) -> Result<Vec<Directive>, OpenQuote> {
    let mut found = Vec::new();
    for (at, line) in script.lines().enumerate() {
        let text = line.trim_start();
        if text.is_empty() {
            continue;
        }
        if !text.starts_with('#') {
            break;
        }
        let marked = MARKS.iter().find_map(|mark| Some((*mark, line.strip_prefix(mark)?)));
        let Some((mark, rest)) = marked else { continue };
        // `#SBATCHES` is a comment; a mark ends with a blank or an option.
        if !rest.is_empty() && !rest.starts_with([' ', '\t', '-']) {
            continue;
        }
        let words = split(rest).map_err(|quote| OpenQuote {
            line: at + 1,
            quote,
            text: rest.trim_start().to_owned(),
        })?;
        found.push(Directive { line: at + 1, mark, words });
    }
    Ok(found)
}

/// Lines that look as if they were meant to be read and are not: with a blank inside the mark, in
/// other letters, indented, or after the first command. Number from 1, and the line.
#[must_use]
pub fn overlooked(script: &str) -> Vec<(usize, String)> {
    let mut commands = false;
    let mut found = Vec::new();
    for (at, line) in script.lines().enumerate() {
        let text = line.trim_start();
        if !text.starts_with('#') {
            commands |= !text.is_empty();
            continue;
        }
        let bare: String = text.chars().filter(|c| !c.is_whitespace()).take(10).collect();
        let upper = bare.to_ascii_uppercase();
        let Some(mark) = MARKS.iter().find(|mark| upper.starts_with(**mark)) else { continue };
        // Only what goes on with an option was meant: `# sbatch job.sh` is a remark.
        let after = upper[mark.len()..].starts_with('-');
        if after && (commands || !line.starts_with(mark)) {
            found.push((at + 1, line.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_the_first_command() {
        let script = "#!/bin/sh\n\n  \n# a comment\n#SBATCH  -J\"q d\"\t--mem=4G -n 2 # two\n\
                      ##SBATCH --nodes=9\n#SBATCHES no\n #SBATCH --nodes=8\n#PCLUSTER--spot\n\
                      echo\n#SBATCH -c 4\n";
        let found: Vec<(usize, String)> =
            directives(script).unwrap().into_iter().map(|d| (d.line, d.words.join("|"))).collect();
        assert_eq!(found, [(5, "-Jq d|--mem=4G|-n|2".to_owned()), (9, "--spot".to_owned())]);
    }

    #[test]
    fn what_was_surely_meant_is_known() {
        let script = "#!/bin/sh\n# SBATCH -t 5\n#sbatch --mem=1G\n # SBATCH job.sh\n\
                      # sbatch job.sh\n##SBATCH -n 2\n#SBATCH -N 1\necho\n#SBATCH -c 4\n";
        let lines: Vec<usize> = overlooked(script).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3, 9]);
    }

    #[test]
    fn an_open_quote_is_refused_with_its_line() {
        let refused = directives("#!/bin/sh\n#SBATCH -J \"x\n").unwrap_err();
        assert_eq!((refused.line, refused.quote, refused.text.as_str()), (2, '"', "-J \"x"));
    }
}
