//! The small languages as fuzzers see them: a text in, a panic where a promise is broken.
//!
//! Invariant: the targets of `fuzz/` and the test that replays their corpora call the same functions.
//! Deliberately absent: expectations of single texts; those are tests beside each language.
use crate::grammar::{memory, time};
use crate::options::{DIRECTIVES, Order, SBATCH, parse};
use crate::words::columns::{Cell, Format};
use crate::words::hosts;
use pcluster_client::submit::{directives, words};

/// A letter of a format makes at most this much: no width makes a line of any length.
const CELL_MOST: usize = 4096;

/// Takes any text; a broken promise panics.
pub type Target = fn(&str);

/// Every target: its name, which is its folder in `fuzz/corpus`, and what it promises.
pub const TARGETS: [(&str, Target); 7] = [
    ("directives", directives_of),
    ("hostlist", hostlist),
    ("time", time_limit),
    ("memory", memory_size),
    ("array", array),
    ("dependency", dependency),
    ("format", format),
];

/// A script is read or refused; words of a line are options or refused.
pub fn directives_of(text: &str) {
    let Ok(found) = directives::directives(text) else { return };
    for directive in found {
        let table = if directive.mark == "#SBATCH" { &SBATCH } else { &DIRECTIVES };
        let read = parse(table, &directive.words, Order::StopAtFirst);
        assert!(directive.line >= 1);
        if let Err(refusal) = read {
            assert!(!refusal.lines.is_empty());
        }
    }
    for (line, shown) in directives::overlooked(text) {
        assert!(line >= 1 && !shown.is_empty());
    }
}

/// What is expanded and folded names the same hosts in the same order.
pub fn hostlist(text: &str) {
    let Some(names) = hosts::expand(text) else { return };
    assert!(names.len() <= hosts::LIMIT);
    let folded = hosts::fold(&names);
    assert_eq!(hosts::expand(&folded).as_ref(), Some(&names), "{folded}");
}

/// A limit is whole minutes.
pub fn time_limit(text: &str) {
    if let Some(Some(limit)) = time::limit(text) {
        assert_eq!(limit.0 % 60_000, 0);
        assert!(i64::try_from(limit.0).is_ok());
    }
}

/// A size is whole megabytes.
pub fn memory_size(text: &str) {
    if let Some(bytes) = memory::bytes(text) {
        assert_eq!(bytes % (1 << 20), 0);
        assert!(i64::try_from(bytes).is_ok());
    }
}

/// Indices as they are shown are read to the same indices.
pub fn array(text: &str) {
    let Ok(spec) = words::array(text) else { return };
    assert!(!spec.indices.is_empty());
    let again = words::array(&spec.indices.to_string());
    assert_eq!(again.ok().map(|again| again.indices), Some(spec.indices));
}

/// A dependency names a job or none at all (`singleton`).
pub fn dependency(text: &str) {
    let Ok((found, any)) = words::dependency(text) else { return };
    assert!(!found.is_empty());
    assert!(!any || text.contains('?'));
}

/// A format makes one bounded line of bounded cells.
pub fn format(text: &str) {
    let letters = Format::letters(text, |letter| letter.is_ascii_alphabetic().then_some(letter)).0;
    let names = Format::names(text, |name| name.chars().next()).0;
    for format in [letters, names] {
        let line = format.line(|_| Cell::from("value"));
        assert!(line.len() <= CELL_MOST * (text.len() + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every file of `fuzz/corpus/NAME`, and every line of it by itself.
    #[test]
    fn corpora_are_replayed() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (name, target) in TARGETS {
            let mut texts = 0;
            for entry in std::fs::read_dir(corpora.join(name)).expect(name) {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                target(&text);
                text.lines().for_each(target);
                texts += text.lines().count();
            }
            assert!(texts >= 8, "{name}: {texts}");
        }
    }

    #[test]
    fn every_target_has_its_program() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        for (name, _) in TARGETS {
            assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn promises_hold_for_any_text(text in "[ -~\n\té%\\[\\]]{0,60}") {
            for (_, target) in TARGETS {
                target(&text);
            }
        }
    }
}
