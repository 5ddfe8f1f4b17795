//! `cluster.toml`: text to a validated configuration, with errors people can use.
//!
//! Invariant: pure. Text and facts about the machine go in, a value comes out; the same input
//! gives the same output, every problem of the file in one run and in file order. Deliberately
//! absent: reading files, looking for them, environment variables, clocks.
mod build;
pub mod catalogue;
pub mod check;
pub mod docs;
pub mod explain;
pub mod hostlist;
pub mod keys;
mod nearest;
pub mod problem;
pub mod render;
mod resolve;
#[cfg(feature = "samples")]
pub mod samples;
mod syntax;
mod tree;
mod value;

pub use check::{
    Refusal, Summary, check_summary, exported, head_volume, out_of_reach, unserved, up_refusals,
};
pub use explain::{UnknownTopic, explain, explain_json};
pub use nearest::nearest;
pub use problem::{EffectiveValue, Inactive, Level, Note, Origin, Problem, ProblemKind};
pub use render::{render, render_all, render_notes, render_summary};

use pcluster_model::config::Config;
use problem::Places;
use resolve::Resolver;
use serde::Serialize;
use toml::de::DeTable;

/// Where the text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it is shown in errors: `cluster.toml`.
    pub file_name: String,
    /// The absolute path of its folder: names the cluster, and paths in the file start there.
    pub folder: String,
    /// In `/etc/pcluster` or `~/.config/pcluster`, where a cluster without a name is `main`.
    pub in_system_dir: bool,
}

/// The machine the head runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Hardware threads that may be used.
    pub cpus: u32,
    /// Main memory that may be used, in bytes.
    pub memory_bytes: u64,
    pub hostname: String,
    /// What `~` stands for.
    pub home: String,
    /// Milliseconds east of UTC.
    pub zone_offset_ms: i64,
}

/// All that the file says, and all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parsed {
    /// As in [`Source`].
    pub file_name: String,
    /// The cluster's name; known, if it can be, also when other lines are wrong.
    pub name: String,
    /// There exactly when there is no problem.
    pub config: Option<Config>,
    /// Every value in force, in the order of the key table.
    pub effective: Vec<EffectiveValue>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
    /// In the order of the file; keys without effect are among them.
    pub notes: Vec<Note>,
    /// Keys of the file that this version does not act on.
    pub inactive: Vec<Inactive>,
}

/// A file longer than this is not a configuration.
pub const LARGEST_FILE: usize = 1 << 20;

/// Reads a configuration.
#[must_use]
pub fn parse(text: &str, source: &Source, machine: &Machine) -> Parsed {
    let places = Places::new(text);
    let mut parsed = Parsed {
        file_name: source.file_name.clone(),
        name: own_name(source),
        config: None,
        effective: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
        inactive: Vec::new(),
    };
    if text.len() > LARGEST_FILE {
        let problem = Problem::new(ProblemKind::Syntax, "the file is larger than 1 MB", None);
        parsed.problems.push(problem);
        return parsed;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let syntax = syntax::problems(&errors, text, &places);
    let mut tree = tree::Walker::new(&machine.home, &places).walk(root.get_ref());
    parsed.problems = std::mem::take(&mut tree.problems);
    parsed.inactive = std::mem::take(&mut tree.inactive);
    if let Some(value::Value::Text(name)) = tree.get(&["name"]).map(|entry| &entry.value)
        && tree::is_name(name)
    {
        parsed.name.clone_from(name);
    }
    if syntax.is_empty() {
        let mut resolver = Resolver::new(&tree, &places, source, machine);
        let built = build::build(&mut resolver);
        parsed.problems.append(&mut resolver.problems);
        parsed.notes = std::mem::take(&mut resolver.notes);
        parsed.effective = resolver.effective(&built.pools);
        parsed.config = built.config;
    } else {
        // What the parser made of a broken line is no mistake of the writer's.
        let line = |problem: &Problem| problem.span.as_ref().map(|span| places.line(span.start));
        let broken: Vec<_> = syntax.iter().map(line).collect();
        parsed.problems.retain(|problem| !broken.contains(&line(problem)));
        parsed.problems.extend(syntax);
    }
    finish(&places, parsed)
}

/// The name of a cluster whose file does not name it.
pub(crate) fn own_name(source: &Source) -> String {
    if source.in_system_dir { "main".into() } else { default_name(folder_name(&source.folder)) }
}

/// Puts everything in the order of the file.
fn finish(places: &Places<'_>, mut parsed: Parsed) -> Parsed {
    let (problems, notes) = (&mut parsed.problems, &mut parsed.notes);
    for problem in problems.iter_mut() {
        places.locate(problem);
        problem.message = printable(&problem.message);
        problem.label = printable(&problem.label);
        problem.hints.iter_mut().for_each(|hint| *hint = printable(hint));
    }
    problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
    problems.dedup();
    for key in &parsed.inactive {
        let mut text = format!("{} has no effect in this version", printable(&key.path));
        if key.up_refuses {
            text.push_str("; pcluster up refuses it");
        }
        notes.push(Note { level: Level::Note, line: key.line, text });
    }
    notes.iter_mut().for_each(|note| note.text = printable(&note.text));
    notes.sort_by_key(|note| note.line);
    notes.dedup();
    if !parsed.problems.is_empty() {
        parsed.config = None;
    }
    parsed
}

/// TOML texts may hold any character; a terminal gets none that it would obey.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    let plain = |c: char| {
        if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(plain).collect()
}

/// The last part of a folder's path.
pub(crate) fn folder_name(folder: &str) -> &str {
    folder.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

/// The name of a cluster that does not name itself: its folder's name in lower case, every other
/// character as `-`, cut at 32. A folder without a single right character gives `cluster`.
#[must_use]
pub fn default_name(folder_name: &str) -> String {
    let name = tree::as_name(folder_name);
    if name.chars().any(|c| c != '-') { name } else { "cluster".into() }
}
