//! Sizes: of files, of functions, of rooms.
//!
//! Invariant: an inline test module counts for no budget but the hard one of its file. Lines are
//! those of the file: comments and blanks cost a reader time, too.
use super::Finding;
use super::budgets::{
    FILE_MEDIAN, FILE_MOST, FILE_P90, FILES, FUNCTION_MOST, PROVIDER_FILE, ROOMS,
};
use super::rust::{functions, mask, split_tests};
use super::tree::File;

/// A file of the product and its lines without tests.
struct Sized<'a> {
    path: &'a str,
    lines: usize,
}

/// Every size rule, and the figures.
pub(crate) fn check(files: &[File]) -> (Vec<Finding>, Vec<String>) {
    let sized: Vec<Sized> = files
        .iter()
        .filter(|file| file.is_rust() && !file.is_test())
        .map(|file| Sized { path: &file.path, lines: product_lines(&file.text) })
        .collect();
    let mut findings = Vec::new();
    let mut figures = spread(&sized, &mut findings);
    figures.extend(rooms(&sized, &mut findings));
    findings.extend(files.iter().filter_map(whole_file));
    findings.extend(files.iter().filter_map(own_budget));
    findings.extend(sized.iter().filter_map(provider_file));
    findings.extend(files.iter().filter(|file| file.is_rust()).flat_map(long_functions));
    (findings, figures)
}

/// Lines outside inline test modules.
fn product_lines(text: &str) -> usize {
    split_tests(&mask(text)).into_iter().filter(|test| !test).count()
}

