//! The two mouths of the command: stdout is data, stderr is talk.
//!
//! Invariant: every write goes through here, so that a closed pipe ends a command silently and no
//! page carries a control character. Colour is on stderr only, and only on a terminal (`anstream`
//! decides, `NO_COLOR` included). Deliberately absent: layout (`render`, `text`).
use crate::failure::Failure;
use serde::Serialize;
use std::io::{IsTerminal as _, Write, stdout};

/// Writes a page of data.
///
/// # Errors
/// [`Failure::ClosedPipe`] when the reader has gone, otherwise what kept it from being written.
pub fn data(page: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(harmless(page).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a view as documented JSON.
///
/// # Errors
/// As [`data`].
pub fn json<T: Serialize>(view: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(view)
        .map_err(|error| Failure::refused(format!("cannot write JSON: {error}")))?;
    data(&format!("{text}\n"))
}

/// Writes bytes exactly as they are.
///
/// # Errors
/// As [`data`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes a piece of a job's output without keeping signals from being heard: a reader that takes
/// its time (`| less`) must not make Ctrl-C wait.
///
/// # Errors
/// As [`data`].
pub async fn stream(piece: Vec<u8>) -> Result<(), Failure> {
    let written = tokio::task::spawn_blocking(move || bytes(&piece)).await;
    written.unwrap_or_else(|error| Err(Failure::refused(format!("cannot write: {error}"))))
}

/// Says something to the person. Nobody there to hear it is no failure.
pub fn talk(text: &str) {
    let mut out = anstream::stderr().lock();
    for line in harmless(text).split_inclusive('\n') {
        let _ = out.write_all(coloured(line).as_bytes());
    }
    let _ = out.flush();
}

/// Says one line.
pub fn line(text: impl AsRef<str>) {
    talk(&format!("{}\n", text.as_ref()));
}

/// Asks the person and waits for a line; nothing where nobody sees the question or can answer it.
///
/// # Errors
/// When the answer cannot be read.
pub fn ask(question: &str) -> Result<Option<String>, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(None);
    }
    talk(question);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_owned()))
}

/// The last guard: pages are cleaned cell by cell, this keeps whatever was forgotten off the
/// terminal.
fn harmless(page: &str) -> String {
    // Line breaks and tabs are the page's own (a script in `show` has both).
    page.split_inclusive(['\n', '\t'])
        .map(|part| match part.strip_suffix(['\n', '\t']) {
            Some(text) => crate::text::clean(text) + &part[text.len()..],
            None => crate::text::clean(part),
        })
        .collect()
}

fn coloured(line: &str) -> String {
    let styles = [("error:", "1;31"), ("warning:", "1;33"), ("note:", "1"), ("hint:", "1;36")];
    for (word, style) in styles {
        if let Some(rest) = line.strip_prefix(word) {
            return format!("\u{1b}[{style}m{word}\u{1b}[0m{rest}");
        }
    }
    line.to_owned()
}
