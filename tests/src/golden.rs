//! Slurm's own answers as a text, and the comparison of ours with them.
//!
//! Invariant: what cannot be the same on two clusters (ids, moments, node names, folders) is matched by
//! what it stands for: an id of the reference always means the same id here. All else must be equal, or
//! be listed with a reason. Deliberately absent: the cluster, and what is asked of it (`tests/it`).
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A command, and what it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub command: String,
    pub out: String,
    pub err: String,
    pub code: i32,
}

/// Reads `$ COMMAND`, then indented output, `[stderr] …` and `[rc=N]`. A section `### …` is asked for by
/// its title.
#[must_use]
pub fn asked_of(text: &str) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("### ")) {
            all.push(Asked { command: command.to_owned(), ..Asked::default() });
        } else if let (Some(line), Some(asked)) = (line.strip_prefix("  "), all.last_mut()) {
            if let Some(code) = line.strip_prefix("[rc=") {
                asked.code = code.trim_end_matches(']').parse().unwrap_or(-1);
            } else if let Some(line) = line.strip_prefix("[stderr] ") {
                asked.err.push_str(&format!("{line}\n"));
            } else {
                asked.out.push_str(&format!("{line}\n"));
            }
        }
    }
    all
}

/// What stands for what: ids, folders and nodes of the reference, and ours.
#[derive(Debug)]
pub struct Words {
    ids: RefCell<BTreeMap<u64, u64>>,
    work: String,
}

/// Ids that the reference gave out while its answers were taken.
const REFERENCE_IDS: std::ops::RangeInclusive<u64> = 140..=210;
/// One more, from before.
const OLDER_ID: u64 = 44;

impl Words {
    #[must_use]
    pub fn new(work: &Path) -> Self {
        Self { ids: RefCell::default(), work: work.display().to_string() }
    }

    /// A command of the reference with our ids.
    #[must_use]
    pub fn ours(&self, command: &str) -> String {
        let ids = self.ids.borrow();
        let pieces = pieces(command).into_iter().map(|piece| {
            let id = piece.parse::<u64>().ok().and_then(|id| ids.get(&id));
            id.map_or_else(|| piece.to_owned(), u64::to_string)
        });
        pieces.collect()
    }

    /// Lines `@REFERENCE OURS` of what a preparation printed.
    pub fn learn(&self, said: &str) {
        for line in said.lines().filter_map(|line| line.strip_prefix('@')) {
            let mut ids = line.split_whitespace().filter_map(|id| id.parse().ok());
            if let (Some(reference), Some(ours)) = (ids.next(), ids.next()) {
                self.ids.borrow_mut().insert(reference, ours);
            }
        }
    }

    /// Whether a text of ours says what the reference's says.
    #[must_use]
    pub fn same(&self, reference: &str, ours: &str) -> bool {
        let reference = nodes_hidden(&reference.replace("/home/user/work", &self.work));
        let ours = nodes_hidden(ours);
        let (theirs, ours) = (words(&reference), words(&ours));
        theirs.len() == ours.len()
            && theirs.iter().zip(&ours).all(|(theirs, ours)| self.same_word(theirs, ours))
    }

    fn same_word(&self, theirs: &str, ours: &str) -> bool {
        if let (Some(a), Some(b)) = (span_s(theirs), span_s(ours)) {
            // What was measured differs a little; what was asked for differs by minutes.
            return a.abs_diff(b) <= 40;
        }
        if is_moment(theirs) {
            return is_moment(ours);
        }
        let (theirs, ours) = (pieces(theirs), pieces(ours));
        theirs.len() == ours.len()
            && theirs.iter().zip(&ours).all(|(theirs, ours)| self.same_piece(theirs, ours))
    }

    fn same_piece(&self, theirs: &str, ours: &str) -> bool {
        let (Ok(a), Ok(b)) = (theirs.parse::<u64>(), ours.parse::<u64>()) else {
            return theirs == ours;
        };
        let mut ids = self.ids.borrow_mut();
        // Sizes may look like ids: an equal number that is no id yet is a number.
        if !REFERENCE_IDS.contains(&a) && a != OLDER_ID || a == b && !ids.contains_key(&a) {
            return a == b;
        }
        let taken = ids.iter().any(|(other, id)| *other != a && *id == b);
        *ids.entry(a).or_insert(if taken { u64::MAX } else { b }) == b
    }
}

