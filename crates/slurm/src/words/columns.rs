//! Columns as Slurm prints them: formats by letter (`%.8T`) and by name (`State:.8`), and tables of
//! accounting (`--format=State%20`).
//!
//! Invariant: widths, cuts and spaces are Slurm's to the character, because clients read by them.
//! Deliberately absent: which fields there are, and their values.
use pcluster_client::text::clean;

/// A field of a format, or a piece of text that is printed as it is.
#[derive(Debug, Clone, PartialEq)]
enum Piece<F> {
    Field { field: F, width: usize, right: bool, suffix: String },
    Literal(String),
}

/// A format of `squeue` or `sinfo`.
#[derive(Debug, Clone, PartialEq)]
pub struct Format<F> {
    pieces: Vec<Piece<F>>,
}

/// A value, and whether it is cut to its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub cut: bool,
}

impl<S: Into<String>> From<S> for Cell {
    fn from(text: S) -> Self {
        Self { text: text.into(), cut: true }
    }
}

impl Cell {
    /// A value that may be wider than its column.
    #[must_use]
    pub fn whole(text: impl Into<String>) -> Self {
        Self { text: text.into(), cut: false }
    }
}

/// A wider column is cut to this: no format makes a line of any length.
const WIDTH_MOST: usize = 4096;

impl<F> Format<F> {
    /// `%.18i %.9P`: a letter after `%`, a width, `.` for the right side. Doubled `%` are one. The
    /// second value is the letters that `known` does not know; they are printed as they stand.
    pub fn letters(text: &str, known: impl Fn(char) -> Option<F>) -> (Self, Vec<char>) {
        let (prefix, rest) = text.split_at(text.find('%').unwrap_or(text.len()));
        let (mut pieces, mut unknown) = (Vec::new(), Vec::new());
        if !prefix.is_empty() {
            pieces.push(Piece::Literal(prefix.to_owned()));
        }
        for token in rest.split('%').filter(|token| !token.is_empty()) {
            let (right, after) = match token.strip_prefix('.') {
                Some(after) => (true, after),
                None => (false, token),
            };
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let width = after[..digits].parse().unwrap_or(0).min(WIDTH_MOST);
            let mut letters = after[digits..].chars();
            let letter = letters.next().unwrap_or(' ');
            match known(letter) {
                Some(field) => {
                    let suffix = letters.as_str().to_owned();
                    pieces.push(Piece::Field { field, width, right, suffix });
                }
                None => {
                    unknown.push(letter);
                    pieces.push(Piece::Literal(format!("%{token}")));
                }
            }
        }
        (Self { pieces }, unknown)
    }

    /// `JobID,State:10,Reason:.30`: names, 20 wide where nothing is said. The second value is the
    /// names that `known` does not know; they print nothing.
    pub fn names(text: &str, known: impl Fn(&str) -> Option<F>) -> (Self, Vec<String>) {
        let (mut pieces, mut unknown) = (Vec::new(), Vec::new());
        for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            let (name, size) = match token.split_once(':') {
                Some((name, size)) => (name, size),
                None => (token, "20"),
            };
            let (right, size) = match size.strip_prefix('.') {
                Some(size) => (true, size),
                None => (false, size),
            };
            let digits = size.bytes().take_while(u8::is_ascii_digit).count();
            let (width, suffix) =
                (size[..digits].parse().unwrap_or(0).min(WIDTH_MOST), size[digits..].to_owned());
            match known(&name.to_ascii_lowercase()) {
                Some(field) => pieces.push(Piece::Field { field, width, right, suffix }),
                None => unknown.push(name.to_owned()),
            }
        }
        (Self { pieces }, unknown)
    }

    /// One line, with the value of each field.
    pub fn line(&self, value: impl Fn(&F) -> Cell) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field { field, width, right, suffix } => {
                    out.push_str(&placed(&value(field), *width, *right));
                    out.push_str(suffix);
                }
            }
        }
        out.push('\n');
        out
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = &F> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field { field, .. } => Some(field),
            Piece::Literal(_) => None,
        })
    }
}

fn placed(cell: &Cell, width: usize, right: bool) -> String {
    let text = clean(&cell.text);
    if width == 0 {
        return text;
    }
    let whole = right && !cell.cut;
    let shown: String = if whole { text } else { text.chars().take(width).collect() };
    if right { format!("{shown:>width$}") } else { format!("{shown:<width$}") }
}

/// Names of fields, four in a line.
#[must_use]
pub fn in_fours(names: &[&str]) -> String {
    let mut out = String::new();
    for line in names.chunks(4) {
        let names: Vec<String> = line.iter().map(|name| format!("{name:<19}")).collect();
        out.push_str(&names.join(" "));
        out.push('\n');
    }
    out
}

/// What happens to a value of an accounting table that is wider than its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wide {
    /// Cut, and marked with `+`.
    Marked,
    /// Cut.
    Cut,
    /// Printed whole.
    Whole,
}

/// One column of an accounting table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub heading: &'static str,
    /// Columns; negative for the left side, as Slurm counts it.
    pub width: i32,
    pub wide: Wide,
}

