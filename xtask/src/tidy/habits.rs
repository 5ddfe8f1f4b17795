//! Habits: what every module says at its top, and words that must not stay.
//!
//! Invariant: a rule names the line and what to do instead.
use super::Finding;
use super::rust::{functions, mask, split_tests};
use super::tree::File;

/// Every habit, for one file.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.is_rust() {
        let masked = mask(&file.text);
        findings.extend(opening(file));
        findings.extend(unfinished(file, &masked));
        findings.extend(ignored_tests(file, &masked));
        findings.extend(sleeps(file, &masked));
    }
    findings.extend(machine_paths(file));
    findings
}

/// A module opens with its purpose. A sibling `tests.rs` belongs to the module above it.
fn opening(file: &File) -> Option<Finding> {
    let opens = file.text.starts_with("//!") || file.name() == "tests.rs";
    (!opens).then(|| {
        Finding::at(&file.path, 1, "a module opens with `//!`: purpose, invariant, what is absent")
    })
}

fn lines_with<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.lines().enumerate().filter(move |(_, line)| line.contains(word)).map(|(at, _)| at + 1)
}

fn unfinished(file: &File, masked: &str) -> Vec<Finding> {
    let in_code = ["todo!(", "unimplemented!("]
        .into_iter()
        .flat_map(|word| lines_with(masked, word).map(move |line| (line, word)));
    // In the source, not in the masked text: these words stand in comments. They are put together
    // here, so that this file does not find itself.
    let in_words = [concat!("TO", "DO"), concat!("FIX", "ME")]
        .into_iter()
        .flat_map(|word| lines_with(&file.text, word).map(move |line| (line, word)));
    in_code
        .chain(in_words)
        .map(|(line, word)| {
            Finding::at(&file.path, line, format!("`{word}`: finish it, or write down why not"))
        })
        .collect()
}

fn ignored_tests(file: &File, masked: &str) -> Vec<Finding> {
    lines_with(masked, "#[ignore")
        .map(|line| Finding::at(&file.path, line, "a test that does not run is no test"))
        .collect()
}

/// A test waits on a condition with a deadline. A pause stands in the loop that does so, in a
/// function called `pause`, or below a comment that says why the pause itself is the test.
fn sleeps(file: &File, masked: &str) -> Vec<Finding> {
    let inline = split_tests(masked);
    let functions = functions(masked);
    let lines: Vec<&str> = file.text.lines().collect();
    let is_bad = |line: usize| {
        let tested = file.is_test() || inline.get(line - 1) == Some(&true);
        let around =
            functions.iter().filter(|f| f.first <= line && line <= f.last).max_by_key(|f| f.first);
        let waits = around.is_some_and(|f| {
            f.name == "pause"
                || ["loop {", "while ", "for "].iter().any(|word| f.body.contains(word))
        });
        let said = line > 1 && lines[line - 2].trim_start().starts_with("//");
        tested && !waits && !said
    };
    ["thread::sleep(", "time::sleep("]
        .into_iter()
        .flat_map(|word| lines_with(masked, word))
        .filter(|line| is_bad(*line))
        .map(|line| Finding::at(&file.path, line, "a test waits on a condition, not for a time"))
        .collect()
}

/// Paths of the machine on which something was written have no place in the tree.
fn machine_paths(file: &File) -> Vec<Finding> {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp", "/pc/")];
    let is_absolute =
        |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "_}.-)*~>".contains(c));
    let found = |line: &str| {
        words
            .into_iter()
            .find(|word| line.match_indices(word).any(|(at, _)| is_absolute(&line[..at])))
    };
    file.text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at + 1, found(line)?)))
        .map(|(line, word)| {
            Finding::at(&file.path, line, format!("`{word}…` is a path of one machine"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        check(&file)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    fn count(path: &str, text: &str) -> usize {
        found(path, text).len()
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        assert_eq!(
            found("a/src/b.rs", "use c;\n"),
            ["a/src/b.rs:1: a module opens with `//!`: purpose, invariant, what is absent"]
        );
        assert_eq!(count("a/src/b.rs", "//! B.\nuse c;\n"), 0);
        assert_eq!(count("a/src/b/tests.rs", "use super::*;\n"), 0);
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_comments() {
        let text =
            format!("//! A.\nfn a() {{\n    todo!()\n}}\n// {}: more\n", concat!("TO", "DO"));
        let found = found("a.rs", &text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.rs:3: `todo!(`") && found[1].starts_with("a.rs:5:"));
        assert_eq!(count("a.rs", "//! A.\nfn a() { b(\"todo!()\") }\n"), 0);
    }

    #[test]
    fn ignored_tests_are_found() {
        assert_eq!(
            found("a.rs", "//! A.\n#[test]\n#[ignore]\nfn a() {}\n"),
            ["a.rs:3: a test that does not run is no test"]
        );
    }

    #[test]
    fn a_test_does_not_sleep_and_hope() {
        let sleep = "std::thread::sleep(long);";
        let test = |body: &str| count("a/tests/it.rs", &format!("//! A.\nfn a() {{\n{body}\n}}\n"));
        assert_eq!(test(sleep), 1);
        assert_eq!(test(&format!("while !done() {{ {sleep} }}")), 0);
        assert_eq!(test(&format!("// The pause is what is tested.\n{sleep}")), 0);
        assert_eq!(count("a/tests/it.rs", &format!("//! A.\nfn pause() {{ {sleep} }}\n")), 0);
        assert_eq!(count("a/src/b.rs", &format!("//! A.\nfn a() {{ {sleep} }}\n")), 0);
        let inline = format!("//! A.\n#[cfg(test)]\nmod tests {{\n    fn a() {{ {sleep} }}\n}}\n");
        assert_eq!(count("a/src/b.rs", &inline), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let home = concat!("/ro", "ot/");
        assert_eq!(
            found("README.md", &format!("see\n`{home}a`\n")),
            [format!("README.md:2: `{home}…` is a path of one machine")]
        );
        assert_eq!(count("x", concat!("cd /wo", "rk/main\n")), 1);
        assert_eq!(count("x", concat!("\"$tmp/wo", "rk/a\" ${x}/wo", "rk/ ../ro", "ot/\n")), 0);
    }
}
