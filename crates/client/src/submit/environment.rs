//! Which variables go along with a job.
//!
//! Invariant: what belongs to this login and this machine stays here, whatever `--export` says, but
//! a value written in `--export` itself is taken at its word. Deliberately absent: reading the
//! process's environment (the caller passes it).
use crate::failure::Failure;
use crate::text::{size_words, thousands};
use pcluster_api::MAX_ENVIRONMENT_BYTES;

/// Belong to this login session or this machine.
const STAYS: [&str; 5] = ["TMPDIR", "HOSTNAME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "DISPLAY"];
const STAYS_PREFIXES: [&str; 2] = ["DBUS_", "PCLUSTER_SUBMIT_"];

fn stays(name: &str) -> bool {
    STAYS.contains(&name) || STAYS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A name that `NAME=VALUE` records can carry; `BASH_FUNC_module%%` is one.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'=') && !name.contains(&0)
}

/// The variables to send, as `NAME=VALUE` records each ended by a zero byte.
///
/// `export` is the value of `--export`: `ALL` (also when not given), `NONE`, names, `NAME=VALUE`.
///
/// # Errors
/// A word of `export` that is none of these, and more than 1 MB, with the largest names.
pub fn records(variables: &[(Vec<u8>, Vec<u8>)], export: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut chosen: Vec<(&[u8], &[u8])> = Vec::new();
    let words = list(export.unwrap_or("ALL"));
    let all = words.iter().any(|word| word.eq_ignore_ascii_case("all"));
    if all {
        let kept = variables.iter().filter(|(name, _)| !stays(&String::from_utf8_lossy(name)));
        chosen.extend(kept.map(|(name, value)| (name.as_slice(), value.as_slice())));
    }
    for word in words {
        if ["all", "none", "nil"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(value).as_bytes())),
            None => (word, None),
        };
        if !is_name(name.as_bytes()) || name.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("`{word}` is not a word of --export"))
                .fact("allowed", "ALL, NONE, NAME or NAME=VALUE, with commas between"));
        }
        let here = || {
            let found = variables.iter().find(|(known, _)| known == name.as_bytes());
            found.map(|(_, value)| value.as_slice())
        };
        if let Some(value) = value.or_else(here) {
            chosen.retain(|(known, _)| *known != name.as_bytes());
            chosen.push((name.as_bytes(), value));
        }
    }
    chosen.retain(|(name, value)| is_name(name) && !value.contains(&0));
    let mut out = Vec::new();
    for (name, value) in &chosen {
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(0);
    }
    if out.len() > MAX_ENVIRONMENT_BYTES {
        return Err(too_large(&mut chosen, out.len()));
    }
    Ok(out)
}

/// The words of `--export`: commas inside quotes belong to a value.
fn list(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => {
                words.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(text[start..].trim());
    words.retain(|word| !word.is_empty());
    words
}

/// Values may come quoted, as people write them for a shell.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

fn too_large(chosen: &mut [(&[u8], &[u8])], bytes: usize) -> Failure {
    chosen.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    let size = |bytes: usize| size_words(u64::try_from(bytes).unwrap_or(u64::MAX));
    let largest: Vec<String> = chosen
        .iter()
        .take(3)
        .map(|(name, value)| format!("{} {}", String::from_utf8_lossy(name), size(value.len())))
        .collect();
    Failure::refused("the environment is larger than a job may take along")
        .fact(
            "size",
            format!("{} bytes; at most {}", thousands(bytes as u64), size(MAX_ENVIRONMENT_BYTES)),
        )
        .fact("largest", largest.join(", "))
        .hint("unset what the job does not need, or name what it needs:  --export PATH,HOME,…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<(Vec<u8>, Vec<u8>)> {
        [
            ("PATH", "/bin"),
            ("TMPDIR", "/tmp/x"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:"),
            ("BASH_FUNC_module%%", "() { :\n}"),
            ("N", "1"),
        ]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .to_vec()
    }

    fn sent(export: Option<&str>) -> String {
        String::from_utf8(records(&variables(), export).unwrap()).unwrap().replace('\0', "|")
    }

    #[test]
    fn all_goes_along_but_what_belongs_to_this_login() {
        assert_eq!(sent(None), "PATH=/bin|BASH_FUNC_module%%=() { :\n}|N=1|");
    }

    #[test]
    fn named_variables_and_values_are_taken_at_their_word() {
        assert_eq!(sent(Some("ALL,N=2,TMPDIR=/scratch")).matches("N=2").count(), 1);
        assert_eq!(sent(Some("N,X='a b',MISSING")), "N=1|X=a b|");
        assert_eq!(sent(Some("N,X='a,b',Y=\"c d\"")), "N=1|X=a,b|Y=c d|");
        assert_eq!(sent(Some("NONE")), "");
    }

    #[test]
    fn too_much_is_refused_with_the_largest_names() {
        let mut variables = variables();
        variables.push((b"HUGE".to_vec(), vec![b'x'; 2 << 20]));
        let page = records(&variables, None).unwrap_err().render(80);
        assert!(page.contains("largest  HUGE 2 MB, "), "{page}");
    }
}
