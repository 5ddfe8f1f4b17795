//! Fields of accounting commands, and the choice of them: `--format=JobID,State%20`.
//!
//! Invariant: a name may be shortened to any beginning, the first field in order is meant, as in
//! Slurm. Deliberately absent: the fields themselves.
use crate::refusal::Refusal;
use crate::words::columns::{Column, Look, Wide, in_fours, table};

/// One field of rows of the kind `R`.
#[derive(Debug)]
pub struct Field<R: 'static> {
    pub name: &'static str,
    /// Columns; negative for the left side.
    pub width: i32,
    pub wide: Wide,
    pub value: fn(&R) -> String,
}

/// A field whose values are cut and marked.
pub const fn text<R>(name: &'static str, width: i32, value: fn(&R) -> String) -> Field<R> {
    Field { name, width, wide: Wide::Marked, value }
}

/// A field of moments, which are cut.
pub const fn date<R>(name: &'static str, width: i32, value: fn(&R) -> String) -> Field<R> {
    Field { name, width, wide: Wide::Cut, value }
}

/// A field of numbers, which stay whole.
pub const fn number<R>(name: &'static str, width: i32, value: fn(&R) -> String) -> Field<R> {
    Field { name, width, wide: Wide::Whole, value }
}

/// A field with the column that it has in this call.
#[derive(Debug)]
pub struct Chosen<R: 'static> {
    pub column: Column,
    pub field: &'static Field<R>,
}

/// The fields of a format.
///
/// # Errors
/// The word that is no field.
pub fn choose<R>(fields: &'static [Field<R>], format: &str) -> Result<Vec<Chosen<R>>, String> {
    let mut chosen = Vec::new();
    for word in format.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word.eq_ignore_ascii_case("all") {
            chosen.extend(fields.iter().map(|field| taken(field, None)));
            continue;
        }
        let (name, width) = match word.split_once('%') {
            Some((name, width)) => (name, width.parse::<i32>().ok().filter(|w| w.abs() <= 4096)),
            None => (word, None),
        };
        let lower = name.to_ascii_lowercase();
        let begins = |field: &&Field<R>| field.name.to_ascii_lowercase().starts_with(&lower);
        let field = fields.iter().find(begins).ok_or_else(|| name.to_owned())?;
        chosen.push(taken(field, width.filter(|width| *width != 0)));
    }
    Ok(chosen)
}

/// The fields of a format of this command.
///
/// # Errors
/// A word that is no field, with the nearest one.
pub fn columns<R>(
    command: &str,
    fields: &'static [Field<R>],
    format: &str,
) -> Result<Vec<Chosen<R>>, Refusal> {
    choose(fields, format).map_err(|word| {
        let meant = nearest(fields, &word)
            .map_or_else(String::new, |name| format!("did you mean {name}? "));
        Refusal::error(command, format!("Invalid field requested: \"{word}\""), 1)
            .hint(format!("{meant}{command} --helpformat lists all"))
    })
}

/// The field that shares the longest beginning with what was written.
fn nearest<R>(fields: &'static [Field<R>], word: &str) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    let shared = |name: &str| {
        name.to_ascii_lowercase().bytes().zip(lower.bytes()).take_while(|(a, b)| a == b).count()
    };
    fields
        .iter()
        .map(|field| field.name)
        .filter(|name| shared(name) >= 3)
        .max_by_key(|name| (shared(name), std::cmp::Reverse(name.len())))
}

fn taken<R>(field: &'static Field<R>, width: Option<i32>) -> Chosen<R> {
    let width = width.unwrap_or(field.width);
    Chosen { column: Column { heading: field.name, width, wide: field.wide }, field }
}

/// The page of these rows.
#[must_use]
pub fn page<R>(chosen: &[Chosen<R>], rows: &[R], look: &Look, header: bool) -> String {
    let columns: Vec<Column> = chosen.iter().map(|one| one.column.clone()).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| chosen.iter().map(|one| (one.field.value)(row)).collect()).collect();
    table(&columns, &cells, look, header)
}

/// The names of all fields, four in a line.
#[must_use]
pub fn help_format<R>(fields: &[Field<R>]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    in_fours(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field<u32>] =
        &[text("JobID", 12, u32::to_string), number("JobName", 10, u32::to_string)];

    #[test]
    fn a_word_that_is_no_field_is_told_with_the_nearest() {
        assert_eq!(columns("sx", FIELDS, "jobn%4,JobID").map(|chosen| chosen.len()), Ok(2));
        let said = |word: &str| columns("sx", FIELDS, word).err().map(|refusal| refusal.text());
        let text = "sx: error: Invalid field requested: \"jobx\"\n\
                    hint: did you mean JobID? sx --helpformat lists all\n";
        assert_eq!(said("jobx").as_deref(), Some(text));
        let text = "sx: error: Invalid field requested: \"foo\"\nhint: sx --helpformat lists all\n";
        assert_eq!(said("foo").as_deref(), Some(text));
    }
}
