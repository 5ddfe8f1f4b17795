//! Host lists: `ws[01-08]`, `node[1-3,7].lab.example`.
//!
//! Invariant: an expansion is bounded ([`LIMIT`]), whatever the text. Deliberately absent: name
//! resolution.
use thiserror::Error;

/// No list names more hosts than this; a slip such as `ws[1-99999999]` is an error, not a hang.
pub const LIMIT: usize = 10_000;

/// Why a text is not a host list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostlistError {
    #[error("it is empty")]
    Empty,
    #[error("`[` and `]` do not match")]
    Brackets,
    #[error("`{0}` is not a number or a range")]
    Range(String),
    #[error("`{0}` runs backwards")]
    Backwards(String),
    #[error("it names more than {LIMIT} hosts")]
    TooMany,
    #[error("`{0}` is not a host name (letters, digits, `-` and `.`)")]
    Name(String),
}

/// The numbers of one bracket, with their leading zeros: `01-03,7` is `01 02 03 7`.
fn bracket(text: &str) -> Result<Vec<String>, HostlistError> {
    let number = |text: &str| -> Result<u64, HostlistError> {
        let digits =
            !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
        let wrong = || HostlistError::Range(text.to_string());
        if digits { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
    };
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(HostlistError::Backwards(part.to_string()));
        }
        if to - from >= LIMIT as u64 || numbers.len() > LIMIT {
            return Err(HostlistError::TooMany);
        }
        let width = first.len();
        numbers.extend((from..=to).map(|n| format!("{n:0width$}")));
    }
    Ok(numbers)
}

fn check_name(name: &str) -> Result<(), HostlistError> {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let right = name.len() <= 253
        && name.chars().all(letters)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if right { Ok(()) } else { Err(HostlistError::Name(name.chars().take(40).collect())) }
}

/// All hosts of one list, in its order.
///
/// # Errors
/// [`HostlistError`] says which part is wrong.
pub fn expand(text: &str) -> Result<Vec<String>, HostlistError> {
    let mut names = vec![String::new()];
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(HostlistError::Empty);
    }
    while !rest.is_empty() {
        let (plain, after) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        if plain.contains(']') {
            return Err(HostlistError::Brackets);
        }
        for name in &mut names {
            name.push_str(plain);
        }
        let Some(inside) = after.strip_prefix('[') else { break };
        let (inside, after) = inside.split_once(']').ok_or(HostlistError::Brackets)?;
        let numbers = bracket(inside)?;
        if names.len().saturating_mul(numbers.len()) > LIMIT {
            return Err(HostlistError::TooMany);
        }
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(move |number| format!("{name}{number}")))
            .collect();
        rest = after;
    }
    names.iter().try_for_each(|name| check_name(name))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_leading_zeros() {
        assert_eq!(expand("ws[08-10]").expect("right"), ["ws08", "ws09", "ws10"]);
        assert_eq!(expand("n[1,3-4].lab").expect("right"), ["n1.lab", "n3.lab", "n4.lab"]);
        assert_eq!(expand("r[1-2]n[1-2]").expect("right"), ["r1n1", "r1n2", "r2n1", "r2n2"]);
        assert_eq!(expand("head").expect("right"), ["head"]);
    }

    #[test]
    fn wrong_lists_say_what_is_wrong() {
        for (text, error) in [
            ("", HostlistError::Empty),
            ("ws[1-3", HostlistError::Brackets),
            ("ws1]", HostlistError::Brackets),
            ("ws[a-b]", HostlistError::Range("a".into())),
            ("ws[5-1]", HostlistError::Backwards("5-1".into())),
            ("ws[1-99999999]", HostlistError::TooMany),
            ("a[1-200]b[1-200]", HostlistError::TooMany),
            ("two words", HostlistError::Name("two words".into())),
            ("-x", HostlistError::Name("-x".into())),
        ] {
            assert_eq!(expand(text), Err(error), "{text}");
        }
    }
}
