//! Records of `Key=Value` in lines, or each on one line.
//!
//! Invariant: the first line starts at the first column, the others are indented by three; with
//! `-o` all stand on one line, separated by one space. Deliberately absent: which keys there are.

/// The lines of one record.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Vec<String>,
}

impl Lines {
    /// One more line.
    pub fn push(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// One more line where there is something to say.
    pub fn push_some(&mut self, line: Option<String>) {
        self.lines.extend(line);
    }

    /// The record as text; `end` stands after its last line.
    #[must_use]
    pub fn text(&self, one_line: bool, end: &str) -> String {
        let lines: Vec<String> =
            self.lines.iter().map(|l| pcluster_client::text::clean(l)).collect();
        if one_line {
            return format!("{}\n", lines.join(" "));
        }
        format!("{}\n{end}", lines.join("\n   "))
    }
}
