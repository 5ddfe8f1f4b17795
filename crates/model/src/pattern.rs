//! Names of files with letters in them: `out/%x-%4j.%a`.
//!
//! Invariant: one meaning for all who read such names: the node that opens the file, the head that
//! shows its name, the command that writes it. A value adds neither a directory nor a line, so a
//! job's name cannot send output elsewhere. Deliberately absent: directories and files.
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

/// What `%a` says of a job that is no array, as Slurm says it.
pub const NO_INDEX: u32 = u32::MAX - 1;

/// No number is made wider than this: a pattern cannot make a name of any length.
const MOST_DIGITS: usize = 10;

/// What the letters stand for; a letter of `None` stays as it was written.
#[derive(Debug, Clone, Copy, Default)]
pub struct PatternNames<'a> {
    /// `%A`: the job, of a task of an array the array.
    pub job: Option<u64>,
    /// `%j`: the task's own id.
    pub raw_job: Option<u64>,
    /// `%a`, and its last digit as `%b`.
    pub index: Option<u32>,
    /// `%s`, also in `%J`; `None` is the script: `batch`.
    pub step: Option<u32>,
    /// `%t`.
    pub task: Option<u32>,
    /// `%n`.
    pub node_index: Option<u32>,
    /// `%N`.
    pub node: Option<&'a str>,
    /// `%u`.
    pub user: Option<&'a str>,
    /// `%x`.
    pub name: Option<&'a str>,
}

impl PatternNames<'_> {
    /// The name. A number before a letter fills up with zeros (`%4j`), `%%` is a percent sign, and a
    /// `\` anywhere takes all meaning from the letters: it goes, the rest stays.
    #[must_use]
    pub fn expand(&self, pattern: &str) -> String {
        if pattern.contains('\\') {
            return without_backslashes(pattern);
        }
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let (letter, width, after) = next(&rest[at + 1..]);
            match letter.and_then(|letter| self.value(letter, width)) {
                Some(value) => {
                    out.extend(value.chars().map(|c| if is_odd(c) { '_' } else { c }));
                    rest = after;
                }
                None => {
                    out.push('%');
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn value(&self, letter: char, width: Option<usize>) -> Option<String> {
        let digits = width.unwrap_or(0).min(MOST_DIGITS);
        let padded = |number: u64| format!("{number:0digits$}");
        let small = |number: Option<u32>| number.map(|number| padded(u64::from(number)));
        match letter {
            '%' if width.is_none() => Some("%".to_owned()),
            'A' => self.job.map(padded),
            'j' => self.raw_job.map(padded),
            'J' => match self.step {
                Some(step) => self.raw_job.map(|job| format!("{}.{step}", padded(job))),
                None => self.raw_job.map(padded),
            },
            'a' => small(self.index),
            'b' => small(self.index.map(|index| index % 10)),
            's' => Some(small(self.step).unwrap_or_else(|| "batch".to_owned())),
            't' => small(self.task),
            'n' => small(self.node_index),
            'N' => self.node.map(ToString::to_string),
            'u' => self.user.map(ToString::to_string),
            'x' => self.name.map(ToString::to_string),
            _ => None,
        }
    }
}

/// True when each task, or each node, has a file of its own.
#[must_use]
pub fn is_per_task(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (letter, _, after) = next(&rest[at + 1..]);
        if matches!(letter, Some('t' | 'n' | 'N')) {
            return !pattern.contains('\\');
        }
        rest = after;
    }
    false
}

/// The letter after a percent sign, its width, and what comes after it.
fn next(text: &str) -> (Option<char>, Option<usize>, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut after = text[digits..].chars();
    let letter = after.next();
    // More digits than a number holds are as many as one wants.
    let width = (digits > 0).then(|| text[..digits].parse().unwrap_or(MOST_DIGITS));
    (letter, width, after.as_str())
}

/// `\\` is one; every other goes.
fn without_backslashes(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        let kept = if c == '\\' { chars.next() } else { Some(c) };
        out.extend(kept);
    }
    out
}

fn is_odd(c: char) -> bool {
    c == '/' || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: PatternNames<'_> = PatternNames {
        job: Some(40),
        raw_job: Some(43),
        index: Some(13),
        step: None,
        task: Some(0),
        node_index: Some(0),
        node: Some("c2"),
        user: Some("ana"),
        name: Some("../a\nb"),
    };

    #[test]
    fn letters_have_their_values_in_a_script() {
        let all = "%A %a %b %j %J %s %t %n %N %u %x %%";
        assert_eq!(BATCH.expand(all), "40 13 3 43 43 batch 0 0 c2 ana .._a_b %");
        let plain = PatternNames { index: Some(NO_INDEX), ..BATCH };
        assert_eq!(plain.expand("%a %b"), "4294967294 4");
    }

    #[test]
    fn letters_have_their_values_in_a_step() {
        let step = PatternNames { step: Some(2), task: Some(7), node_index: Some(1), ..BATCH };
        assert_eq!(step.expand("%J %5J %s %3s %t %2n"), "43.2 00043.2 2 002 7 01");
    }

    #[test]
    fn numbers_are_widened_and_words_are_not() {
        assert_eq!(BATCH.expand("%5j-%05A.%3b.%8x.%4s.%6N"), "00043-00040.003..._a_b.batch.c2");
        assert_eq!(BATCH.expand("%12j"), "0000000043");
        assert_eq!(BATCH.expand("%é%99999999999999999999j"), "%é0000000043");
    }

    #[test]
    fn what_is_no_letter_or_not_known_stays() {
        assert_eq!(BATCH.expand("100%%_%z_%5q_%5%_%"), "100%_%z_%5q_%5%_%");
        assert_eq!(BATCH.expand("%%j %%%j"), "%j %43");
        assert_eq!(PatternNames::default().expand("%A %5j %a %b %s"), "%A %5j %a %b batch");
    }

    #[test]
    fn a_backslash_takes_all_meaning_from_the_letters() {
        for (pattern, name) in
            [(r"\%j", "%j"), (r"out-%j-\%a", "out-%j-%a"), (r"a\\b%%", r"a\b%%"), (r"%j\", "%j")]
        {
            assert_eq!(BATCH.expand(pattern), name, "{pattern}");
        }
    }

    #[test]
    fn only_letters_of_tasks_and_nodes_make_many_files() {
        for (pattern, many) in [
            ("o.%t", true),
            ("%3n", true),
            ("%N", true),
            ("%j%t", true),
            ("%%t", false),
            ("%j", false),
            (r"\%t", false),
            ("%", false),
        ] {
            assert_eq!(is_per_task(pattern), many, "{pattern}");
        }
    }
}
