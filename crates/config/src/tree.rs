//! The walk of the file along the key table: text in, typed entries and problems out.
//!
//! Invariant: every key of the file becomes either an entry of the right kind or a problem, never
//! nothing. Deliberately absent: defaults and anything about two keys together (`build`).
use crate::keys::{self, Key, Kind, Status};
use crate::nearest::nearest;
use crate::problem::{Inactive, Places, Problem, ProblemKind};
use crate::value::{Reader, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Longest name of a pool, image or cluster.
pub(crate) const NAME_LIMIT: usize = 32;

/// One key of the file with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<String>,
    /// As the file's writer knows it: `compute.max` for `pools.compute.max`.
    pub(crate) shown: String,
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) key_span: Range<usize>,
    pub(crate) span: Range<usize>,
}

/// The file, read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<Vec<String>, Entry>,
    /// Paths that are there but wrong: nobody complains that they are missing.
    bad: BTreeSet<Vec<String>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) inactive: Vec<Inactive>,
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}

impl Tree {
    /// The entry at `path`, if it is there and right.
    pub(crate) fn get(&self, path: &[&str]) -> Option<&Entry> {
        self.entries.get(&owned(path))
    }

    /// True when `path` is there but could not be read.
    pub(crate) fn is_bad(&self, path: &[&str]) -> bool {
        self.bad.contains(&owned(path))
    }

    /// All entries, in no useful order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entries directly below `path`, in the order of the file.
    pub(crate) fn below(&self, path: &[&str]) -> Vec<&Entry> {
        let path = owned(path);
        let mut found: Vec<&Entry> = self
            .entries
            .values()
            .filter(|entry| entry.path.len() == path.len() + 1 && entry.path.starts_with(&path))
            .collect();
        found.sort_by_key(|entry| entry.key_span.start);
        found
    }
}

/// `[a-z0-9-]`, at most 32, beginning with a letter or digit.
pub(crate) fn is_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && !name.starts_with('-')
        && name.chars().all(letters)
}

/// The nearest right name: lower case, everything else as `-`, cut at 32. May be empty.
pub(crate) fn as_name(text: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    };
    let name: String = text.trim().chars().map(plain).collect();
    name.trim_start_matches('-').chars().take(NAME_LIMIT).collect()
}

/// A path as people write it; segments that need quotes have them.
pub(crate) fn path_text<S: AsRef<str>>(path: &[S]) -> String {
    let bare = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let quoted = |text: &str| if bare(text) { text.into() } else { crate::value::quote(text) };
    path.iter().map(|segment| quoted(segment.as_ref())).collect::<Vec<_>>().join(".")
}

/// Where the walk is.
#[derive(Clone)]
struct Here {
    pattern: String,
    path: Vec<String>,
    shown: String,
    /// What `config explain` is asked for to see this table's keys.
    topic: String,
    /// A table above was already noted as inactive.
    noted: bool,
}

