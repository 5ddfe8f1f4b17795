//! Text for terminals: cleaning, cutting, tables, labelled facts, amounts.
//!
//! Invariant: nothing that came from outside reaches a page without passing [`clean`], so that no
//! name can move the cursor, forge a line or turn the writing direction. Deliberately absent:
//! colour, and where text goes.

/// True for what must not reach a terminal: controls, and marks that reorder or hide text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{061c}' | '\u{feff}')
}

/// `text` with every control character and direction mark shown as `\n` or `\u{1b}`.
#[must_use]
pub fn clean(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Columns that `text` takes (one per character: names are mostly ASCII).
#[must_use]
pub fn width_of(text: &str) -> usize {
    text.chars().count()
}

/// `text` in at most `width` columns; what is cut off is marked by `…`.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let mut out: String = text.chars().take(width - 1).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// On which side a cell keeps its spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// `text` filled up to `width` columns.
#[must_use]
pub fn pad(text: &str, width: usize, side: Side) -> String {
    match side {
        Side::Left => format!("{text:<width$}"),
        Side::Right => format!("{text:>width$}"),
    }
}

/// A column: its heading, alignment, and the width beyond which cells are cut.
#[derive(Debug, Clone)]
pub struct Column {
    pub heading: &'static str,
    pub side: Side,
    pub at_least: usize,
    pub at_most: usize,
}

impl Column {
    #[must_use]
    pub const fn left(heading: &'static str) -> Self {
        Self { heading, side: Side::Left, at_least: 0, at_most: usize::MAX }
    }

    #[must_use]
    pub const fn right(heading: &'static str) -> Self {
        Self { heading, side: Side::Right, at_least: 0, at_most: usize::MAX }
    }

    #[must_use]
    pub const fn at_least(mut self, columns: usize) -> Self {
        self.at_least = columns;
        self
    }

    #[must_use]
    pub const fn at_most(mut self, columns: usize) -> Self {
        self.at_most = columns;
        self
    }
}

/// Rows under headings, one space between columns, lines cut at `width`, no spaces at the ends.
#[must_use]
pub fn table(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width_of(cell));
            let widest = cells.max().unwrap_or(0).min(column.at_most);
            widest.max(width_of(column.heading)).max(column.at_least)
        })
        .collect();
    let line = |cells: &[&str]| {
        let mut out = String::new();
        for ((cell, column), wide) in cells.iter().zip(columns).zip(&widths) {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&pad(&cut(cell, column.at_most.max(*wide)), *wide, column.side));
        }
        format!("{}\n", cut(out.trim_end(), width))
    };
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    let mut out = line(&headings);
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| clean(cell)).collect();
        out.push_str(&line(&cells.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    out
}

/// Breaks `text` at spaces into lines of at most `width` columns; a word longer than that stays
/// whole, because commands and paths are copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if width_of(text) <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && width_of(&line) + width_of(word.trim_end()) > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(word);
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// The first line of a page. One that is too long goes on below itself, indented.
#[must_use]
pub fn headline(text: &str, width: usize) -> String {
    let lines = wrapped(&clean(text), width.saturating_sub(2).max(24));
    format!("{}\n", lines.join("\n  "))
}

/// Lines `  label  text`, text starting `label_width` columns after the label; long texts go on
/// below themselves.
#[must_use]
pub fn facts(facts: &[(String, String)], label_width: usize, width: usize) -> String {
    let mut out = String::new();
    let room = width.saturating_sub(2 + label_width).max(24);
    for (label, text) in facts {
        let mut label = clean(label);
        if width_of(&label) >= label_width {
            label.push(' ');
        }
        for (at, part) in wrapped(&clean(text), room).iter().enumerate() {
            let shown = if at == 0 { label.as_str() } else { "" };
            let line = format!("  {}{part}", pad(shown, label_width, Side::Left));
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// Several texts in one line, two spaces and more between them.
#[must_use]
pub fn label_line(label: &str, text: &str, label_width: usize, width: usize) -> String {
    facts(&[(label.to_owned(), text.to_owned())], label_width, width)
}

/// `1,904`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 job`, `3 jobs`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {one}{ending}", thousands(number))
}

/// Money as in tables: `$0.09`, `<$0.01`, `$1,250.00`.
#[must_use]
pub fn money(micro_usd: i64) -> String {
    pcluster_model::MicroUsd(micro_usd).to_string()
}

/// A price per hour without its unit: `$2.02`, `$0.0832`.
#[must_use]
pub fn hourly(micro_usd: i64) -> String {
    let price = pcluster_model::Price(micro_usd).to_string();
    price.trim_end_matches("/h").to_owned()
}

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const TB: u64 = 1 << 40;

/// Tenths of `scale` in `bytes`, rounded: `14.1`, `16`.
fn in_units(bytes: u64, scale: u64) -> String {
    let tenths = (u128::from(bytes) * 10 + u128::from(scale / 2)) / u128::from(scale);
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        return ((tenths + 5) / 10).to_string();
    }
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Memory in a table: `8G`, `512M`, `1.5T`, `0`.
#[must_use]
pub fn size_short(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        b if b >= TB => format!("{}T", in_units(b, TB)),
        b if b >= GB => format!("{}G", in_units(b, GB)),
        b if b >= MB => format!("{}M", in_units(b, MB)),
        b => format!("{}K", in_units(b, KB)),
    }
}

/// Memory in a sentence: `16 GB`, `58 MB`.
#[must_use]
pub fn size_words(bytes: u64) -> String {
    let short = size_short(bytes);
    match short.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(number) => format!("{number} {}B", &short[number.len()..]),
        None => "0 B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_marks_what_is_missing() {
        assert_eq!(cut("assembly", 8), "assembly");
        assert_eq!(cut("assembly of it", 9), "assembly…");
        assert_eq!(cut("x", 0), "");
    }

    #[test]
    fn cleaning_shows_what_a_terminal_would_obey() {
        assert_eq!(clean("a\u{1b}]8;;x\u{7}b\nc"), "a\\u{1b}]8;;x\\u{7}b\\nc");
        assert_eq!(clean("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn long_facts_go_on_below_themselves() {
        let text = "one two three four five six seven".to_owned();
        let page = facts(&[("label".into(), text)], 8, 36);
        assert_eq!(page, "  label   one two three four five\n          six seven\n");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(size_short(240 << 30), "240G");
        assert_eq!(size_short((14 << 30) + (107 << 20)), "14.1G");
        assert_eq!(size_words(58 << 20), "58 MB");
        assert_eq!(thousands(1_904), "1,904");
        assert_eq!(counted(1, "boot"), "1 boot");
    }
}
