//! `--help`, `--usage` and `--version`, made of the tables.
use super::{Effect, Opt, Table, Takes, Words};

/// Columns of the help's option names.
const NAMES: usize = 34;
/// Columns of a line of `--usage`.
const WIDTH: usize = 78;

/// `slurm 23.11.10`, which clients compare.
#[must_use]
pub fn version() -> String {
    format!("{}\n", crate::VERSION)
}

/// The page that `--help`, `--usage` or `--version` asks for.
#[must_use]
pub fn page(table: &Table, words: &Words) -> Option<String> {
    match words.last_of(&["help", "usage", "version"])?.option.name {
        "help" => Some(help(table)),
        "usage" => Some(usage(table)),
        _ => Some(version()),
    }
}

/// What the command is for, its options, examples.
#[must_use]
pub fn help(table: &Table) -> String {
    let mut out = format!("{}\n\n{}\n\nOptions:\n", synopsis(table), table.purpose);
    let (used, rest): (Vec<&Opt>, Vec<&Opt>) = table
        .options()
        .filter(|option| option.long == option.name)
        .partition(|option| option.effect == Effect::Used && !option.help.is_empty());
    for option in used {
        let names = names_of(option);
        if names.chars().count() < NAMES - 2 {
            out.push_str(&format!("  {names:<width$}{}\n", option.help, width = NAMES - 2));
        } else {
            out.push_str(&format!("  {names}\n{:NAMES$}{}\n", "", option.help));
        }
    }
    let silent = |option: &&&Opt| matches!(option.effect, Effect::Silent(_));
    let refused = |option: &&&Opt| matches!(option.effect, Effect::Refused(_));
    out.push_str(&paragraph("Taken, without effect here", rest.iter().filter(silent)));
    out.push_str(&paragraph("Refused, with the reason", rest.iter().filter(refused)));
    if !table.examples.is_empty() {
        out.push_str(&format!("\nExamples:\n{}", table.examples));
    }
    out
}

/// All options in short.
#[must_use]
pub fn usage(table: &Table) -> String {
    let words = table.options().filter(|option| option.long == option.name).map(|option| {
        let value = value_of(option);
        match option.short {
            Some(letter) => format!("[-{letter}|--{}{value}]", option.long),
            None => format!("[--{}{value}]", option.long),
        }
    });
    let first = format!("Usage: {}", table.command);
    let mut out = wrapped(&first, words.chain([table.operands.to_owned()]));
    out.push('\n');
    out
}

fn synopsis(table: &Table) -> String {
    format!("Usage: {} [options] {}", table.command, table.operands).trim_end().to_owned()
}

fn value_of(option: &Opt) -> String {
    match option.takes {
        Takes::Nothing => String::new(),
        Takes::Value(name) => format!("={name}"),
        Takes::Maybe(name) | Takes::MaybeNext(name) => format!("[={name}]"),
    }
}

fn names_of(option: &Opt) -> String {
    let letter = option.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    format!("{letter}--{}{}", option.long, value_of(option))
}

fn paragraph<'a>(title: &str, options: impl Iterator<Item = &'a &'a Opt>) -> String {
    let names: Vec<String> = options.map(|option| format!("--{}", option.long)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("\n{title}:\n{}\n", wrapped(" ", names.into_iter()))
}

fn wrapped(first: &str, words: impl Iterator<Item = String>) -> String {
    let indent = " ".repeat(first.chars().count().min(15));
    let mut out = first.to_owned();
    let mut column = first.chars().count();
    for word in words.filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&indent);
            column = indent.chars().count();
        }
        out.push(' ');
        out.push_str(&word);
        column += 1 + length;
    }
    out
}
