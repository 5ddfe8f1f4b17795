//! Problems, notes and costs as people see them on a terminal.
//!
//! Invariant: a rendering is right without colour, and text of the file reaches the terminal only
//! through the renderer, which shows control characters instead of sending them. Deliberately
//! absent: writing anywhere.
use crate::check::Summary;
use crate::problem::{Note, Problem};
use crate::{Level, Parsed};
use annotate_snippets::{AnnotationKind, Renderer, Snippet};
use pcluster_model::{MicroUsd, Price};

/// One problem with its line and caret, then its hints; ends with a line end.
#[must_use]
pub fn render(problem: &Problem, text: &str, file_name: &str, width: usize, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(width.max(40));
    let title = annotate_snippets::Level::ERROR.primary_title(problem.message.as_str());
    let mut out = match shown_line(problem, text) {
        Some((line, span)) => {
            let annotation = AnnotationKind::Primary.span(span).label(problem.label.as_str());
            let snippet = Snippet::source(line)
                .line_start(problem.line)
                .path(file_name)
                .annotation(annotation);
            renderer.render(&[title.element(snippet)])
        }
        None => {
            let title = renderer.render(&[annotate_snippets::Group::with_title(title)]);
            format!("{title}\n --> {file_name}")
        }
    };
    out.push('\n');
    for hint in &problem.hints {
        out.push_str(&paint("hint", "\x1b[1m\x1b[96m", color));
        out.push_str(": ");
        out.push_str(hint);
        out.push('\n');
    }
    out
}

/// Only the line the problem begins on: a table or list may run over many.
fn shown_line<'t>(problem: &Problem, text: &'t str) -> Option<(&'t str, std::ops::Range<usize>)> {
    let span = problem.span.clone()?;
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.split('\n').next()?.trim_end_matches('\r');
    let from = (span.start - start).min(line.len());
    let to = (span.end.max(span.start) - start).min(line.len());
    Some((line, from..to.max(from)))
}

fn paint(word: &str, style: &str, color: bool) -> String {
    if color { format!("{style}{word}\x1b[0m") } else { word.to_string() }
}

/// Every problem of a file, an empty line between two, and how many there are.
#[must_use]
pub fn render_all(parsed: &Parsed, text: &str, width: usize, color: bool) -> String {
    let problems: Vec<String> = parsed
        .problems
        .iter()
        .map(|problem| render(problem, text, &parsed.file_name, width, color))
        .collect();
    let mut out = problems.join("\n");
    if problems.len() > 1 {
        out.push_str(&format!("\n{}: {} errors\n", parsed.file_name, problems.len()));
    }
    out
}

/// One line for each note.
#[must_use]
pub fn render_notes(notes: &[Note], color: bool) -> String {
    let line = |note: &Note| {
        let (word, style) = match note.level {
            Level::Note => ("note", "\x1b[1m\x1b[92m"),
            Level::Warning => ("warning", "\x1b[1m\x1b[93m"),
        };
        let place = if note.line > 0 { format!(" (line {})", note.line) } else { String::new() };
        format!("{}: {}{place}\n", paint(word, style, color), note.text)
    };
    notes.iter().map(line).collect()
}

/// A sum per hour in cents, as one reads it: `$0.14/h`.
fn per_hour(price: Price) -> String {
    format!("{}/h", MicroUsd(price.0))
}

/// A single price with the digits that matter: `$0.083`.
fn part(price: Option<Price>) -> String {
    match price {
        None => "price unknown".into(),
        Some(price) if price.0 < 1_000_000 && price.0 > 0 => {
            format!("${}.{:03}", price.0 / 1_000_000, (price.0 % 1_000_000 + 500) / 1000)
        }
        Some(price) => MicroUsd(price.0).to_string(),
    }
}

/// What the file costs, as `config check` prints it.
#[must_use]
pub fn render_summary(summary: &Summary, file_name: &str, width: usize) -> String {
    let total = |price: Price, unknown: usize| {
        if unknown == 0 { per_hour(price) } else { format!("{} + ?", per_hour(price)) }
    };
    let rest_parts: Vec<String> = summary
        .rest
        .iter()
        .map(|line| match line.count {
            None => unbroken(format!("{} {}", line.label, part(line.each))),
            Some(count) => unbroken(format!("{count} x {} {}", line.label, part(line.each))),
        })
        .collect();
    let most_parts: Vec<String> = summary
        .most
        .iter()
        .filter_map(|line| Some(unbroken(format!("{} x {}", line.count?, line.label))))
        .collect();
    let month_note = match summary.budget {
        Some(_) => "the budget stops launches there".to_string(),
        None if summary.month.0 == 0 => String::new(),
        None => "if all nodes ran all month; no budget caps it".to_string(),
    };
    let rest = total(summary.rest_per_hour, summary.rest_unknown);
    let most = total(summary.most_per_hour, summary.most_unknown);
    let month = match summary.budget {
        None if summary.most_unknown > 0 => format!("{} + ?", summary.month),
        _ => summary.budget.unwrap_or(summary.month).to_string(),
    };
    let cell = [rest.len(), most.len(), month.len()].into_iter().max().unwrap_or(0);
    let mut out = format!("{file_name} is right\n");
    for (name, amount, parts) in [
        ("at rest", format!("{rest:>cell$}"), list(&rest_parts, "nothing runs")),
        ("at most", format!("{most:>cell$}"), list(&most_parts, "no nodes")),
        ("in a month", format!("{month:<cell$}"), month_note),
    ] {
        out.push_str(&wrap(&format!("  {name:<10} {amount}   "), &parts, width));
    }
    if summary.most_unknown > 0 {
        out.push_str("  ? is what has no known price\n");
    }
    out
}

/// A part that a line is not broken in.
fn unbroken(part: String) -> String {
    part.replace(' ', "\u{a0}")
}

fn list(parts: &[String], none: &str) -> String {
    if parts.is_empty() { none.to_string() } else { parts.join(", ") }
}

/// `text` behind `prefix`, broken at spaces (but not at U+00A0, which becomes one), its further
/// lines below its first.
pub(crate) fn wrap(prefix: &str, text: &str, width: usize) -> String {
    let indent = prefix.chars().count();
    let room = width.max(indent + 20);
    let mut out = String::new();
    let mut line = prefix.to_string();
    let mut empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let needed = line.chars().count() + word.chars().count() + usize::from(!empty);
        if !empty && needed > room {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out.replace('\u{a0}', " ")
}
