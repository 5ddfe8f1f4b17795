//! `--constraint`: features of nodes, joined by `&` (or `,`), `|`, parentheses and one pair of brackets.
//!
//! Invariant: as Slurm reads it, strictly from the left, so that `a|b&c` is both `a&c` and `b&c`. What
//! counts nodes by feature (`a*2`, `[a*2&b*1]`) is refused and never read as something else.

/// What is asked of the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Constraint {
    /// Every node has all of these,
    pub features: Vec<String>,
    /// and all of one of these, where there are some.
    pub choices: Vec<Vec<String>>,
    /// All nodes by the same choice: `[a|b]`.
    pub same: bool,
}

/// Why it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Slurm refuses it, too.
    Grammar,
    /// So many nodes of one kind and so many of another.
    Counts,
}

/// More ways to satisfy it than this are a mistake.
const CHOICES_MOST: usize = 64;

/// Alternatives, each a list of names.
type Ways = Vec<Vec<String>>;

/// Reads it; nothing at all is no constraint.
///
/// # Errors
/// [`Wrong`].
pub fn read(text: &str) -> Result<Constraint, Wrong> {
    let text = text.replace(',', "&");
    if text.trim().is_empty() {
        return Ok(Constraint::default());
    }
    if text.contains('*') {
        return Err(Wrong::Counts);
    }
    let mut reader = Reader { rest: text.trim(), same: false };
    let ways = reader.terms(None)?;
    if !reader.rest.is_empty() {
        return Err(Wrong::Grammar);
    }
    Ok(factored(ways, reader.same))
}

struct Reader<'a> {
    rest: &'a str,
    same: bool,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        self.rest = self.rest[first.len_utf8()..].trim_start();
        Some(first)
    }

    /// Terms up to `end`, or to the end of the text.
    fn terms(&mut self, end: Option<char>) -> Result<Ways, Wrong> {
        let mut ways = self.term(end)?;
        loop {
            match self.take() {
                found if found == end => return Ok(ways),
                Some('|') => ways.extend(self.term(end)?),
                // Within brackets `&` counts nodes: one of each.
                Some('&') if end == Some(']') => return Err(Wrong::Counts),
                Some('&') => ways = both(&ways, &self.term(end)?),
                _ => return Err(Wrong::Grammar),
            }
            if ways.len() > CHOICES_MOST {
                return Err(Wrong::Grammar);
            }
        }
    }

    fn term(&mut self, within: Option<char>) -> Result<Ways, Wrong> {
        match self.rest.chars().next() {
            Some('(') if within != Some(')') => {
                self.take();
                self.terms(Some(')'))
            }
            Some('[') if within.is_none() && !self.same => {
                self.take();
                self.same = true;
                self.terms(Some(']'))
            }
            _ => {
                let ends = |c: char| "&|()[]!".contains(c) || c.is_whitespace();
                let (name, rest) =
                    self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
                self.rest = rest.trim_start();
                if name.is_empty() { Err(Wrong::Grammar) } else { Ok(vec![vec![name.to_owned()]]) }
            }
        }
    }
}

/// Each way of the one with each of the other.
fn both(some: &Ways, more: &Ways) -> Ways {
    let pair = |one: &Vec<String>| {
        let one = one.clone();
        more.iter().map(move |other| one.iter().chain(other).cloned().collect())
    };
    some.iter().flat_map(pair).collect()
}

/// What all ways have in common is no choice.
fn factored(mut ways: Ways, same: bool) -> Constraint {
    for way in &mut ways {
        let mut known: Vec<String> = Vec::new();
        for name in way.drain(..) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        *way = known;
    }
    let mut features = ways.first().cloned().unwrap_or_default();
    features.retain(|name| ways.iter().all(|way| way.contains(name)));
    let mut choices: Ways = Vec::new();
    for mut way in ways {
        way.retain(|name| !features.contains(name));
        if !choices.contains(&way) {
            choices.push(way);
        }
    }
    // One that asks for nothing more makes the others no matter.
    if choices.iter().any(Vec::is_empty) {
        choices.clear();
    }
    let same = same && !choices.is_empty();
    Constraint { features, choices, same }
}

