//! Why a Slurm command ends badly: lines on stderr, hints after them, an exit code.
//!
//! Invariant: the first lines are Slurm's own words, which clients match; what helps people comes
//! after them as `hint:` lines. Deliberately absent: where the words come from.
use pcluster_client::failure::Failure;
use pcluster_client::say;

/// A refusal in Slurm's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whole lines for stderr.
    pub lines: Vec<String>,
    pub hints: Vec<String>,
    pub code: u8,
}

impl Refusal {
    /// A first line as it stands.
    #[must_use]
    pub fn plain(line: impl Into<String>, code: u8) -> Self {
        Self { lines: vec![line.into()], hints: Vec::new(), code }
    }

    /// `COMMAND: error: TEXT`.
    #[must_use]
    pub fn error(command: &str, text: impl AsRef<str>, code: u8) -> Self {
        Self::plain(format!("{command}: error: {}", text.as_ref()), code)
    }

    /// `COMMAND: fatal: TEXT`, exit code 1.
    #[must_use]
    pub fn fatal(command: &str, text: impl AsRef<str>) -> Self {
        Self::plain(format!("{command}: fatal: {}", text.as_ref()), 1)
    }

    /// One more line.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The facts and hints of a failure of ours, as hints.
    #[must_use]
    pub fn because(mut self, failure: &Failure) -> Self {
        if let Failure::Told { problem, .. } = failure {
            self.hints.push(problem.message.clone());
            let facts = problem.facts.iter();
            self.hints.extend(facts.map(|(label, text)| format!("{label} {text}").trim().into()));
            self.hints.extend(problem.hints.iter().cloned());
        }
        self
    }

    /// The end of `--immediate`: `SLURM_EXIT_IMMEDIATE` is its exit code.
    #[must_use]
    pub fn of_immediate(mut self) -> Self {
        let own = std::env::var("SLURM_EXIT_IMMEDIATE").ok();
        self.code = own_code(self.code, own.as_deref());
        self
    }

    /// The text for stderr.
    #[must_use]
    pub fn text(&self) -> String {
        let clean = pcluster_client::text::clean;
        let mut out = String::new();
        for line in &self.lines {
            out.push_str(&clean(line));
            out.push('\n');
        }
        for hint in &self.hints {
            out.push_str(&format!("hint: {}\n", clean(hint)));
        }
        out
    }

    /// Says it, and gives the exit code.
    #[must_use]
    pub fn tell(&self) -> u8 {
        say::talk(&self.text());
        self.code
    }

    /// As `tell`, for `sbatch`, `srun` and `salloc`: `SLURM_EXIT_ERROR` tells their errors from what
    /// a program returned.
    #[must_use]
    pub fn tell_by_variable(&self) -> u8 {
        let own = std::env::var("SLURM_EXIT_ERROR").ok();
        let _ = self.tell();
        own_code(self.code, own.as_deref())
    }
}

/// Wrong options keep their 255, as in Slurm; so does an error where the variable says nothing.
fn own_code(code: u8, own: Option<&str>) -> u8 {
    let own = own.and_then(|text| text.trim().parse::<i32>().ok());
    let own = own.and_then(|number| u8::try_from(number & 0xff).ok()).filter(|code| *code != 0);
    if code == 1 { own.unwrap_or(code) } else { code }
}

#[cfg(test)]
mod tests {
    use super::own_code;

    #[test]
    fn an_error_may_have_a_code_of_its_own() {
        let codes =
            [None, Some("7"), Some("0"), Some("x"), Some("300")].map(|own| own_code(1, own));
        assert_eq!(codes, [1, 7, 1, 1, 44]);
        assert_eq!(own_code(255, Some("7")), 255);
    }
}
