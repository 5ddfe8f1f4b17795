//! Lists of hosts: `c[1-3],d07,e[08-10,12]`.
//!
//! Invariant: an expansion is bounded; leading zeros are kept; compressing what was expanded names
//! the same hosts in the same order. Deliberately absent: whether the hosts exist.

/// No list names more hosts than this.
pub const LIMIT: usize = 65_536;

/// All hosts of a list, in its order; `None` is no list. An empty text is an empty list.
#[must_use]
pub fn expand(text: &str) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    for part in parts(text)?.into_iter().filter(|part| !part.is_empty()) {
        let mut names = vec![String::new()];
        let mut rest = part;
        while let Some(open) = rest.find('[') {
            let close = rest.find(']')?;
            let numbers = numbers(rest.get(open + 1..close)?)?;
            if names.len().saturating_mul(numbers.len()) > LIMIT {
                return None;
            }
            let plain = &rest[..open];
            names = names
                .iter()
                .flat_map(|name| numbers.iter().map(move |number| format!("{name}{plain}{number}")))
                .collect();
            rest = &rest[close + 1..];
        }
        if rest.contains(']') {
            return None;
        }
        hosts.extend(names.into_iter().map(|name| name + rest));
        if hosts.len() > LIMIT {
            return None;
        }
    }
    Some(hosts)
}

/// Split at commas and blanks outside of brackets.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut found, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '[' if inside => return None,
            '[' => inside = true,
            ']' if !inside => return None,
            ']' => inside = false,
            ',' | ' ' | '\t' | '\n' if !inside => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    if inside { None } else { Some(found) }
}

fn numbers(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let digits = |text: &str| {
            !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(first) || !digits(last) {
            return None;
        }
        let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if from > to || to - from >= LIMIT as u64 || found.len() > LIMIT {
            return None;
        }
        let width = first.len();
        found.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Some(found)
}

/// Hosts of one stem: digits where zeros lead, and ranges; without ranges a host as it is.
type Group<'a> = (&'a str, usize, Vec<(u64, u64)>);

/// The list in its short form: neighbours that differ by the number at their end are joined.
#[must_use]
pub fn compress(hosts: &[String]) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for host in hosts {
        let stem = host.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &host[stem.len()..];
        // `08` and `8` are two hosts; `9` and `10` are of one width when no zero leads.
        let width = if digits.starts_with('0') && digits.len() > 1 { digits.len() } else { 0 };
        let number: Option<u64> = digits.parse().ok().filter(|_| digits.len() <= 18);
        let Some(number) = number else {
            groups.push((host, 0, Vec::new()));
            continue;
        };
        let same = groups.last_mut().filter(|(s, w, ranges)| {
            *s == stem && !ranges.is_empty() && (*w == width || (width == 0 && digits.len() == *w))
        });
        match same {
            Some((_, _, ranges)) => match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            },
            None => groups.push((stem, width, vec![(number, number)])),
        }
    }
    let words: Vec<String> =
        groups.iter().map(|(stem, width, ranges)| shown(stem, *width, ranges)).collect();
    words.join(",")
}

fn shown(stem: &str, width: usize, ranges: &[(u64, u64)]) -> String {
    let range = |(first, last): &(u64, u64)| {
        if first == last {
            format!("{first:0width$}")
        } else {
            format!("{first:0width$}-{last:0width$}")
        }
    };
    match ranges {
        [] => stem.to_owned(),
        [(first, last)] if first == last => format!("{stem}{first:0width$}"),
        many => format!("{stem}[{}]", many.iter().map(range).collect::<Vec<_>>().join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded_in_their_order() {
        let cases = [
            ("c[1-3],d07,e[08-10,12]", "c1 c2 c3 d07 e08 e09 e10 e12"),
            ("None", "None"),
            ("", ""),
            ("a[1-2]b[3-4]", "a1b3 a1b4 a2b3 a2b4"),
            ("a, b", "a b"),
            ("node[1-2].lab", "node1.lab node2.lab"),
            ("[1-2]", "1 2"),
        ];
        for (text, hosts) in cases {
            assert_eq!(expand(text).unwrap().join(" "), hosts, "{text}");
        }
        for bad in ["c[1-", "c]", "c[2-1]", "c[a]", "c[]", "c[[1]]", "c[1-99999999]", "c[1-]"] {
            assert_eq!(expand(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_compressed_where_neighbours_are_alike() {
        let short = |text: &str| compress(&expand(text).unwrap());
        let cases = [
            ("c1,c2,c3,d7", "c[1-3],d7"),
            ("c1,c3,c4", "c[1,3-4]"),
            ("e08,e09,e10,e12", "e[08-10,12]"),
            ("a9,a10", "a[9-10]"),
            ("login,c1", "login,c1"),
            ("c01,c1", "c01,c1"),
            ("pool-1,pool-2", "pool-[1-2]"),
        ];
        for (text, expected) in cases {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn compressing_keeps_the_hosts(hosts in proptest::collection::vec("[ab]-?[0-9]{0,3}", 0..12)) {
            let hosts: Vec<String> = hosts.into_iter().filter(|host| !host.is_empty()).collect();
            proptest::prop_assert_eq!(expand(&compress(&hosts)).unwrap(), hosts);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9,\\[\\] é-]{0,30}") {
            let _ = expand(&text);
        }
    }
}
