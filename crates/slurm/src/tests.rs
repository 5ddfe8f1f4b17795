//! `docs/slurm.md` says what these commands do: its tables are made of the tables of the commands,
//! and no variable is missing.
use crate::options::{
    Effect, Opt, SACCT, SALLOC, SBATCH, SCANCEL, SCONTROL, SINFO, SQUEUE, SRUN, Table, Takes,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every part of the document that is made: what stands after `made:` in its mark.
const PARTS: [(&str, fn() -> String); 6] = [
    ("options of sbatch, srun and salloc", job_options),
    ("options of scancel", || own_options(&SCANCEL)),
    ("options of squeue", || own_options(&SQUEUE)),
    ("options of sinfo", || own_options(&SINFO)),
    ("options of scontrol", || own_options(&SCONTROL)),
    ("options of sacct", || own_options(&SACCT)),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_tables_of_the_document_are_those_of_the_commands() {
    let path = root().join("docs/slurm.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut made = text.clone();
    for (name, part) in PARTS {
        let (from, to) = (format!("<!-- made: {name} -->\n"), "<!-- /made -->");
        let start = made.find(&from).unwrap_or_else(|| panic!("no mark for {name}")) + from.len();
        let end = start + made[start..].find(to).unwrap_or_else(|| panic!("no end of {name}"));
        made.replace_range(start..end, &format!("\n{}\n", part()));
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &made).unwrap();
        return;
    }
    assert!(made == text, "docs/slurm.md is behind: UPDATE=1 cargo test -p pcluster-slurm tables");
}

fn job_options() -> String {
    let tables = [(&SBATCH, "b"), (&SRUN, "r"), (&SALLOC, "a")];
    // One row where the commands agree, else one for each.
    let mut rows: BTreeMap<(String, String), String> = BTreeMap::new();
    for (table, mark) in tables {
        for (names, here) in described(table) {
            rows.entry((names, here)).or_default().push_str(mark);
        }
    }
    let mut out = String::from("| option | for | here |\n|---|---|---|\n");
    for ((names, here), marks) in rows {
        let marks = if marks == "bra" { "all".to_owned() } else { spelled(&marks) };
        out.push_str(&format!("| {names} | {marks} | {here} |\n"));
    }
    out
}

fn spelled(marks: &str) -> String {
    let names = [('b', "sbatch"), ('r', "srun"), ('a', "salloc")];
    let named: Vec<&str> =
        names.iter().filter(|(mark, _)| marks.contains(*mark)).map(|(_, name)| *name).collect();
    named.join(", ")
}

fn own_options(table: &Table) -> String {
    let rows: BTreeSet<(String, String)> = described(table).collect();
    let mut out = String::from("| option | here |\n|---|---|\n");
    for (names, here) in rows {
        out.push_str(&format!("| {names} | {here} |\n"));
    }
    out
}

fn described(table: &Table) -> impl Iterator<Item = (String, String)> {
    table.options().map(|option| (names(option), here(option)))
}

fn names(option: &Opt) -> String {
    let value = match option.takes {
        Takes::Nothing => String::new(),
        Takes::Value(name) => format!("={name}"),
        Takes::Maybe(name) | Takes::MaybeNext(name) => format!("[={name}]"),
    };
    let letter = option.short.map_or(String::new(), |letter| format!(", `-{letter}`"));
    format!("`--{}{value}`{letter}", option.long).replace('|', "\\|")
}

fn here(option: &Opt) -> String {
    let text = match option.effect {
        _ if option.name != option.long => format!("same as `--{}`", option.name),
        Effect::Used => option.help.to_owned(),
        Effect::Silent(why) => format!("**no effect**: {why}"),
        Effect::Refused(why) => format!("**refused**: {why}"),
    };
    text.replace('|', "\\|")
}

#[test]
fn every_variable_is_in_the_document() {
    let document = fs::read_to_string(root().join("docs/slurm.md")).unwrap();
    let known: BTreeSet<&str> = words(&document).collect();
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for folder in ["crates/slurm/src", "crates/core/src/agent", "agent/steps/src"] {
        for file in sources(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let variables = words(&text).filter(|word| is_variable(word));
            for word in variables {
                seen += 1;
                if !known.contains(word) {
                    missing.insert(format!("{word} ({})", file.display()));
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
    assert!(missing.is_empty(), "not in docs/slurm.md: {missing:#?}");
}

/// Source files without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

fn is_variable(word: &str) -> bool {
    let prefixes = ["SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SINFO_", "SACCT_"];
    let more = ["SCANCEL_", "SCONTROL_", "PMI_", "PCLUSTER_"];
    let named = prefixes.iter().chain(&more).any(|prefix| {
        word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.ends_with('_'))
    });
    named && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
