//! Every TOML block of the project's own documents is a file that `config check` takes, and so is
//! `cluster.toml.example`, also with its comments taken off.

use crate::common::{machine, root};
use pcluster_config::{Source, parse, render_all};
use std::path::{Path, PathBuf};

fn documents(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The blocks tagged `toml`, with the line each begins on. `toml-fragment` is skipped.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim()) {
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, "```toml") => open = Some((at + 2, String::new())),
            _ => {}
        }
    }
    blocks
}

fn check(name: &str, text: &str) {
    let source =
        Source { file_name: name.into(), folder: "/srv/cluster".into(), in_system_dir: false };
    let parsed = parse(text, &source, &machine());
    assert!(parsed.problems.is_empty(), "{}", render_all(&parsed, text, 120, false));
}

#[test]
fn toml_blocks_of_the_documents_are_right() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    assert!(!found.is_empty());
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a document");
        for (line, block) in blocks(&text) {
            check(&format!("{} (block at line {line})", path.display()), &block);
        }
    }
}

#[test]
fn the_example_is_right_as_it_is() {
    let text = std::fs::read_to_string(root().join("cluster.toml.example")).expect("there");
    check("cluster.toml.example", &text);
}

#[test]
fn the_full_form_of_the_example_is_right_too() {
    let text = std::fs::read_to_string(root().join("cluster.toml.example")).expect("there");
    let (_, full) = text.split_once("# ---").expect("the full form begins with a rule");
    let full = full.split_once('\n').map_or("", |(_, rest)| rest);
    // `#key` is the form, `# words` are comments.
    let uncommented: String = full
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    check("cluster.toml.example, full form", &uncommented);
    for key in pcluster_config::keys::all() {
        let last = key.path.rsplit('.').find(|part| *part != "*").expect("no row is only stars");
        assert!(uncommented.contains(last), "the full form does not mention {}", key.path);
    }
}