pub(crate) struct Walker<'a> {
    reader: Reader<'a>,
    places: &'a Places<'a>,
    tree: Tree,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(home: &'a str, places: &'a Places<'a>) -> Self {
        Self { reader: Reader { home }, places, tree: Tree::default() }
    }

    /// Walks the whole file.
    pub(crate) fn walk(mut self, root: &DeTable<'_>) -> Tree {
        let here = Here {
            pattern: String::new(),
            path: Vec::new(),
            shown: String::new(),
            topic: String::new(),
            noted: false,
        };
        self.table(root, &here);
        self.tree
    }

    fn table(&mut self, table: &DeTable<'_>, here: &Here) {
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in items {
            self.item(name.get_ref(), name.span(), value.get_ref(), value.span(), here);
        }
    }

    fn item(
        &mut self,
        name: &str,
        key_span: Range<usize>,
        value: &DeValue<'_>,
        span: Range<usize>,
        here: &Here,
    ) {
        let plain = !name.contains(['.', '*']);
        let exact = plain.then(|| keys::join(&here.pattern, name));
        let wild = keys::join(&here.pattern, "*");
        let Some(key) = exact.as_deref().and_then(keys::find).or_else(|| keys::find(&wild)) else {
            let problem = unknown_key(name, key_span, value, here);
            self.tree.problems.push(problem);
            let mut path = here.path.clone();
            path.push(name.into());
            self.tree.bad.insert(path.clone());
            // A slip of a key that must be there is one mistake, not two.
            if let Some(near) = nearest(name, keys::children(&here.pattern)) {
                path.pop();
                path.push(near.into());
                self.tree.bad.insert(path);
            }
            return;
        };
        let mut path = here.path.clone();
        path.push(name.to_string());
        let mut next = Here {
            pattern: key.path.to_string(),
            shown: String::new(),
            topic: if here.topic.is_empty() { name.into() } else { here.topic.clone() },
            noted: here.noted,
            path,
        };
        next.shown = if here.shown.is_empty() {
            path_text(&[name])
        } else {
            format!("{}.{}", here.shown, path_text(&[name]))
        };
        if key.path == "compute" {
            let named = value.get("name").and_then(|value| value.get_ref().as_str());
            let pool = named.filter(|name| is_name(name)).unwrap_or("compute");
            next.path = vec!["pools".into(), pool.into()];
            next.pattern = "pools.*".into();
        }
        if key.path.ends_with(".*") && !self.name_is_right(name, &key_span, key) {
            self.tree.bad.insert(next.path.clone());
        }
        self.note_inactive(key, &key_span, &mut next);
        self.read(key, key_span, value, span, &next);
    }

    fn read(
        &mut self,
        key: &'static Key,
        key_span: Range<usize>,
        value: &DeValue<'_>,
        span: Range<usize>,
        next: &Here,
    ) {
        let read = match (key.kind, value) {
            (Kind::Table, DeValue::Table(_)) => Ok(Value::Table),
            (Kind::TableList, DeValue::Array(items))
                if items.iter().all(|item| item.get_ref().is_table()) =>
            {
                Ok(Value::Table)
            }
            (kind, value) => self.reader.read(&next.shown, kind, value, span.clone()),
        };
        let value_read = match read {
            Ok(value) => value,
            Err(mut problem) => {
                one_not_many(key, value, &mut problem);
                self.tree.problems.push(problem);
                self.tree.bad.insert(next.path.clone());
                return;
            }
        };
        if let Some(earlier) = self.tree.entries.get(&next.path) {
            let line = self.places.line(earlier.key_span.start);
            let message = format!("pool `{}` is there twice", path_text(&next.path[1..]));
            self.tree.problems.push(
                Problem::new(ProblemKind::Conflict, message, Some(key_span))
                    .label(format!("`{}` on line {line} is the same pool", earlier.shown))
                    .hint("`compute` is short for [pools.compute]: keep one of them"),
            );
            return;
        }
        let entry = Entry {
            path: next.path.clone(),
            shown: next.shown.clone(),
            key,
            value: value_read,
            key_span,
            span,
        };
        self.tree.entries.insert(next.path.clone(), entry);
        match value {
            DeValue::Table(table) if key.kind == Kind::Table => self.table(table, next),
            DeValue::Array(items) if key.kind == Kind::TableList => {
                for (index, item) in items.iter().enumerate() {
                    let mut one = next.clone();
                    one.path.push(index.to_string());
                    if let DeValue::Table(table) = item.get_ref() {
                        self.table(table, &one);
                    }
                }
            }
            _ => {}
        }
    }

    fn note_inactive(&mut self, key: &Key, key_span: &Range<usize>, next: &mut Here) {
        if key.status == Status::Acts || next.noted {
            return;
        }
        let whole_table = key.kind == Kind::Table && !next.shown.contains('.');
        let path = if whole_table { format!("[{}]", next.shown) } else { next.shown.clone() };
        self.tree.inactive.push(Inactive {
            path,
            line: self.places.line(key_span.start),
            up_refuses: key.status == Status::UpRefuses,
        });
        next.noted = true;
    }

    /// Checks a name that the file chooses.
    fn name_is_right(&mut self, name: &str, span: &Range<usize>, key: &Key) -> bool {
        let what = match key.path {
            "pools.*" => "pool",
            "images.*" => "image",
            "external.*" => "provider",
            "shapes.*" | "hosts.*" => {
                let right = !name.is_empty()
                    && name.len() <= 253
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
                if !right {
                    let what = if key.path == "shapes.*" { "shape" } else { "host" };
                    self.bad_name(what, name, span, "letters, digits, `-` and `.`");
                }
                return right;
            }
            "shares.*" if !name.starts_with('/') => {
                self.bad_name("shared path", name, span, "a path that begins with /");
                return false;
            }
            _ => return true,
        };
        if !is_name(name) {
            self.bad_name(what, name, span, "[a-z0-9-], at most 32 characters");
            return false;
        }
        true
    }

    fn bad_name(&mut self, what: &str, name: &str, span: &Range<usize>, allowed: &str) {
        let message = format!("`{}` is not a name of a {what}", shorten(name));
        let mut problem = Problem::new(ProblemKind::BadName, message, Some(span.clone()))
            .label(format!("allowed: {allowed}"));
        let better = as_name(name);
        if allowed.starts_with('[') && !better.is_empty() {
            problem = problem.hint(format!("`{better}` would be right"));
        }
        self.tree.problems.push(problem);
    }
}

