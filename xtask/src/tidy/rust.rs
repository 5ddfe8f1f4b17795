//! Just enough of Rust's grammar: where comments and literals are, and where functions end.
//!
//! Invariant: masked text has the same lines as the source, so that line numbers hold. Deliberately
//! absent: a parser. What this misreads is a rule that does not fire, never a build that breaks.

/// Source text whose comments and literals are blanks.
///
/// Their words must not count as code: a string may say `fn`, a comment may say `{`.
pub(crate) fn mask(source: &str) -> String {
    let mut rest = source;
    let mut masked = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let length = blank_length(rest, masked.chars().next_back());
        if length == 0 {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (blank, after) = rest.split_at(length);
            masked.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    masked
}

/// Bytes of the comment or literal that `rest` begins with; 0 for code.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => string(rest),
        [b'\'', ..] => character(rest),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        _ => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let tail = &rest[at..];
        if tail.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if tail.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix + hashes;
    if rest.as_bytes().get(open) != Some(&b'"') {
        // `r#name` is a word, not a text.
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len())
}

/// A character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3.min(rest.len())..].find('\'').map_or(0, |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub name: String,
    /// Line of `fn`, from 1.
    pub first: usize,
    /// Line of the closing brace.
    pub last: usize,
    /// The masked body.
    pub body: String,
}

/// Every function with a body, inner ones too, in order of their end.
pub(crate) fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let line_of = |at: usize| masked[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
    for (at, _) in masked.match_indices("fn ") {
        let starts_word = !masked[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String =
            masked[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        let Some(open) = body_start(masked, at) else { continue };
        let Some(close) = closing_brace(masked, open) else { continue };
        let body = masked[open..=close].to_owned();
        found.push(Function { name, first: line_of(at), last: line_of(close), body });
    }
    found
}

/// The brace that opens the body of the function at `at`; `None` for one that is only declared.
fn body_start(masked: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in masked[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn closing_brace(masked: &str, open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in masked[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(open + offset);
        }
    }
    None
}

/// For every line of `masked`: does it belong to an inline `#[cfg(test)] mod … { }`?
pub(crate) fn split_tests(masked: &str) -> Vec<bool> {
    let mut test_lines = vec![false; masked.lines().count()];
    for (at, mark) in masked.match_indices("#[cfg(test)]") {
        let after = &masked[at + mark.len()..];
        let words = after.trim_start();
        if !words.starts_with("mod ") {
            continue;
        }
        let Some(open) = body_start(masked, at + mark.len()) else { continue };
        let Some(close) = closing_brace(masked, open) else { continue };
        let line_of = |at: usize| masked[..at].bytes().filter(|byte| *byte == b'\n').count();
        test_lines[line_of(at)..=line_of(close)].fill(true);
    }
    test_lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_become_blanks() {
        let source = "let a = \"fn { \\\" }\"; // fn x() {\n/* { /* { */ */ let c = '{';";
        let masked = mask(source);
        assert_eq!(masked.len(), source.len());
        assert_eq!(masked.lines().count(), 2);
        assert!(!masked.contains('{') && !masked.contains("fn"), "{masked}");
        assert!(masked.contains("let c ="));
    }

    #[test]
    fn raw_texts_and_lifetimes_are_told_apart() {
        let masked = mask("fn f<'a>(x: &'a str) { r#\"} \" fn\"#; b'}'; '\\''; r#type }");
        assert_eq!(masked.matches('}').count(), 1, "{masked}");
        assert!(masked.contains("<'a>") && masked.contains("r#type"));
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        let source = "fn a() {\n    if x { y }\n}\ntrait T {\n    fn b();\n    fn c(x: [u8; 3]) -> u8 {\n        1\n    }\n}\n";
        let found = functions(&mask(source));
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.first, f.last)).collect();
        assert_eq!(found, [("a", 1, 3), ("c", 6, 8)]);
    }

    #[test]
    fn pointers_to_functions_are_no_functions() {
        assert_eq!(functions("type F = fn (u8) -> u8; struct S { f: fn (u8) }"), []);
    }

    #[test]
    fn an_inline_test_module_is_told_from_the_product() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\nfn b() {}\n";
        assert_eq!(split_tests(&mask(source)), [false, true, true, true, true, false]);
        assert_eq!(split_tests("#[cfg(test)]\nmod tests;\n"), [false, false]);
    }
}
