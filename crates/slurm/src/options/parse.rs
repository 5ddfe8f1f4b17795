//! Words become options, as `getopt_long` of the GNU C library reads them.
//!
//! Invariant: total. Long options may be shortened to what is still one option of the command;
//! letters may be bundled; `--` ends the options; what is wrong is told in the C library's words.
use super::{Opt, Origin, Said, Table, Takes, Words};
use crate::refusal::Refusal;

/// Where options end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// At the first word that is none: `sbatch`, `srun`, `salloc`.
    StopAtFirst,
    /// Nowhere but at `--`: all others.
    Permute,
}

/// Reads a command line. `--help`, `--usage` and `--version` end the reading: what follows is not
/// looked at.
///
/// # Errors
/// An option that is not of this command, a value that is missing or not taken.
pub fn parse(table: &Table, args: &[String], order: Order) -> Result<Words, Refusal> {
    parse_some(table, args, order, &Origin::Line)
}

/// [`parse`] of words that stand elsewhere than on the command line.
///
/// # Errors
/// As [`parse`].
pub fn parse_some(
    table: &Table,
    args: &[String],
    order: Order,
    origin: &Origin,
) -> Result<Words, Refusal> {
    let mut reader = Reader { table, args, at: 0, words: Words::default(), origin };
    while let Some(word) = reader.next_word() {
        let found = match word.strip_prefix("--") {
            Some("") => {
                reader.take_rest();
                break;
            }
            Some(long) => reader.long(long)?,
            None => match word.strip_prefix('-') {
                Some("") | None => {
                    reader.words.rest.push(word.to_owned());
                    if order == Order::StopAtFirst {
                        reader.take_rest();
                        break;
                    }
                    continue;
                }
                Some(letters) => reader.letters(letters)?,
            },
        };
        if matches!(found.name, "help" | "usage" | "version") {
            break;
        }
    }
    Ok(reader.words)
}

struct Reader<'a> {
    table: &'a Table,
    args: &'a [String],
    at: usize,
    words: Words,
    origin: &'a Origin,
}

impl<'a> Reader<'a> {
    fn next_word(&mut self) -> Option<&'a str> {
        let word = self.args.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn take_rest(&mut self) {
        self.words.rest.extend(self.args.iter().skip(self.at).cloned());
    }

    /// The next word for a value that may be absent.
    fn value_ahead(&mut self) -> Option<String> {
        let word = self.args.get(self.at).filter(|word| !word.starts_with('-'))?;
        self.at += 1;
        Some(word.clone())
    }

    fn push(&mut self, option: &'static Opt, value: Option<String>) -> &'static Opt {
        self.words.said.push(Said { option, value, origin: self.origin.clone() });
        option
    }

    fn long(&mut self, text: &str) -> Result<&'static Opt, Refusal> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let option = self.find(name, text)?;
        let value = match (option.takes, value) {
            (Takes::Nothing, Some(_)) => {
                let said = format!("option '--{}' doesn't allow an argument", option.long);
                return Err(self.wrong(&said));
            }
            (Takes::Value(_), None) => match self.next_word() {
                Some(value) => Some(value.to_owned()),
                None => {
                    let said = format!("option '--{}' requires an argument", option.long);
                    return Err(self.wrong(&said));
                }
            },
            (Takes::MaybeNext(_), None) => self.value_ahead(),
            (_, value) => value,
        };
        Ok(self.push(option, value))
    }