fn spread(sized: &[Sized<'_>], findings: &mut Vec<Finding>) -> Vec<String> {
    let mut lines: Vec<usize> = sized.iter().map(|file| file.lines).collect();
    lines.sort_unstable();
    let at = |per_cent: usize| {
        lines.get((lines.len() * per_cent / 100).min(lines.len().max(1) - 1)).copied()
    };
    let (median, p90, most) = (at(50).unwrap_or(0), at(90).unwrap_or(0), at(100).unwrap_or(0));
    let mut too_long = |what, value, budget| {
        if value > budget {
            findings.push(Finding::of(
                "*.rs",
                format!("the {what} of files is {value} lines, the budget {budget}"),
            ));
        }
    };
    too_long("median", median, FILE_MEDIAN);
    too_long("90th percentile", p90, FILE_P90);
    vec![format!(
        "files     {} of the product: median {median} of {FILE_MEDIAN} lines, p90 {p90} of {FILE_P90}, longest {most} of {FILE_MOST}",
        lines.len()
    )]
}

fn rooms(sized: &[Sized<'_>], findings: &mut Vec<Finding>) -> Vec<String> {
    let mut figures = Vec::new();
    for room in &ROOMS {
        let inside =
            |file: &&Sized| room.folders.iter().any(|folder| file.path.starts_with(folder));
        let lines: usize = sized.iter().filter(inside).map(|file| file.lines).sum();
        let why = room.why.map(|why| format!("  ({why})")).unwrap_or_default();
        figures.push(format!(
            "room      {:<15} {lines:>5} of {:>5} lines{why}",
            room.name, room.lines
        ));
        if lines > room.lines {
            let what = format!("has {lines} lines without tests, the budget is {}", room.lines);
            findings.push(Finding::of(room.name, what));
        }
    }
    figures
}

fn whole_file(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    (file.is_rust() && lines > FILE_MOST).then(|| {
        Finding::of(
            &file.path,
            format!("has {lines} lines, no file may have more than {FILE_MOST}"),
        )
    })
}

fn own_budget(file: &File) -> Option<Finding> {
    let matches = |path: &str| file.path == path || file.path.ends_with(&format!("/{path}"));
    let (_, budget) = FILES.iter().find(|(path, _)| matches(path))?;
    let lines = if file.is_rust() { product_lines(&file.text) } else { file.text.lines().count() };
    (lines > *budget)
        .then(|| Finding::of(&file.path, format!("has {lines} lines, its budget is {budget}")))
}

fn provider_file(file: &Sized<'_>) -> Option<Finding> {
    let (folder, budget) = PROVIDER_FILE;
    (file.path.starts_with(folder) && file.lines > budget).then(|| {
        Finding::of(
            file.path,
            format!("has {} lines, a provider's file at most {budget}", file.lines),
        )
    })
}

fn long_functions(file: &File) -> Vec<Finding> {
    let too_long = |lines: usize| lines > FUNCTION_MOST;
    functions(&mask(&file.text))
        .into_iter()
        .map(|function| (function.last - function.first + 1, function))
        .filter(|(lines, _)| too_long(*lines))
        .map(|(lines, function)| {
            let what =
                format!("`{}` has {lines} lines, the budget is {FUNCTION_MOST}", function.name);
            Finding::at(&file.path, function.first, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: String) -> File {
        File { path: path.into(), text }
    }

    fn lines(count: usize) -> String {
        "x\n".repeat(count)
    }

    fn found(files: &[File]) -> Vec<String> {
        check(files)
            .0
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn a_file_has_a_hard_limit_with_its_tests() {
        let test = file("a/src/tests.rs", lines(FILE_MOST + 1));
        let fits = file("a/src/b.rs", lines(10));
        assert_eq!(
            found(&[test, fits]),
            ["a/src/tests.rs: has 801 lines, no file may have more than 800"]
        );
    }

    #[test]
    fn the_median_and_the_tail_have_budgets() {
        let files: Vec<File> =
            (0..10).map(|n| file(&format!("a/src/{n}.rs"), lines(FILE_MEDIAN + 1))).collect();
        assert_eq!(found(&files), ["*.rs: the median of files is 201 lines, the budget 200"]);
        let tail: Vec<File> = (0..10)
            .map(|n| file(&format!("a/src/{n}.rs"), lines(if n > 7 { FILE_P90 + 1 } else { 10 })))
            .collect();
        assert_eq!(
            found(&tail),
            ["*.rs: the 90th percentile of files is 501 lines, the budget 500"]
        );
    }

    #[test]
    fn some_files_have_budgets_of_their_own() {
        let small =
            |path: &str, count| found(&[file(path, lines(count)), file("x/src/y.rs", lines(1))]);
        assert_eq!(
            small("agent/src/main.rs", 61),
            ["agent/src/main.rs: has 61 lines, its budget is 60"]
        );
        assert_eq!(
            small("ARCHITECTURE.md", 201),
            ["ARCHITECTURE.md: has 201 lines, its budget is 200"]
        );
        assert_eq!(small("agent/src/domain.rs", 61), Vec::<String>::new());
    }

    #[test]
    fn a_provider_stays_small() {
        let provider = file("crates/providers/src/vm/image.rs", lines(601));
        let others = (0..10).map(|n| file(&format!("a/src/{n}.rs"), lines(1)));
        let files: Vec<File> = others.chain([provider]).collect();
        assert_eq!(
            found(&files),
            ["crates/providers/src/vm/image.rs: has 601 lines, a provider's file at most 600"]
        );
    }

    #[test]
    fn a_long_function_is_named() {
        let text = format!("fn long() {{\n{}}}\n", lines(FUNCTION_MOST));
        let files = [file("a/src/b.rs", text), file("a/src/c.rs", lines(1))];
        assert_eq!(found(&files), ["a/src/b.rs:1: `long` has 72 lines, the budget is 70"]);
    }

    #[test]
    fn inline_tests_cost_no_budget() {
        let text = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(300));
        assert_eq!(product_lines(&text), 1);
    }

    #[test]
    fn a_room_has_a_budget() {
        let room = ROOMS.iter().find(|room| room.name == "agent").unwrap();
        let each = 150;
        let files: Vec<File> = (0..=room.lines / each)
            .map(|n| file(&format!("agent/src/{n}.rs"), lines(each)))
            .collect();
        let (lines, budget) = (files.len() * each, room.lines);
        let what = format!("agent: has {lines} lines without tests, the budget is {budget}");
        assert_eq!(found(&files), [what]);
    }
}