/// At blanks and what separates fields.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive([' ', '|', ',', '(', ')', '^', '=', '\t'])
        .flat_map(|piece| {
            let (word, end) = piece.split_at(
                piece.len()
                    - usize::from(piece.ends_with([' ', '|', ',', '(', ')', '^', '=', '\t'])),
            );
            [word, end.trim()]
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Runs of digits, runs of letters, and all else one by one.
fn pieces(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let kind = |letter: char| (letter.is_ascii_digit(), letter.is_alphabetic());
        let run = kind(first).0 || kind(first).1;
        let end =
            rest.char_indices().skip(1).find(|(_, letter)| !run || kind(*letter) != kind(first));
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        found.push(piece);
        rest = after;
    }
    found
}

/// `c1`, `c[1-3]`, `main-2`, `short-1,main-[1,3]`: a node list, whatever it holds.
fn nodes_hidden(text: &str) -> String {
    let mut told = String::new();
    for word in text.split_inclusive([' ', '|', '=', '(', '\n', ':']) {
        let end = word.len() - usize::from(word.ends_with([' ', '|', '=', '(', '\n', ':']));
        let (bare, after) = word.split_at(end);
        let bare_name = bare.trim_end_matches(')');
        let is_node = |name: &str| {
            let rest = ["main-", "short-", "c"].iter().find_map(|prefix| name.strip_prefix(prefix));
            rest.is_some_and(|rest| {
                rest.starts_with(|first: char| first.is_ascii_digit() || first == '[')
                    && rest.chars().all(|letter| letter.is_ascii_digit() || "[]-,".contains(letter))
            })
        };
        let list = bare_name.split(",main-").next().unwrap_or(bare_name);
        if is_node(list) || is_node(bare_name) {
            told.push_str("NODES");
            told.push_str(&bare[bare_name.len()..]);
        } else {
            told.push_str(bare);
        }
        told.push_str(after);
    }
    told
}

/// `2026-11-23T23:25:22`.
fn is_moment(word: &str) -> bool {
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape == "9999-99-99T99:99:99" || (word.len() == 10 && shape == "9999999999")
}

/// Seconds of `M:SS`, `HH:MM:SS` or `D-HH:MM:SS`.
fn span_s(word: &str) -> Option<u64> {
    let (days, clock) = word.split_once('-').map_or(("0", word), |(days, clock)| (days, clock));
    let parts: Option<Vec<u64>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| (2..=3).contains(&parts.len()))?;
    let clock_s = parts.iter().fold(0, |sum, part| sum * 60 + part);
    Some(days.parse::<u64>().ok()? * 86_400 + clock_s)
}

/// What is different, each as `PATH: reference | ours`.
#[must_use]
pub fn differences(reference: &Asked, ours: &Asked, words: &Words) -> Vec<String> {
    let mut found = Vec::new();
    if reference.code != ours.code {
        found.push(format!("code: {} | {}", reference.code, ours.code));
    }
    let of_keys = |text: &str| keys(&reference.command, text);
    match (of_keys(&reference.out), of_keys(&ours.out)) {
        (Some(theirs), Some(ours)) => differing_keys(&theirs, &ours, words, &mut found),
        _ => differing_lines(
            "out",
            &in_order(&reference.out),
            &in_order(&ours.out),
            words,
            &mut found,
        ),
    }
    // Our own help comes after Slurm's words.
    let told = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("hint: ") && !is_of_waiting(line));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    differing_lines("err", &told(&reference.err), &told(&ours.err), words, &mut found);
    found
}

/// Whether a command had to wait for nodes depends on what is free.
fn is_of_waiting(line: &str) -> bool {
    let waiting = ["queued and waiting for resources", "has been allocated resources"];
    waiting.iter().any(|words| line.ends_with(words))
}