    /// The option of this name, or the only one that it begins.
    fn find(&self, name: &str, text: &str) -> Result<&'static Opt, Refusal> {
        if let Some(option) = self.table.long(name) {
            return Ok(option);
        }
        let begun: Vec<&'static Opt> = self
            .table
            .options()
            .filter(|option| !name.is_empty() && option.long.starts_with(name))
            .collect();
        let one = begun.first().filter(|first| begun.iter().all(|o| o.name == first.name));
        match one {
            Some(option) => Ok(option),
            None if begun.is_empty() => Err(self.unknown(name, text)),
            None => {
                let mut names: Vec<String> =
                    begun.iter().map(|option| format!("'--{}'", option.long)).collect();
                names.sort();
                let said =
                    format!("option '--{text}' is ambiguous; possibilities: {}", names.join(" "));
                Err(self.wrong(&said))
            }
        }
    }

    fn letters(&mut self, letters: &str) -> Result<&'static Opt, Refusal> {
        let mut last = None;
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let Some(option) = self.table.short(letter) else {
                return Err(self.wrong(&format!("invalid option -- '{letter}'")));
            };
            last = Some(option);
            let attached = rest.as_str();
            let value = match option.takes {
                Takes::Nothing => {
                    self.push(option, None);
                    continue;
                }
                _ if !attached.is_empty() => Some(attached.to_owned()),
                Takes::Maybe(_) => None,
                Takes::MaybeNext(_) => self.value_ahead(),
                Takes::Value(_) => match self.next_word() {
                    Some(value) => Some(value.to_owned()),
                    None => {
                        let said = format!("option requires an argument -- '{letter}'");
                        return Err(self.wrong(&said));
                    }
                },
            };
            return Ok(self.push(option, value));
        }
        last.ok_or_else(|| self.wrong("invalid option -- ''"))
    }

    fn unknown(&self, name: &str, text: &str) -> Refusal {
        let mut refusal = self.wrong(&format!("unrecognized option '--{text}'"));
        if let Some(near) = nearest(self.table, name) {
            refusal = refusal.hint(format!("did you mean `--{near}`?"));
        }
        refusal
    }

    fn wrong(&self, what: &str) -> Refusal {
        let command = self.table.command;
        let mut refusal = Refusal::plain(format!("{command}: {what}"), self.table.wrong_option)
            .line(format!("Try \"{command} --help\" for more information"));
        if *self.origin != Origin::Line {
            refusal = refusal.hint(format!("it stands in {}", self.origin));
        }
        refusal
    }
}

/// What other schedulers call it.
const SYNONYMS: [(&str, &str); 12] = [
    ("walltime", "time"),
    ("time-limit", "time"),
    ("timelimit", "time"),
    ("queue", "partition"),
    ("memory", "mem"),
    ("cores", "cpus-per-task"),
    ("cpus", "cpus-per-task"),
    ("threads-per-task", "cpus-per-task"),
    ("workdir", "chdir"),
    ("depend", "dependency"),
    ("email", "mail-user"),
    ("stdout", "output"),
];

/// The option whose name is nearest, if one is near enough to be meant.
fn nearest(table: &Table, name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let meant = SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours);
    if let Some(meant) = meant.and_then(|meant| table.long(meant)) {
        return Some(meant.long);
    }
    let mut best: Option<(usize, &'static str)> = None;
    for option in table.options().filter(|option| option.long == option.name) {
        let distance = distance(&name, option.long);
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, option.long));
        }
    }
    best.filter(|(distance, found)| *distance <= 2.max(found.len() / 3)).map(|(_, found)| found)
}

/// Letters to add, drop, change or swap.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    // Options are short; a text that is not is near to none of them.
    if left.len() > 64 {
        return left.len();
    }
    let mut rows = vec![vec![0usize; right.len() + 1]; left.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at;
    }
    rows[0] = (0..=right.len()).collect();
    for l in 1..=left.len() {
        for r in 1..=right.len() {
            let change = rows[l - 1][r - 1] + usize::from(left[l - 1] != right[r - 1]);
            let mut least = change.min(rows[l - 1][r] + 1).min(rows[l][r - 1] + 1);
            let swapped =
                l > 1 && r > 1 && left[l - 1] == right[r - 2] && left[l - 2] == right[r - 1];
            if swapped {
                least = least.min(rows[l - 2][r - 2] + 1);
            }
            rows[l][r] = least;
        }
    }
    rows[left.len()][right.len()]
}
