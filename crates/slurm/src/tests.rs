//! `docs/slurm.md` says what these commands do: its tables are made of the tables of the commands,
//! and no variable is missing.
use crate::accounting::{sacct, seff, sstat, views};
use crate::options::{
    DIRECTIVES, Effect, Opt, SACCT, SALLOC, SBATCH, SCANCEL, SCONTROL, SINFO, SQUEUE, SRUN, Table,
    Takes,
};
use crate::queue::{sinfo, sprio, squeue};
use crate::submit::directives;
use crate::words::made_up;
use pcluster_api::{JobRecord, StepRecord};
use pcluster_model::job::JobKind;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stands after `made:` in its mark, and what makes it.
type Part = (&'static str, fn() -> String);

/// Every part of the document that is made.
const PARTS: [Part; 18] = [
    ("verbs of scontrol", verbs),
    ("words of pcluster", native_words),
    ("variables of sbatch", variables),
    ("options of sbatch, srun and salloc", job_options),
    ("options of scancel", || own_options(&SCANCEL)),
    ("options of squeue", || own_options(&SQUEUE)),
    ("options of sinfo", || own_options(&SINFO)),
    ("options of scontrol", || own_options(&SCONTROL)),
    ("options of sacct", || own_options(&SACCT)),
    ("options of sacctmgr", || own_options(&views::SACCTMGR)),
    ("options of sshare", || own_options(&views::SSHARE)),
    ("options of sstat", || own_options(&sstat::SSTAT)),
    ("options of seff", || own_options(&seff::SEFF)),
    ("options of sprio", || own_options(&sprio::SPRIO)),
    ("differences from Slurm 22.05", differences),
    ("fields of squeue", squeue_fields),
    ("fields of sinfo", sinfo_fields),
    ("fields of sacct", sacct_fields),
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
    // One row where the commands agree, else one for each.
    let mut rows: BTreeMap<(String, String), String> = BTreeMap::new();
    for (options, mark) in [(&SBATCH, "b"), (&SRUN, "r"), (&SALLOC, "a")] {
        for (names, here) in described(options) {
            rows.entry((names, here)).or_default().push_str(mark);
        }
    }
    let lines = rows.into_iter().map(|((names, here), marks)| {
        let marks = if marks == "bra" { "all".to_owned() } else { spelled(&marks) };
        format!("{names} | {marks} | {here}")
    });
    table("option | for | here", lines)
}

fn spelled(marks: &str) -> String {
    let names = [('b', "sbatch"), ('r', "srun"), ('a', "salloc")];
    let named: Vec<&str> =
        names.iter().filter(|(mark, _)| marks.contains(*mark)).map(|(_, name)| *name).collect();
    named.join(", ")
}

/// What `#PCLUSTER` lines can say and `#SBATCH` lines cannot.
fn native_words() -> String {
    let own = DIRECTIVES.options().filter(|option| SBATCH.long(option.long).is_none());
    table(
        "line | meaning",
        own.map(|option| {
            format!("{} | {}", names(option).replacen('`', "`#PCLUSTER ", 1), here(option))
        }),
    )
}

/// What the comparison with a real Slurm allows, from its notes.
fn differences() -> String {
    let notes = fs::read_to_string(root().join("tests/fixtures/slurm/golden.txt")).unwrap();
    let (mut command, mut rows) = (None, Vec::new());
    for line in notes.lines() {
        match line.strip_prefix("  ") {
            None => command = line.strip_prefix("differs: "),
            Some(difference) => {
                let (Some(command), Some((path, why))) = (command, difference.split_once(" :: "))
                else {
                    continue;
                };
                let row = format!("`{command}` ; {path} ; {why}");
                rows.push(row.replace('|', "\\|").replace(" ; ", " | "));
            }
        }
    }
    table("asked | what differs | why", rows.into_iter())
}

fn verbs() -> String {
    let rows = crate::control::described().into_iter();
    table("verb | here", rows.map(|(name, here)| format!("`{name}` | {here}")))
}

fn variables() -> String {
    let rows: BTreeSet<(&str, &str)> = directives::VARIABLES.into_iter().collect();
    let effect = |name: &str| SBATCH.long(name).map_or(String::new(), here);
    table(
        "variable | as | here",
        rows.iter()
            .map(|(variable, option)| format!("`{variable}` | `--{option}` | {}", effect(option))),
    )
}

fn own_options(options: &Table) -> String {
    let rows: BTreeSet<(String, String)> = described(options).collect();
    table("option | here", rows.into_iter().map(|(names, here)| format!("{names} | {here}")))
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

fn squeue_fields() -> String {
    let records = records();
    let rows = squeue::fields::FIELDS.iter().map(|field| {
        let said = records.iter().enumerate().map(|(number, record)| {
            let view = squeue::View {
                clock: made_up::clock(),
                cluster: number.to_string(),
                mebibytes: false,
            };
            (field.value)(record, &view).text
        });
        let letter =
            if field.letter == ' ' { String::new() } else { format!("`%{}`", field.letter) };
        format!("{letter} | `{}` | `{}` | {}", field.name, field.heading, constant(said))
    });
    table("letter | name | heading | here", rows)
}

fn sacct_fields() -> String {
    let setting = |number: usize| {
        let view =
            squeue::View { clock: made_up::clock(), cluster: number.to_string(), mebibytes: false };
        Arc::new(sacct::rows::Setting { view, unit: None, truncate: None })
    };
    let rows = records().into_iter().enumerate();
    let rows: Vec<_> =
        rows.flat_map(|(at, record)| sacct::rows::of(record, true, &setting(at))).collect();
    let lines = sacct::fields::FIELDS.iter().map(|field| {
        let said = rows.iter().map(|row| (field.value)(row));
        format!("`{}` | {}", field.name, constant(said))
    });
    table("field | here", lines)
}

/// Jobs that differ in everything in which jobs can differ.
fn records() -> [JobRecord; 5] {
    let waiting = JobRecord {
        dependencies: vec![made_up::dependency("afterok", "1", "waiting")],
        kind: JobKind::Allocation,
        nodes: 2,
        priority: -7,
        ..made_up::pending(4)
    };
    let steps = vec![failed_step()];
    let ended =
        JobRecord { steps, suspended_ms: 2000, ..made_up::ended(6, "failed", Some(3), None) };
    [made_up::pending(1), made_up::running(2), rich(), waiting, ended]
}

fn failed_step() -> StepRecord {
    StepRecord { exit_code: Some(4), ..made_up::step(0) }
}

/// A job with a value for everything that can have one.
fn rich() -> JobRecord {
    let mut record = made_up::array_task(3, 4, 5);
    (record.name, record.comment) = ("align".into(), "a note".into());
    (record.work_dir, record.time_limit_ms) = ("/data".into(), Some(7_200_000));
    record.qos = "high".into();
    record.features = vec!["fast".into()];
    record.feature_choices = vec![vec!["a".into()], vec!["b".into()]];
    record.only_nodes = vec!["c7".into()];
    record.not_nodes = vec!["c8".into()];
    record.deadline_ms = Some(record.submitted_at_ms + 1_000_000);
    record.gpus_per_node = 2;
    record.tmp_bytes = 1 << 30;
    record.priority = 7;
    record.exclusive = true;
    record.requeue = false;
    record.nodes = 3;
    record.ntasks = 6;
    record.ntasks_per_node = Some(2);
    record.cpus_per_task = 5;
    record.attempt = 3;
    record.submit_host = "elsewhere".into();
    record.group = "staff".into();
    (record.uid, record.gid) = (1000, 1001);
    (record.user, record.account) = ("ana".into(), "lab".into());
    (record.output, record.error, record.input) = ("o".into(), "e".into(), "i".into());
    record.pool = "big".into();
    record.command = "/home/ana/x.sh".into();
    record.submit_line = "sbatch x.sh".into();
    record
}

fn sinfo_fields() -> String {
    let list = made_up::pools();
    let mut rich = made_up::busy("g1", 3, 7000);
    (rich.gpus, rich.gpu_type, rich.cpus) = (2, "a10g".into(), 64);
    rich.memory_bytes = 1 << 40;
    rich.features = vec!["lab".into(), "a10g".into()];
    let mut drained = made_up::node("d1");
    (drained.state, drained.why) = ("draining".into(), Some("a fan".into()));
    let out = made_up::pool("out", None, vec![drained]);
    let mut pool = made_up::pool("gpu", Some(3_600_000), vec![rich]);
    pool.default_time_ms = Some(60_000);
    (pool.exclusive, pool.default, pool.max_nodes) = (true, false, 9);
    let pools: Vec<_> = list.pools.iter().chain([&pool, &out]).collect();
    let rows = sinfo::fields::FIELDS.iter().map(|field| {
        let groups = pools.iter().map(|pool| sinfo::Group {
            cluster: &pool.name,
            pool,
            nodes: pool.nodes.iter().collect(),
        });
        let said = groups.map(|group| (field.value)(&group));
        let letter =
            if field.letter == ' ' { String::new() } else { format!("`%{}`", field.letter) };
        format!("{letter} | `{}` | `{}` | {}", field.name, field.heading, constant(said))
    });
    table("letter | name | heading | here", rows)
}

/// Whether a field says the same of all: then it has no meaning here.
fn constant(values: impl Iterator<Item = String>) -> String {
    let values: BTreeSet<String> = values.collect();
    match values.first() {
        Some(text) if values.len() == 1 && text.is_empty() => "always empty".to_owned(),
        Some(text) if values.len() == 1 => format!("always `{text}`"),
        _ => "same".to_owned(),
    }
}

fn table(heads: &str, rows: impl Iterator<Item = String>) -> String {
    let rule = "---|".repeat(heads.split('|').count());
    let mut out = format!("| {heads} |\n|{rule}\n");
    for row in rows {
        out.push_str(&format!("| {row} |\n").replace("|  |", "| |"));
    }
    out
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
            let text = text.split("#[cfg(test)]").next().unwrap();
            // Whole strings only: `"SLURM_JOB_ID"`.
            let variables = text.split('"').filter(|word| is_variable(word));
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

/// Starts of names, a key of `scontrol show config`, and tables of variables.
const NO_VARIABLES: [&str; 6] = [
    "PCLUSTER_JOB",
    "PCLUSTER_TASK",
    "PCLUSTER_RUN",
    "SLURM_VERSION",
    "SRUN_VARIABLES",
    "SALLOC_VARIABLES",
];

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
    named
        && !NO_VARIABLES.contains(&word)
        && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