/// How an accounting table is separated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Look {
    #[default]
    Aligned,
    /// `-p`: separated, and once more at the end.
    Ended(String),
    /// `-P`: separated.
    Separated(String),
}

/// An accounting table: headings (with a rule below where it is aligned), then rows.
#[must_use]
pub fn table(columns: &[Column], rows: &[Vec<String>], look: &Look, header: bool) -> String {
    let mut out = String::new();
    if header {
        let headings: Vec<String> = columns.iter().map(|c| c.heading.to_owned()).collect();
        // Headings are cut without a mark.
        out.push_str(&row(columns, &headings, look, Some(Wide::Cut)));
        if *look == Look::Aligned {
            for column in columns {
                out.push_str(&"-".repeat(column.width.unsigned_abs() as usize));
                out.push(' ');
            }
            out.push('\n');
        }
    }
    for cells in rows {
        out.push_str(&row(columns, cells, look, None));
    }
    out
}

fn row(columns: &[Column], cells: &[String], look: &Look, wide: Option<Wide>) -> String {
    let mut out = String::new();
    for (at, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let text = clean(cell);
        match look {
            Look::Aligned => {
                out.push_str(&aligned(&text, column.width, wide.unwrap_or(column.wide)));
                out.push(' ');
            }
            Look::Ended(separator) => out.push_str(&format!("{text}{separator}")),
            Look::Separated(separator) => {
                if at > 0 {
                    out.push_str(separator);
                }
                out.push_str(&text);
            }
        }
    }
    out.push('\n');
    out
}

fn aligned(text: &str, width: i32, wide: Wide) -> String {
    let columns = width.unsigned_abs() as usize;
    let too_wide = text.chars().count() > columns;
    let shown: String = match wide {
        Wide::Marked if too_wide && columns > 0 => {
            text.chars().take(columns - 1).chain(std::iter::once('+')).collect()
        }
        Wide::Cut if too_wide => text.chars().take(columns).collect(),
        _ => text.to_owned(),
    };
    if width < 0 { format!("{shown:<columns$}") } else { format!("{shown:>columns$}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(format: &str, value: impl Fn(char) -> Cell) -> String {
        let (format, _) =
            Format::letters(format, |letter| letter.is_alphabetic().then_some(letter));
        format.line(|letter| value(*letter))
    }

    #[test]
    fn letters_have_a_side_and_a_width() {
        let value = |letter: char| Cell::from(format!("{letter}23456"));
        assert_eq!(said("%i|%.8T|%8t|%.3j|%3j", value), "i23456|  T23456|t23456  |j23|j23\n");
        // Doubled signs mean one, what stands before the first is kept.
        assert_eq!(said("\"%%i\",\"%%T\"", value), "\"i23456\",\"T23456\"\n");
        assert_eq!(said("%.2N", |_| Cell::whole("c[1-3]")), "c[1-3]\n");
    }

    #[test]
    fn unknown_letters_are_printed_as_they_stand() {
        let (format, unknown) = Format::letters("%-6N %i", |letter| (letter == 'i').then_some(()));
        assert_eq!((format.line(|()| "7".into()), unknown), ("%-6N 7\n".to_owned(), vec!['-']));
    }

    #[test]
    fn names_are_twenty_wide() {
        let known = |name: &str| (name != "nonsense").then(|| name.to_owned());
        let (format, unknown) = Format::names("JobArrayID,State:4,Reason:.8,a:|,nonsense", known);
        assert_eq!(unknown, ["nonsense"]);
        let line = format.line(|name| Cell::from(name.as_str()));
        assert_eq!(line, format!("{:<20}stat  reasona|\n", "jobarrayid"));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column { heading: "JobID", width: -12, wide: Wide::Marked },
            Column { heading: "State", width: 10, wide: Wide::Marked },
            Column { heading: "NCPUS", width: 3, wide: Wide::Whole },
        ]
    }

    #[test]
    fn accounting_tables_mark_what_they_cut() {
        let rows = vec![vec!["146".into(), "CANCELLED by 0".into(), "12345".into()]];
        let page = table(&columns(), &rows, &Look::Aligned, true);
        let expected = "JobID             State NCP \n------------ ---------- --- \n146          CANCELLED+ 12345 \n";
        assert_eq!(page, expected);
        let page = table(&columns(), &rows, &Look::Ended("|".into()), true);
        assert_eq!(page, "JobID|State|NCPUS|\n146|CANCELLED by 0|12345|\n");
        let page = table(&columns(), &rows, &Look::Separated(";".into()), false);
        assert_eq!(page, "146;CANCELLED by 0;12345\n");
    }

    proptest! {
        #[test]
        fn no_format_is_too_strange(text in "[%.0-9a-z:,|ü -]{0,24}") {
            let (format, _) = Format::letters(&text, Some);
            let _ = format.line(|letter| letter.to_string().into());
            let (format, _) = Format::names(&text, |name| Some(name.to_owned()));
            let _ = format.line(|name| name.as_str().into());
        }
    }
}
