//! `tidy`: the tree keeps its sizes and habits, so that a newcomer can read it in an evening.
//!
//! Invariant: a rule is a function from text to findings, so that each has a test on made-up text;
//! a budget that the tree may exceed is recorded in `budgets` with the document that says why.
//! Deliberately absent: what rustfmt, clippy and the compiler already check.
mod budgets;
mod dependencies;
mod habits;
mod rust;
mod sizes;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `PATH` or `PATH:LINE`.
    pub place: String,
    pub what: String,
}

impl Finding {
    fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { place: format!("{path}:{line}"), what: what.into() }
    }

    fn of(path: &str, what: impl Into<String>) -> Self {
        Self { place: path.to_owned(), what: what.into() }
    }
}

/// What `tidy` found, and the figures that it measured on the way.
#[derive(Debug)]
pub(crate) struct Report {
    pub findings: Vec<Finding>,
    pub figures: Vec<String>,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures.iter().try_for_each(|figure| writeln!(out, "{figure}"))?;
        self.findings
            .iter()
            .try_for_each(|Finding { place, what }| writeln!(out, "{place}: {what}"))?;
        match self.findings.len() {
            0 => writeln!(out, "tidy: everything is within its budget"),
            1 => writeln!(out, "tidy: 1 finding"),
            more => writeln!(out, "tidy: {more} findings"),
        }
    }
}

/// The top folder of this clone. Cargo says at run time where the package is; a program in a shared
/// target folder may have been built from another clone.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| ".".into(), PathBuf::from);
    package.parent().unwrap_or(&package).to_path_buf()
}

/// Reads the tree under `root` and applies every rule.
///
/// # Errors
/// When a file of the tree cannot be read.
pub(crate) fn check_tree(root: &Path) -> anyhow::Result<Report> {
    let files = tree::read(root)?;
    let (mut findings, figures) = sizes::check(&files);
    findings.extend(files.iter().flat_map(habits::check));
    findings.extend(budgets::check_reasons(&files));
    findings.extend(dependencies::check(&files));
    Ok(Report { findings, figures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let report = check_tree(&root()).unwrap();
        assert!(report.is_clean(), "\n{report}");
    }

    #[test]
    fn a_report_counts_its_findings() {
        let finding = Finding::at("a.rs", 3, "too long");
        let report = Report { findings: vec![finding], figures: vec!["files 1".into()] };
        assert_eq!(report.to_string(), "files 1\na.rs:3: too long\ntidy: 1 finding\n");
    }
}
