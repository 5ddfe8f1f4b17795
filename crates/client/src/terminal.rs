//! This command's own terminal, for programs elsewhere that have it as theirs.
//!
//! Invariant: the terminal is as it was when this is dropped.
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode.
#[derive(Debug)]
pub struct Raw(Option<Termios>);

impl Raw {
    /// Every key goes to the task; without a terminal nothing changes.
    #[must_use]
    pub fn enter() -> Self {
        let stdin = std::io::stdin();
        let Some(before) = isatty(&stdin).then(|| tcgetattr(&stdin).ok()).flatten() else {
            return Self(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        let _ = tcsetattr(&stdin, OptionalActions::Drain, &raw);
        Self(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Whether a program elsewhere can have this terminal: keys come from one, and what it writes goes
/// to one.
#[must_use]
pub fn is_here() -> bool {
    isatty(std::io::stdin()) && isatty(std::io::stdout())
}

/// Rows and columns, or what terminals had first.
#[must_use]
pub fn size() -> (u16, u16) {
    let size = tcgetwinsize(std::io::stdin()).or_else(|_| tcgetwinsize(std::io::stdout()));
    match size {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}