/// Lines that say which task they are of come in any order.
fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let labelled =
        |line: &&str| line.split_once(": ").is_some_and(|(task, _)| task.parse::<u32>().is_ok());
    if lines.iter().all(labelled) {
        lines.sort_unstable();
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn differing_lines(what: &str, theirs: &str, ours: &str, words: &Words, found: &mut Vec<String>) {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    for at in 0..theirs.len().max(ours.len()) {
        match (theirs.get(at), ours.get(at)) {
            (Some(theirs), Some(ours)) if theirs.contains('|') => {
                differing_fields(&format!("{what} {}", at + 1), theirs, ours, words, found);
            }
            (Some(theirs), Some(ours)) if words.same(theirs, ours) => {
                // A header says where columns stand: its blanks count.
                if at == 0 && theirs.contains("  ") && is_heading(theirs) && theirs != ours {
                    found.push(format!("{what} heading: {theirs} | {ours}"));
                }
            }
            (theirs, ours) => found.push(format!(
                "{what} {}: {} | {}",
                at + 1,
                theirs.unwrap_or(&"(none)"),
                ours.unwrap_or(&"(none)")
            )),
        }
    }
}

fn is_heading(line: &str) -> bool {
    line.chars().filter(|letter| letter.is_ascii_digit()).count() == 0
}

fn differing_fields(row: &str, theirs: &str, ours: &str, words: &Words, found: &mut Vec<String>) {
    let (theirs, ours): (Vec<&str>, Vec<&str>) =
        (theirs.split('|').collect(), ours.split('|').collect());
    if theirs.len() != ours.len() {
        found.push(format!("{row}: {} | {}", theirs.join("|"), ours.join("|")));
        return;
    }
    for (at, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        if !words.same(theirs, ours) {
            found.push(format!("{row} field {}: {theirs} | {ours}", at + 1));
        }
    }
}

/// Records of `Key=Value`, where the command shows such: each key with the values in order.
fn keys(command: &str, text: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let shows = [
        "show job",
        "show -o --detail job",
        "show node",
        "show -o node",
        "show partition",
        "show -o partition",
    ];
    if command.starts_with("batch + srun") {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in lines {
            all.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        return Some(all);
    }
    if !shows.iter().any(|show| command.contains(show))
        || command.contains('|') && !command.contains("head -40")
    {
        return None;
    }
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last: Option<String> = None;
    for word in text.split_whitespace() {
        let key = word.split_once('=').filter(|(key, _)| {
            key.starts_with(|first: char| first.is_ascii_uppercase())
                && key.chars().all(|letter| letter.is_alphanumeric() || "/:*_".contains(letter))
        });
        match (key, &last) {
            (Some((key, value)), _) => {
                all.entry(key.to_owned()).or_default().push(value.to_owned());
                last = Some(key.to_owned());
            }
            (None, Some(last)) => {
                if let Some(value) = all.get_mut(last).and_then(|values| values.last_mut()) {
                    value.push_str(&format!(" {word}"));
                }
            }
            (None, None) => {}
        }
    }
    Some(all)
}

type Keys = BTreeMap<String, Vec<String>>;

fn differing_keys(theirs: &Keys, ours: &Keys, words: &Words, found: &mut Vec<String>) {
    let none = Vec::new();
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let records = |keys: &Keys| keys.values().map(Vec::len).max().unwrap_or(0);
    let (here, there) = (records(ours), records(theirs));
    if here != there {
        found.push(format!("records: {there} | {here}"));
    }
    for key in names {
        let (theirs, ours) = (theirs.get(key).unwrap_or(&none), ours.get(key).unwrap_or(&none));
        let ours = &ours[..ours.len().min(there)];
        let same = theirs.len() == ours.len()
            && theirs.iter().zip(ours).all(|(theirs, ours)| words.same(theirs, ours));
        if !same {
            found.push(format!("{key}: {} | {}", theirs.join(" ; "), ours.join(" ; ")));
        }
    }
}

/// The notes of a comparison: what comes first, what is asked instead, and which differences are meant.
#[derive(Debug, Default)]
pub struct Notes {
    before: BTreeMap<String, String>,
    instead: BTreeMap<String, String>,
    /// Command, path, whether it was used or need not be.
    differs: Vec<(String, String, RefCell<bool>)>,
}

impl Notes {
    /// Reads `before: COMMAND`, `instead: COMMAND` and `differs: COMMAND`, each with indented lines.
    ///
    /// # Panics
    /// When a line is none of these, or a difference has no reason.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut notes = Self::default();
        let mut at: Option<(&str, &str)> = None;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if let Some(line) = line.strip_prefix("  ") {
                match at.expect("an indented line belongs to a command") {
                    ("before", command) => push_line(&mut notes.before, command, line),
                    ("instead", command) => push_line(&mut notes.instead, command, line),
                    (_, command) => {
                        let (path, reason) = line.split_once(" :: ").expect("PATH :: REASON");
                        assert!(!reason.trim().is_empty(), "{line}: no reason");
                        let at_times = path.starts_with('?');
                        let path = path.trim().trim_start_matches('?').to_owned();
                        let entry = (command.to_owned(), path, RefCell::new(at_times));
                        notes.differs.push(entry);
                    }
                }
            } else {
                let (kind, command) = line.split_once(": ").expect("KIND: COMMAND");
                assert!(["before", "instead", "differs"].contains(&kind), "{line}");
                at = Some((kind, command));
            }
        }
        notes
    }

    /// The shell's words that must come before a command.
    #[must_use]
    pub fn before(&self, command: &str) -> Option<&str> {
        self.before.get(command).map(String::as_str)
    }

    /// What is asked for a command of the reference.
    #[must_use]
    pub fn instead_of(&self, command: &str) -> String {
        self.instead.get(command).cloned().unwrap_or_else(|| command.to_owned())
    }

    /// Whether a difference of a command is listed.
    #[must_use]
    pub fn allows(&self, command: &str, difference: &str) -> bool {
        // The name of a task's variable has the task before it.
        let from = difference.find(": ").filter(|at| difference[..*at].parse::<u32>().is_ok());
        let rest = &difference[from.map_or(0, |at| at + 2)..];
        let path = rest.split(": ").next().unwrap_or(rest);
        let mut any = false;
        for (of, pattern, used) in &self.differs {
            if matches(of, command) && matches(pattern, path) {
                *used.borrow_mut() = true;
                any = true;
            }
        }
        any
    }

    /// Listed differences that were none.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let unused = self.differs.iter().filter(|(_, _, used)| !*used.borrow());
        unused.map(|(command, path, _)| format!("{command}: {path}")).collect()
    }
}

