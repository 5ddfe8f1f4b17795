//! `docs/config.md`, made from the key table.
//!
//! Invariant: the document says what the parser does, because both read the same rows.
//! Deliberately absent: prose that is not in a row.
use crate::keys::{self, Key, Kind, Status};

/// The whole document.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# cluster.toml: every key\n\n\
         This page is generated from the table that the parser reads; `pcluster config explain` prints the same with your\n\
         values. Only `provider` is required. Sizes are powers of 1024 (`\"500 GB\"`), times are written as `\"90 s\"`,\n\
         `\"10 min\"`, `\"2 h\"`, `\"1 d\"` or `\"1-12:00:00\"`, prices as `\"$0.05/h\"`. Unknown keys are errors.\n\n\
         A key marked † is accepted and has no effect in this version; `pcluster config check` says so. One marked ‡ guards\n\
         money or safety: `pcluster up` refuses a file with it as long as this version does not act on it. Defaults in\n\
         parentheses are words, not values.\n",
    );
    let is_table = |key: &&&Key| matches!(key.kind, Kind::Table | Kind::TableList);
    let (tables, words): (Vec<&Key>, Vec<&Key>) =
        keys::all().iter().filter(|key| !key.path.contains('.')).partition(|key| is_table(&key));
    section(&mut out, "The top level", &words);
    out.push_str(
        "\n`compute = { … }` or `[compute]` is short for `[pools.compute]`, with the keys of a pool.\n",
    );
    for table in tables {
        let prefix = format!("{}.", table.path);
        let rows: Vec<&Key> =
            keys::all().iter().filter(|key| key.path.starts_with(&prefix)).collect();
        if !rows.is_empty() {
            section(&mut out, &title(table), &rows);
        }
    }
    out
}

/// `[pools.NAME]`, with what it is for.
fn title(table: &Key) -> String {
    let wild = keys::find(&format!("{}.*", table.path)).is_some_and(|key| key.kind == Kind::Table);
    let header = match (table.kind, wild) {
        (Kind::TableList, _) => format!("`[[{}]]`", table.path),
        (_, true) if table.path == "shares" => "`[shares.\"/PATH\"]`".into(),
        (_, true) => format!("`[{}.NAME]`", table.path),
        _ => format!("`[{}]`", table.path),
    };
    format!("{header}: {}", table.meaning)
}

fn section(out: &mut String, title: &str, rows: &[&Key]) {
    out.push_str(&format!("\n## {title}\n\n"));
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in rows {
        // The section's own name is in its title.
        let own = key.path.ends_with(".*")
            && key.kind == Kind::Table
            && key.path.matches('.').count() == 1;
        if own {
            continue;
        }
        let mark = match key.status {
            Status::Acts => "",
            Status::Noted => " †",
            Status::UpRefuses => " ‡",
        };
        let default = match key.default {
            "" => String::new(),
            words if words.starts_with('(') => words.to_string(),
            value => format!("`{value}`"),
        };
        let name = short(key.path);
        let (noun, meaning) = (escape(&key.kind.noun()), escape(key.meaning));
        out.push_str(&format!("| `{name}`{mark} | {noun} | {} | {meaning} |\n", escape(&default)));
    }
}

/// The key as it is written below its header.
fn short(path: &str) -> String {
    let wild = path.split('.').next().is_some_and(|first| {
        keys::find(&format!("{first}.*")).is_some_and(|key| key.kind == Kind::Table)
    });
    let rest = match path.split_once('.') {
        None => path,
        Some((_, rest)) if wild => rest.strip_prefix("*.").unwrap_or(rest),
        Some((_, rest)) => rest,
    };
    rest.replace('*', "NAME")
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}
