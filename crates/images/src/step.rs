//! Steps of a build: programs that are run, what they say, and how a failure is told.
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// So many lines of a step that failed are shown.
const LAST_LINES: usize = 12;

/// A build that cannot go on, or an image that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A step of a recipe failed; its last lines follow.
    #[error("step {step:?} failed: {why}{}", shown(lines))]
    Step { step: String, why: String, lines: Vec<String> },
    /// Something that this machine lacks, and what helps.
    #[error("{missing}\nhint: {help}")]
    Missing { missing: String, help: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The recipe or the name is wrong.
    #[error("{0}")]
    Wrong(String),
}

fn shown(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + "\n  " + line)
}

impl ImageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    pub(crate) fn missing(missing: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Missing { missing: missing.into(), help: help.into() }
    }
}

/// Hears what a build is at.
pub trait Progress: Sync {
    /// A step begins.
    fn step(&self, words: &str);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
}

/// Runs the programs of one build; all they say goes to one log.
pub(crate) struct Steps<'a> {
    pub progress: &'a dyn Progress,
    pub log: PathBuf,
}

impl Steps<'_> {
    /// Runs a program as the step `step`; it ends with this process.
    pub fn run(&self, step: &str, command: Command) -> Result<(), ImageError> {
        self.progress.step(step);
        let log = self.open()?;
        let said = log.try_clone().map_err(ImageError::io("cannot share the log"))?;
        self.finished(step, bound(&command).stdout(log).stderr(said)).map(drop)
    }

    /// Runs a program for what it prints.
    pub fn ask(&self, step: &str, command: Command) -> Result<String, ImageError> {
        let log = self.open()?;
        let said = self.finished(step, bound(&command).stdout(Stdio::piped()).stderr(log))?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    fn open(&self) -> Result<File, ImageError> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        log.map_err(ImageError::io(format!("cannot write {}", self.log.display())))
    }

    /// Lets it run to its end, and gives what it has printed to a pipe.
    fn finished(&self, step: &str, command: &mut Command) -> Result<Vec<u8>, ImageError> {
        let why = match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(output.stdout),
            Ok(output) => output.status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(ImageError::Step { step: step.to_owned(), why, lines: last_lines(&self.log) })
    }
}

/// The command, ended by the kernel when this process ends: a build that is killed leaves nothing
/// running. `setpriv` is part of every util-linux.
fn bound(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]);
    bound.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

fn last_lines(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(|line| plain(line)).collect()
}

/// Without what a terminal would obey.
fn plain(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).collect()
}

/// Where `program` is: in a folder of `PATH`, or in one that every system has and a daemon's `PATH` may lack.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).collect::<Vec<_>>();
    let more = ["/usr/local/bin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut folders = folders.into_iter().chain(more);
    folders.find_map(|folder| {
        let path = folder.join(program);
        path.is_file().then_some(path)
    })
}

/// Opens and locks a file for as long as it is held.
pub(crate) fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_step_that_fails_is_named_with_its_last_lines() {
        let log = std::env::temp_dir().join(format!("pci-step-{}", std::process::id()));
        let steps = Steps { progress: &Quiet, log: log.clone() };
        steps.run("begin", shell("echo begun")).unwrap();
        let said = steps.ask("ask", shell("echo answer; echo aside >&2")).unwrap();
        assert_eq!(said, "answer\n");
        let script = "for line in $(seq 1 20); do echo line $line; done; printf '\\033[31mlast\\n' >&2; exit 3";
        let failed = steps.run("setup x.sh", shell(script)).unwrap_err().to_string();
        let (first, rest) = failed.split_once('\n').unwrap();
        assert_eq!(first, "step \"setup x.sh\" failed: exit status: 3");
        let lines: Vec<&str> = rest.lines().collect();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!((lines[0], lines[LAST_LINES - 1]), ("  line 10", "  [31mlast"));
        let failed = steps.ask("ask again", shell("echo no >&2; exit 1")).unwrap_err().to_string();
        assert!(failed.starts_with("step \"ask again\" failed") && failed.ends_with("\n  no"));
        let failed = steps.run("odd", Command::new("/no/such/program")).unwrap_err().to_string();
        assert!(failed.contains("/no/such/program"), "{failed}");
        std::fs::remove_file(&log).unwrap();
    }
}
