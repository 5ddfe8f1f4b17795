//! The nearest right word for a wrong one.
//!
//! Invariant: a suggestion is near enough that a person would have made the slip; none is better
//! than a strange one. Deliberately absent: dictionaries.

/// Number of single-character changes (also swaps of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The candidate that `word` was most likely meant to be. A third of the letters may be wrong,
/// at least one; ties go to the earlier candidate.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Nobody mistypes a word of forty letters into one of ours, and the cost is quadratic.
    let length = word.chars().count();
    if length == 0 || length > 40 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (length / 3).max(1);
    let scored = candidates.into_iter().filter_map(|candidate| {
        let plain = candidate.replace('-', "_");
        let score = distance(&word, &plain);
        let beginning = length >= 3 && (plain.starts_with(&word) || word.starts_with(&plain));
        // `shared_siz` and `idle` are slips too: a beginning counts as one letter.
        let score = if beginning { score.min(1) } else { score };
        (score <= allowed).then_some((score, candidate))
    });
    scored.min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_slip_of_a_finger() {
        let keys = ["types", "cpus", "memory", "idle_timeout", "boot_timeout", "max", "min"];
        for (word, right) in [
            ("idle_timout", Some("idle_timeout")),
            ("idel_timeout", Some("idle_timeout")),
            ("idle-timeout", Some("idle_timeout")),
            ("type", Some("types")),
            ("Memory", Some("memory")),
            ("mxa", Some("max")),
            ("elephant", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), right, "{word}");
        }
    }
}