/// As Slurm writes it: `a&b`, `a&(b|c)`, `[a|b]`.
#[must_use]
pub fn written(features: &[String], choices: &[Vec<String>], same: bool) -> String {
    let all = features.join("&");
    if choices.is_empty() {
        return all;
    }
    let is_plain = choices.iter().all(|choice| choice.len() == 1);
    // Parentheses cannot stand in parentheses: then each way is written in full.
    let (before, written): (&str, Vec<String>) = if is_plain || same {
        (&all, choices.iter().map(|choice| grouped(choice)).collect())
    } else {
        let whole = |choice: &Vec<String>| {
            let way: Vec<String> = features.iter().chain(choice).cloned().collect();
            grouped(&way)
        };
        ("", choices.iter().map(whole).collect())
    };
    let either = written.join("|");
    match (same, before) {
        (true, "") => format!("[{either}]"),
        (true, before) => format!("{before}&[{either}]"),
        (false, "") => either,
        (false, before) => format!("{before}&({either})"),
    }
}

fn grouped(way: &[String]) -> String {
    let joined = way.join("&");
    if way.len() > 1 { format!("({joined})") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Constraint { features, choices, same } = match read(text) {
            Ok(read) => read,
            Err(wrong) => return format!("{wrong:?}"),
        };
        written(&features, &choices, same)
    }

    #[test]
    fn it_is_read_from_the_left_as_slurm_reads_it() {
        for (text, meaning) in [
            ("", ""),
            ("a", "a"),
            ("a&b", "a&b"),
            ("a,b", "a&b"),
            ("(a)&(b)", "a&b"),
            ("a|b", "a|b"),
            ("a | b", "a|b"),
            // The examples of sbatch's own page.
            ("foo&bar|baz", "(foo&bar)|baz"),
            ("foo|bar&baz", "baz&(foo|bar)"),
            ("foo&(bar|baz)", "foo&(bar|baz)"),
            ("[rack1|rack2|rack3|rack4]", "[rack1|rack2|rack3|rack4]"),
            ("x&[a|b]", "x&[a|b]"),
            ("[(a&b)|c]", "[(a&b)|c]"),
            ("x&(a&b|c)", "(x&a&b)|(x&c)"),
            ("(a|b)&(c|d)", "(a&c)|(a&d)|(b&c)|(b&d)"),
            // Nothing to choose.
            ("a|a", "a"),
            ("[a]", "a"),
            ("a|a&b", "a&b"),
            ("a|(a&b)", "a"),
            ("a&a", "a"),
        ] {
            assert_eq!(shown(text), meaning, "{text}");
        }
    }

    #[test]
    fn what_slurm_refuses_is_refused_and_so_is_what_counts_nodes() {
        for text in [
            "&a",
            "a&",
            "a|",
            "|",
            "(a",
            "a)",
            "()",
            "((a))",
            "[a|[b]]",
            "[a|b]&[c|d]",
            "a b",
            "!a",
            "[]",
        ] {
            assert_eq!(read(text), Err(Wrong::Grammar), "{text}");
        }
        for text in ["a*2", "[rack1*2&rack2*4]", "[a&b]"] {
            assert_eq!(read(text), Err(Wrong::Counts), "{text}");
        }
        let wide = ["(a|b)"; 7].join("&");
        assert_eq!(read(&wide), Err(Wrong::Grammar), "128 ways");
        let names: Vec<String> = (0..80).map(|n| format!("f{n}")).collect();
        assert_eq!(read(&names.join("|")), Err(Wrong::Grammar), "too many ways");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_means_the_same(text in "[abc(\\[][abc&|()\\[\\]]{0,12}") {
            if let Ok(Constraint { features, choices, same }) = read(&text) {
                let again = read(&written(&features, &choices, same));
                let mut found = again.expect("what is written can be read");
                let mut asked = Constraint { features, choices, same };
                for one in [&mut found, &mut asked] {
                    one.features.sort();
                    one.choices.iter_mut().for_each(|choice| choice.sort());
                    one.choices.sort();
                }
                proptest::prop_assert_eq!(found, asked);
            }
        }
    }
}
