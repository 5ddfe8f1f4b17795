//! What is not TOML, in words for people who do not write TOML every day.
//!
//! Invariant: one error for each line; what the parser makes of the rest of a broken line is no
//! mistake of the writer's. Deliberately absent: a parser.
use crate::problem::{Places, Problem, ProblemKind};

/// The syntax errors of a file, the first of each line.
pub(crate) fn problems(
    errors: &[toml::de::Error],
    text: &str,
    places: &Places<'_>,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let line = |problem: &Problem| problem.span.as_ref().map(|span| places.line(span.start));
    for error in errors {
        let found = problem(error, text);
        if !problems.iter().any(|earlier| line(earlier) == line(&found)) {
            problems.push(found);
        }
    }
    problems
}

fn problem(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().map(|span| {
        let end = span.end.min(text.len());
        span.start.min(end)..end
    });
    let message = format!("this is not TOML: {}", in_words(error.message()));
    let problem = Problem::new(ProblemKind::Syntax, message, span.clone()).label("here");
    let line = span.map_or("", |span| {
        let before = text.get(..span.start).and_then(|before| before.rfind('\n'));
        let start = before.map_or(0, |at| at + 1);
        text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("")
    });
    match hint(error.message(), line) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The parser's words, or better ones for the commonest.
fn in_words(message: &str) -> &str {
    for (start, words) in [
        ("string values must be quoted", "a text must stand in quotes"),
        ("invalid basic string", "the closing quote of a text is missing"),
        ("extra `=`", "one `=` too many"),
        ("unclosed table", "`]` is missing"),
        ("unclosed array", "`]` is missing"),
        ("unclosed inline table", "`}` is missing"),
        ("duplicate key", "this key is there twice"),
    ] {
        if message.starts_with(start) {
            return words;
        }
    }
    message.strip_suffix(", expected nothing").unwrap_or(message)
}

fn hint(message: &str, line: &str) -> Option<String> {
    if message.contains("duplicate key") {
        return Some("each key is there once; a table and its inline form are the same key".into());
    }
    let (key, value) = line.split_once('=')?;
    let value = value.trim().trim_end_matches(',');
    let word = value.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || "$~/".contains(c));
    if word && !value.contains(['"', '\'', '[', '{', '#']) && !key.contains(['{', '"', '#']) {
        return Some(format!("texts stand in quotes: {} = \"{value}\"", key.trim()));
    }
    None
}