/// At most forty characters, so that an error stays a line.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        return text.to_string();
    }
    text.chars().take(37).chain("...".chars()).collect()
}

/// The singular where the plural was meant, and the other way round: TOML has both as one key.
fn one_not_many(key: &Key, value: &DeValue<'_>, problem: &mut Problem) {
    let hint = match (key.path, value) {
        ("image" | "pools.*.image", DeValue::Table(_)) => {
            "an image is described in [images.NAME]; `image` names it"
        }
        ("provider" | "pools.*.provider", DeValue::Table(_)) => {
            "a provider's own settings stand under its name: [ec2], [ssh], [vm], [process]"
        }
        ("storage", DeValue::String(_)) => "storage = { shared = \"/shared\" }",
        ("head", DeValue::String(_)) => "head = { type = \"t3.large\" } or { address = \"…\" }",
        ("compute", DeValue::Array(_)) => "compute = { types = [\"c6i.4xlarge\"], max = 10 }",
        ("compute", DeValue::Integer(_)) => "compute = { max = 10 }",
        ("maintenance", DeValue::Table(_)) => "write [[maintenance]], once for each window",
        _ => return,
    };
    problem.hints = vec![hint.to_string()];
}

fn unknown_key(name: &str, span: Range<usize>, value: &DeValue<'_>, here: &Here) -> Problem {
    let message = format!("unknown key `{}`", shorten(name));
    let owner = keys::spoken(&here.pattern);
    let label = if here.pattern.is_empty() {
        "not a key at the top level".to_string()
    } else if keys::children(&here.pattern).is_empty() {
        format!("{owner} has no keys")
    } else {
        format!("not a key of {owner}")
    };
    let problem = Problem::new(ProblemKind::UnknownKey, message, Some(span)).label(label);
    if here.pattern.ends_with(".*") && value.is_table() {
        return dotted_name(name, here, problem);
    }
    let topic = if here.topic.is_empty() { String::new() } else { format!(" {}", here.topic) };
    let all = format!("all keys: pcluster config explain{topic}");
    if let Some(near) = nearest(name, keys::children(&here.pattern)) {
        return problem.hint(format!("did you mean `{near}`?  {all}"));
    }
    let elsewhere = keys::all().iter().find(|key| {
        key.path.rsplit('.').next() == Some(name) && key.path != name && !key.path.ends_with('*')
    });
    match elsewhere.and_then(|key| key.path.rsplit_once('.')) {
        Some((owner, _)) => {
            problem.hint(format!("`{name}` is a key of {}", keys::spoken(owner))).hint(all)
        }
        None => problem.hint(all),
    }
}

/// `[images.genomics.v2]`, `[shapes.c6i.4xlarge]`: TOML splits names at dots.
fn dotted_name(name: &str, here: &Here, problem: Problem) -> Problem {
    let owner = here.path.last().map_or("", String::as_str);
    let kind = here.pattern.trim_end_matches(".*");
    let whole = format!("{owner}.{name}");
    if matches!(kind, "shapes" | "hosts") {
        return problem.hint(format!("TOML splits names at dots: write [{kind}.\"{whole}\"]"));
    }
    problem
        .hint(format!("TOML splits names at dots; a name has none: [{kind}.{}]", as_name(&whole)))
}
