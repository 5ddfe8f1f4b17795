//! `config explain`: every value in force, where it came from and what it means.
//!
//! Invariant: reads only [`Parsed::effective`], which the rules themselves recorded. Deliberately
//! absent: a second idea of any default.
use crate::keys;
use crate::nearest::nearest;
use crate::render::wrap;
use crate::{EffectiveValue, Parsed};
use thiserror::Error;

/// `config explain WORD` with a word that is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no key, table or pool is called `{word}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
pub struct UnknownTopic {
    pub word: String,
    pub near: Option<String>,
}

/// The values that `topic` means: a path (`pools.gpu`, `head.address`), the short form
/// (`compute`), or the last word of a key (`idle_timeout`). Without a topic, all.
///
/// # Errors
/// [`UnknownTopic`] with the nearest word.
pub fn select<'p>(
    parsed: &'p Parsed,
    topic: Option<&str>,
) -> Result<Vec<&'p EffectiveValue>, UnknownTopic> {
    let Some(word) = topic else { return Ok(parsed.effective.iter().collect()) };
    let word = word.trim().trim_start_matches('[').trim_end_matches(']');
    // `compute` may carry another name, and a cluster without pools of its own has only that one.
    let short =
        word.strip_prefix("compute").filter(|rest| rest.is_empty() || rest.starts_with('.'));
    let default = parsed.effective.iter().find_map(|value| {
        let pool = value.path.strip_prefix("pools.")?.strip_suffix(".default")?;
        (value.value == "true").then_some(pool)
    });
    let has_compute = parsed.effective.iter().any(|value| value.path.starts_with("pools.compute."));
    let alias = short.map(|rest| {
        let pool = if has_compute { "compute" } else { default.unwrap_or("compute") };
        format!("pools.{pool}{rest}")
    });
    let path = alias.as_deref().unwrap_or(word);
    let below = |value: &&EffectiveValue| {
        value.path == path
            || value.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    };
    let found: Vec<_> = parsed.effective.iter().filter(below).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let segment = |value: &&EffectiveValue| value.path.split('.').any(|part| part == word);
    let found: Vec<_> = parsed.effective.iter().filter(segment).collect();
    if !found.is_empty() || keys::all().iter().any(|key| key.path.split('.').any(|s| s == word)) {
        return Ok(found);
    }
    let words = keys::all().iter().filter_map(|key| key.path.rsplit('.').next());
    let near = nearest(word, words.filter(|word| *word != "*")).map(str::to_string);
    Err(UnknownTopic { word: crate::tree::shorten(word), near })
}

/// The text of `config explain`: for each key a line with value and origin, and below it type and
/// meaning. A topic that the file does not use is explained from the key table.
///
/// # Errors
/// [`UnknownTopic`] with the nearest word.
pub fn explain(parsed: &Parsed, topic: Option<&str>, width: usize) -> Result<String, UnknownTopic> {
    let values = select(parsed, topic)?;
    let mut out = String::new();
    for value in &values {
        let inactive = if value.acts { "" } else { "; no effect in this version" };
        let line = format!("{} = {}", value.path, value.value);
        let origin = format!("# {}{inactive}", value.origin);
        let one_line = line.chars().count() + 3 + origin.chars().count() <= width;
        let gap = if one_line { "   " } else { "\n    " };
        out.push_str(&format!("{line}{gap}{origin}\n"));
        out.push_str(&wrap("    ", &format!("{}: {}", value.type_name, value.meaning), width));
    }
    let topic = topic.unwrap_or_default();
    for key in keys::all().iter().filter(|key| values.is_empty() && mentions(key.path, topic)) {
        let default = if key.default.is_empty() { "(none)" } else { key.default };
        out.push_str(&format!(
            "{} = {default}   # not in the file\n",
            key.path.replace('*', "NAME")
        ));
        out.push_str(&wrap("    ", &format!("{}: {}", key.kind.noun(), key.meaning), width));
    }
    Ok(out)
}

fn mentions(path: &str, topic: &str) -> bool {
    path.split('.').any(|segment| segment == topic)
}

/// The same as data.
///
/// # Errors
/// [`UnknownTopic`] with the nearest word.
pub fn explain_json(
    parsed: &Parsed,
    topic: Option<&str>,
) -> Result<serde_json::Value, UnknownTopic> {
    let values = select(parsed, topic)?;
    Ok(serde_json::json!({ "schema": "pcluster.config/1", "values": values }))
}
