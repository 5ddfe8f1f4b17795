//! What is in force: looks a setting up, falls back to its default, and records both.
//!
//! Invariant: whatever ends up in the `Config` went through here, so `config explain` cannot
//! differ from what the cluster does. Deliberately absent: the rules (`build`).
use crate::keys::{self, Status};
use crate::problem::{EffectiveValue, Level, Note, Origin, Places, Problem, ProblemKind};
use crate::tree::{Entry, Tree, path_text};
use crate::value::{Value, quote};
use crate::{Machine, Source};
use pcluster_model::units::{format_duration, format_size};
use pcluster_model::{DurationMs, Price};
use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) struct Resolver<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) places: &'a Places<'a>,
    pub(crate) source: &'a Source,
    pub(crate) machine: &'a Machine,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
    settled: BTreeMap<Vec<String>, EffectiveValue>,
}

/// The values of the file by the types that rules want.
macro_rules! reader {
    ($name:ident, $variant:ident, $out:ty) => {
        pub(crate) fn $name(&mut self, path: &[&str]) -> Option<$out> {
            match self.given(path) {
                Some(Value::$variant(value)) => Some(value),
                _ => None,
            }
        }
    };
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        tree: &'a Tree,
        places: &'a Places<'a>,
        source: &'a Source,
        machine: &'a Machine,
    ) -> Self {
        Self {
            tree,
            places,
            source,
            machine,
            problems: Vec::new(),
            notes: Vec::new(),
            settled: BTreeMap::new(),
        }
    }

    /// The value of the file, recorded as in force.
    pub(crate) fn given(&mut self, path: &[&str]) -> Option<Value> {
        let entry = self.tree.get(path)?;
        let line = self.places.line(entry.span.start);
        self.settle(path, entry.value.shown(), Origin::File { line });
        Some(entry.value.clone())
    }

    reader!(text, Text, String);
    reader!(bool, Bool, bool);
    reader!(size, Size, u64);
    reader!(price, Price, Price);
    reader!(texts, Texts, Vec<(String, Range<usize>)>);

    pub(crate) fn count(&mut self, path: &[&str]) -> Option<u32> {
        match self.given(path) {
            // The bounds of the key table are below u32::MAX.
            Some(Value::Count(value)) => Some(u32::try_from(value).unwrap_or(u32::MAX)),
            _ => None,
        }
    }

    pub(crate) fn gpus(&mut self, path: &[&str]) -> Option<(u32, String)> {
        match self.given(path) {
            Some(Value::Gpus { count, model }) => Some((count, model)),
            _ => None,
        }
    }

    /// A duration, or its default.
    pub(crate) fn duration_or(
        &mut self,
        path: &[&str],
        default: DurationMs,
        origin: Origin,
    ) -> DurationMs {
        if let Some(Value::Duration(span)) = self.given(path) {
            return span;
        }
        self.settle(path, quote(&format_duration(default)), origin);
        default
    }

    /// A number, or its default.
    pub(crate) fn count_or(&mut self, path: &[&str], default: u32, origin: Origin) -> u32 {
        self.count(path).unwrap_or_else(|| {
            self.settle(path, default.to_string(), origin);
            default
        })
    }

    /// True or false, or its default.
    pub(crate) fn bool_or(&mut self, path: &[&str], default: bool, origin: Origin) -> bool {
        self.bool(path).unwrap_or_else(|| {
            self.settle(path, default.to_string(), origin);
            default
        })
    }

    /// Records what is in force at `path`.
    pub(crate) fn settle(&mut self, path: &[&str], value: String, origin: Origin) {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let Some(key) = keys::of_path(&path) else { return };
        let value = EffectiveValue {
            path: path_text(&path),
            value: if value.is_empty() { "(none)".into() } else { value },
            type_name: key.kind.noun(),
            origin,
            meaning: key.meaning.to_string(),
            acts: key.status == Status::Acts,
        };
        self.settled.insert(path, value);
    }

    /// Records whether a pool is the default, unless the file says it.
    pub(crate) fn settle_default(&mut self, pool: &str, is_default: bool) {
        let path = ["pools", pool, "default"];
        if self.tree.get(&path).is_none() {
            self.settle(&path, is_default.to_string(), Origin::Default);
        }
    }

    /// Where the value at `path` stands, for inheritance.
    pub(crate) fn inherited(&self, path: &[&str]) -> Option<Origin> {
        let entry = self.tree.get(path)?;
        Some(Origin::Inherited {
            line: self.places.line(entry.span.start),
            key: entry.shown.clone(),
        })
    }

    /// The place of a value, for a problem with it.
    pub(crate) fn span(&self, path: &[&str]) -> Option<Range<usize>> {
        self.tree.get(path).map(|entry| entry.span.clone())
    }

    /// The place of a key, for a problem with what is below or missing in it.
    pub(crate) fn key_span(&self, path: &[&str]) -> Option<Range<usize>> {
        self.tree.get(path).map(|entry| entry.key_span.clone())
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Two things that cannot both be true, shown at the second.
    pub(crate) fn conflict(
        &mut self,
        message: impl Into<String>,
        span: Option<Range<usize>>,
        label: impl Into<String>,
    ) {
        self.problems.push(Problem::new(ProblemKind::Conflict, message, span).label(label));
    }

    pub(crate) fn note(&mut self, level: Level, span: Option<Range<usize>>, text: String) {
        let line = span.map_or(0, |span| self.places.line(span.start));
        self.notes.push(Note { level, line, text });
    }

    /// Every value in force, in the order of the key table, pool by pool: what no rule asked for
    /// is added from the file or the table's default.
    pub(crate) fn effective(mut self, pools: &[String]) -> Vec<EffectiveValue> {
        let rest: Vec<&Entry> = self
            .tree
            .entries()
            .filter(|entry| entry.value != Value::Table && !self.settled.contains_key(&entry.path))
            .collect();
        for entry in rest {
            let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
            let line = self.places.line(entry.span.start);
            self.settle(&path, entry.value.shown(), Origin::File { line });
        }
        for key in keys::all() {
            let segments: Vec<&str> = key.path.split('.').collect();
            let table = matches!(key.kind, keys::Kind::Table | keys::Kind::TableList);
            if table || key.path == "pools.*.name" || key.path.starts_with("maintenance") {
                continue;
            }
            match segments.as_slice() {
                ["pools", "*", rest @ ..] if !rest.contains(&"*") => {
                    for pool in pools {
                        let path = [&["pools", pool.as_str()], rest].concat();
                        self.default_of(&path, key.default);
                    }
                }
                path if path.contains(&"*") => {}
                path => self.default_of(path, key.default),
            }
        }
        self.in_order()
    }

    fn default_of(&mut self, path: &[&str], default: &str) {
        let owned: Vec<String> = path.iter().map(ToString::to_string).collect();
        if !self.settled.contains_key(&owned) {
            let words = default.is_empty() || default.starts_with(['(', '[']);
            let number = default.bytes().all(|byte| byte.is_ascii_digit());
            let bare = words || number || matches!(default, "true" | "false");
            let value = if bare { default.to_string() } else { quote(default) };
            self.settle(path, value, Origin::Default);
        }
    }

    fn in_order(self) -> Vec<EffectiveValue> {
        let index = |pattern: &str| keys::all().iter().position(|key| key.path == pattern);
        // Names in the order of the file, so that pools are listed as written.
        let mut names: Vec<(usize, &[String])> = self
            .tree
            .entries()
            .filter(|entry| entry.path.len() == 2)
            .map(|entry| (entry.key_span.start, entry.path.as_slice()))
            .collect();
        names.sort();
        let order = |path: &[String]| {
            let section = path.first().and_then(|first| index(first));
            let key = keys::of_path(path).and_then(|key| index(key.path));
            let named = path.len() > 2
                && path.first().is_some_and(|first| keys::find(&format!("{first}.*")).is_some());
            let instance =
                named.then(|| names.iter().position(|(_, name)| path.starts_with(name))).flatten();
            (section, instance, key)
        };
        let mut values: Vec<_> = self.settled.iter().collect();
        values.sort_by_key(|(path, _)| order(path));
        values.into_iter().map(|(_, value)| value.clone()).collect()
    }
}

/// Memory for people: `3.7 GB`, `512 MB`.
pub(crate) fn about(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes < GIB {
        return format!("{} MB", bytes >> 20);
    }
    if bytes.is_multiple_of(GIB) {
        return format_size(bytes);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(GIB / 2)) / u128::from(GIB);
    format!("{}.{} GB", tenths / 10, tenths % 10)
}
