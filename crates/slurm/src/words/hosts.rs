//! Lists of nodes: `c[1-3],d07` and the names in it.
//!
//! Invariant: an expansion is bounded ([`LIMIT`]), whatever the text; folding and expanding give the
//! same names in the same order. Deliberately absent: what the names mean.

/// No list names more nodes than this; a slip such as `c[1-99999999]` is an error, not a hang.
pub const LIMIT: usize = 65_536;

/// The parts of a list: commas inside brackets do not count.
fn parts(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// The numbers of one bracket with their leading zeros; `None` for what is no list of numbers.
fn numbers(inside: &str) -> Option<Vec<String>> {
    let digits = |word: &str| {
        let fine = !word.is_empty() && word.len() <= 18 && word.bytes().all(|b| b.is_ascii_digit());
        fine.then(|| word.parse::<u64>().ok()).flatten()
    };
    let mut out = Vec::new();
    for range in inside.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (digits(first)?, digits(last)?);
        if to < from || to - from >= LIMIT as u64 || out.len() > LIMIT {
            return None;
        }
        let width = first.len();
        out.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Some(out)
}

/// The names of one part: every bracket multiplies.
fn names_of(part: &str) -> Option<Vec<String>> {
    let mut names = vec![String::new()];
    let mut rest = part;
    loop {
        let (plain, after) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        if plain.contains(']') {
            return None;
        }
        for name in &mut names {
            name.push_str(plain);
        }
        let Some(inside) = after.strip_prefix('[') else { return Some(names) };
        let (inside, after) = inside.split_once(']')?;
        let numbers = numbers(inside)?;
        if names.len().saturating_mul(numbers.len()) > LIMIT {
            return None;
        }
        let with = |name: &String| {
            let name = name.clone();
            numbers.iter().map(move |number| format!("{name}{number}")).collect::<Vec<_>>()
        };
        names = names.iter().flat_map(with).collect();
        rest = after;
    }
}

/// All names of a list, in its order; `None` when it is not one.
#[must_use]
pub fn expand(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in parts(text) {
        names.extend(names_of(part)?);
        if names.len() > LIMIT {
            return None;
        }
    }
    Some(names)
}

/// A name as its text and the number at its end, which has at most 18 digits.
fn split_number(name: &str) -> (&str, &str) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count().min(18);
    name.split_at(name.len() - digits)
}

/// True when `next` is the number after `last`, written alike (`09` and `10`, `9` and `10`).
fn follows(last: &str, next: &str) -> bool {
    let (Ok(a), Ok(b)) = (last.parse::<u64>(), next.parse::<u64>()) else { return false };
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    let alike = last.len() == next.len() || (!padded(last) && !padded(next));
    b == a + 1 && alike
}

/// The names as one list in their order: `c[1-3],d7`.
#[must_use]
pub fn fold<S: AsRef<str>>(names: &[S]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < names.len() {
        let (prefix, _) = split_number(names[at].as_ref());
        let mut ranges: Vec<(&str, &str)> = Vec::new();
        while let Some(name) = names.get(at) {
            let (other, number) = split_number(name.as_ref());
            if other != prefix || (number.is_empty() && !ranges.is_empty()) {
                break;
            }
            at += 1;
            match ranges.last_mut() {
                Some((_, last)) if follows(last, number) => *last = number,
                _ => ranges.push((number, number)),
            }
            if number.is_empty() {
                break;
            }
        }
        out.push(match ranges.as_slice() {
            [(first, last)] if first == last => format!("{prefix}{first}"),
            _ => format!("{prefix}[{}]", bracketed(&ranges)),
        });
    }
    out.join(",")
}

fn bracketed(ranges: &[(&str, &str)]) -> String {
    let range = |(first, last): &(&str, &str)| {
        if first == last { (*first).to_owned() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// Names by their text, then by their number.
pub fn sort<S: AsRef<str>>(names: &mut [S]) {
    names.sort_by(|a, b| {
        let ((a_text, a_number), (b_text, b_number)) =
            (split_number(a.as_ref()), split_number(b.as_ref()));
        let number = |text: &str| text.parse::<u64>().ok();
        (a_text, number(a_number), a_number.len()).cmp(&(b_text, number(b_number), b_number.len()))
    });
}

/// The names as one sorted list.
#[must_use]
pub fn fold_sorted(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    sort(&mut names);
    fold(&names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_as_slurm_reads_them() {
        let names = expand("c[1-3],d07,e[08-10,12]").expect("list");
        assert_eq!(names, ["c1", "c2", "c3", "d07", "e08", "e09", "e10", "e12"]);
        assert_eq!(expand("r[1-2]n[1-2]").expect("list"), ["r1n1", "r1n2", "r2n1", "r2n2"]);
        assert_eq!(expand("").expect("empty"), Vec::<String>::new());
        for wrong in ["c[1-", "c]", "c[2-1]", "c[1-99999999]", "c[a]", "c[]"] {
            assert_eq!(expand(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_folded_in_their_order() {
        assert_eq!(fold(&["c1", "c2", "c3", "d7"]), "c[1-3],d7");
        assert_eq!(
            fold(&["c1", "c3", "login", "login", "c08", "c09"]),
            "c[1,3],login,login,c[08-09]"
        );
        assert_eq!(fold(&["compute-9", "compute-10"]), "compute-[9-10]");
        assert_eq!(fold_sorted(&["c10".into(), "c2".into(), "b".into()]), "b,c[2,10]");
        assert_eq!(fold::<&str>(&[]), "");
    }

    proptest! {
        #[test]
        fn folding_loses_nothing(names in proptest::collection::vec("[a-c]{1,2}[0-9]{0,3}", 0..20)) {
            prop_assert_eq!(expand(&fold(&names)).expect("a list"), names);
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,40}") {
            let _ = expand(&text);
        }
    }
}
