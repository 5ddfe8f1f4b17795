//! What a finished command said, and the running of commands with a deadline.
use crate::within;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A finished command.
#[derive(Debug, Clone)]
pub struct Said {
    /// As a shell shows it: 128 + signal for a command that a signal ended.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Runs `command` to its end, its output going to files in `folder`.
    ///
    /// # Panics
    /// When it has not ended in time; it is killed then.
    pub fn of(command: &mut Command, folder: &Path, patience: Duration) -> Self {
        Started::new(command, folder).ended(patience)
    }

    /// As [`Said::of`]; `None` when it had to be killed.
    pub fn try_of(command: &mut Command, folder: &Path, patience: Duration) -> Option<Self> {
        Started::new(command, folder).try_ended(patience).ok()
    }

    /// # Panics
    /// When the code is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// # Panics
    /// When the first line of stderr does not start so.
    #[track_caller]
    pub fn expect_error(&self, head: &str) -> &Self {
        assert!(self.err.starts_with(head), "expected {head:?}: {self:#?}");
        self
    }

    /// # Panics
    /// When stderr lacks one of these.
    #[track_caller]
    pub fn expect_words(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.err.contains(word), "expected {word:?}: {self:#?}");
        }
        self
    }

    /// The first word of stdout: what `submit` prints.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn id(&self) -> String {
        let id = self.out.trim();
        assert!(!id.is_empty() && !id.contains(char::is_whitespace), "no id: {self:#?}");
        id.to_owned()
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Started {
    child: Option<Child>,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
    what: String,
}

impl Started {
    /// Starts it, with its output in files below `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn new(command: &mut Command, folder: &Path) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (out, err) =
            (folder.join(format!("said-{number}.out")), folder.join(format!("said-{number}.err")));
        command.stdout(File::create(&out).expect("a file can be made"));
        command.stderr(File::create(&err).expect("a file can be made"));
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Self { child: Some(child), out, err, what }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).unwrap_or(0)
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn err(&self) -> String {
        text(&self.err)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that has not come in time; it is killed then.
    pub fn ended(self, patience: Duration) -> Said {
        self.try_ended(patience).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`Started::ended`], with words instead of a panic.
    ///
    /// # Errors
    /// When the end has not come in time.
    pub fn try_ended(mut self, patience: Duration) -> Result<Said, String> {
        let mut child = self.child.take().expect("a command ends once");
        let ended = within(patience, || child.try_wait().expect("a child can be waited for"));
        let Some(status) = ended else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "{} has not ended in time: {}{}",
                self.what,
                self.out(),
                self.err()
            ));
        };
        let said = Said { code: shell_code(status), out: self.out(), err: self.err() };
        let _ = fs::remove_file(&self.out);
        let _ = fs::remove_file(&self.err);
        Ok(said)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// 128 + signal, as shells show it.
#[must_use]
pub fn shell_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Nothing to read.
#[must_use]
pub fn no_input() -> Stdio {
    Stdio::null()
}