fn push_line(map: &mut BTreeMap<String, String>, command: &str, line: &str) {
    let text = map.entry(command.to_owned()).or_default();
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            rest.is_empty()
                || text.char_indices().any(|(at, _)| matches(rest, &text[at..]))
                || matches(rest, "")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::new(Path::new("/tmp/x"))
    }

    #[test]
    fn an_id_of_the_reference_means_the_same_id_everywhere() {
        let words = words();
        assert!(words.same("Submitted batch job 147", "Submitted batch job 2"));
        assert!(words.same("147.batch|R", "2.batch|R"));
        assert!(!words.same("147", "3"));
        assert!(!words.same("148", "2"), "two ids are not one");
        assert_eq!(words.ours("squeue -j 147,99"), "squeue -j 2,99");
        assert!(!words.same("99", "98"), "other numbers are numbers");
    }

    #[test]
    fn moments_nodes_and_folders_are_matched_by_kind() {
        let words = words();
        assert!(words.same("2026-11-23T23:25:22", "2026-11-28T20:00:01"));
        assert!(words.same("c[1-2] mix", "main-[4-5] mix"));
        assert!(words.same("main|up|c3", "main|up|main-12"));
        assert!(words.same("WorkDir=/home/user/work", "WorkDir=/tmp/x"));
        assert!(words.same("0:05", "0:12") && !words.same("5:00", "7:00"));
        assert!(!words.same("N/A", "2026-11-28T20:00:01"));
        assert!(!words.same("c1", "none"));
    }

    #[test]
    fn a_text_is_read_back_and_compared() {
        let reference = asked_of("$ a -x\n  one|two\n  [stderr] a: bad\n  [rc=1]\n");
        assert_eq!(reference[0].code, 1);
        let ours = Asked {
            out: "one|three\n".into(),
            err: "a: bad\nhint: b\n".into(),
            ..reference[0].clone()
        };
        assert_eq!(differences(&reference[0], &ours, &words()), ["out 1 field 2: two | three"]);
        let notes = Notes::of(
            "differs: a *\n  out 1 field 2 :: because\n  code :: never\n  ?A :: it may\n",
        );
        assert!(notes.allows("a -x", "3: A: 1 | 2"));
        assert!(notes.allows("a -x", "out 1 field 2: two | three"));
        assert_eq!(notes.unused(), ["a *: code"]);
    }

    #[test]
    fn records_are_compared_by_key() {
        let of = |out: &str| Asked {
            command: "scontrol show job 146".into(),
            out: out.into(),
            ..Asked::default()
        };
        let found =
            differences(&of("JobId=146 Reason=None A=1"), &of("JobId=1 Reason=None B=2"), &words());
        assert_eq!(found, ["A: 1 | ", "B:  | 2"]);
    }
}
