//! The last steps before a task's program, in the task's own process: `pcluster-agent stepd task`.
//!
//! Invariant: what is set here (terminal, mask, limits, CPUs, directory) is set for the task alone;
//! the daemon stays as it is. No descriptor but the standard three and the library's is passed on.
use super::proc;
use super::usage::Launcher;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a task's process must know before it becomes the program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    /// Empty: where the daemon is.
    pub work_dir: String,
    pub umask: Option<u32>,
    pub soft_limits: Vec<(String, Option<u64>)>,
    /// It belongs to no step: it is on the node itself.
    pub on_node: bool,
    /// None: as the daemon.
    pub cpus: Vec<u32>,
    /// The standard input is a terminal that is to be the controlling one.
    pub terminal: bool,
    /// For texts: `slurmstepd: error: …`.
    pub node: String,
    /// A pipe to the daemon, by the path of its other end: what this process has used before it
    /// becomes the program is told there, and that it has become it by closing it.
    pub report: String,
    /// Named pipes to open for these descriptors: that may take until somebody opens the other side.
    pub fifos: Vec<(u8, String)>,
}

/// Codes that Slurm's own daemon gives: the error number.
const NOT_FOUND: u8 = 2;
const NOT_ALLOWED: u8 = 13;

/// Becomes the program; returns only when that failed.
pub(super) fn become_task(order: &str, argv: Vec<OsString>) -> ExitCode {
    let Ok(before) = serde_json::from_str::<Before>(order) else {
        say("an order that cannot be read");
        return ExitCode::from(NOT_FOUND);
    };
    before.apply();
    let Some((program, args)) = argv.split_first() else {
        say("no command");
        return ExitCode::from(NOT_FOUND);
    };
    if let Err(error) = open_fifos(&before.fifos) {
        say(&format!("Could not open a file: {}", words(&error)));
        return ExitCode::from(NOT_FOUND);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Closed on exec.
    let _report = tell_launcher(&before.report);
    let error = match found(program.as_ref(), &path) {
        Ok(file) => {
            let mut task = Command::new(file);
            task.arg0(program).args(args);
            if !before.on_node {
                task.env("SLURM_TASK_PID", std::process::id().to_string());
            }
            task.exec()
        }
        Err(error) => error,
    };
    say(&format!("execve(): {}: {}", Path::new(program).display(), words(&error)));
    let code = error.raw_os_error().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(NOT_FOUND))
}

fn open_fifos(fifos: &[(u8, String)]) -> std::io::Result<()> {
    for (number, path) in fifos {
        let mut options = fs::File::options();
        let file = options.read(*number == 0).write(*number != 0).open(path)?;
        match number {
            0 => dup2_stdin(file)?,
            1 => dup2_stdout(file)?,
            _ => dup2_stderr(file)?,
        }
    }
    Ok(())
}

/// Says what this process has used so far. Where the daemon's files are not to be seen, nobody hears
/// it, and nothing else depends on it.
fn tell_launcher(report: &str) -> Option<fs::File> {
    let mut pipe = fs::File::options().write(true).open(report).ok()?;
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_ms = spent.tv_sec * 1000 + spent.tv_nsec / 1_000_000;
    let launcher =
        Launcher { peak_bytes: proc::own_peak_bytes(), cpu_ms: u64::try_from(cpu_ms).unwrap_or(0) };
    std::io::Write::write_all(&mut pipe, launcher.line().as_bytes()).ok()?;
    Some(pipe)
}

/// A whole line in one write: other tasks share the stream.
fn say(text: &str) {
    let line = format!("slurmstepd: error: {text}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// The system's words, without Rust's number after them.
pub(super) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The program of a name, as `execvp` finds it: a slash means a path, else the first in `PATH`.
fn found(program: &Path, path: &std::ffi::OsStr) -> std::io::Result<PathBuf> {
    if program.components().count() > 1 || program.has_root() || program.starts_with(".") {
        return Ok(program.to_path_buf());
    }
    let mut denied = false;
    for folder in std::env::split_paths(path) {
        let file = folder.join(program);
        match fs::metadata(&file) {
            Ok(seen) if seen.is_file() && seen.permissions().mode() & 0o111 != 0 => {
                return Ok(file);
            }
            Ok(seen) if seen.is_file() => denied = true,
            _ => {}
        }
    }
    let code = if denied { NOT_ALLOWED } else { NOT_FOUND };
    Err(std::io::Error::from_raw_os_error(i32::from(code)))
}

impl Before {
    fn apply(&self) {
        if self.terminal {
            // A session of its own, so that the terminal's signals are the task's.
            let leads = rustix::process::setsid().is_ok();
            if !leads || rustix::process::ioctl_tiocsctty(std::io::stdin()).is_err() {
                say("the terminal cannot be the controlling one");
            }
        }
        for (name, value) in &self.soft_limits {
            limit(name, *value);
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        if !self.cpus.is_empty() {
            let mut set = CpuSet::new();
            for cpu in &self.cpus {
                set.set(usize::try_from(*cpu).unwrap_or(0));
            }
            if let Err(error) = sched_setaffinity(None, &set) {
                let text = words(&error.into());
                say(&format!("sched_setaffinity({:?}): {text}", self.cpus));
            }
        }
        if self.work_dir.is_empty() {
            return;
        }
        if let Err(error) = std::env::set_current_dir(&self.work_dir) {
            let (dir, text) = (&self.work_dir, words(&error));
            say(&format!("couldn't chdir to `{dir}': {text}: going to /tmp instead"));
            let _ = std::env::set_current_dir("/tmp");
        }
    }
}

/// Sets a soft limit, at most to the hard one. Unknown names are of later versions.
fn limit(name: &str, value: Option<u64>) {
    let resource = match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "memlock" => Resource::Memlock,
        "nofile" => Resource::Nofile,
        "stack" => Resource::Stack,
        _ => return,
    };
    let maximum = getrlimit(resource).maximum;
    let current = match (value, maximum) {
        (Some(value), Some(most)) => Some(value.min(most)),
        (Some(value), None) => Some(value),
        (None, most) => most,
    };
    let _ = setrlimit(resource, Rlimit { current, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let path = std::ffi::OsStr::new("/nowhere:/usr/bin:/bin");
        assert!(found(Path::new("sh"), path).unwrap().ends_with("sh"));
        assert_eq!(found(Path::new("./x"), path).unwrap(), Path::new("./x"));
        assert_eq!(found(Path::new("a/b"), path).unwrap(), Path::new("a/b"));
        let error = found(Path::new("no-such-program"), path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(2));
        assert_eq!(words(&error), "No such file or directory");
    }

    #[test]
    fn a_file_that_is_no_program_is_not_allowed() {
        let folder = std::env::temp_dir().join(format!("pct-steps-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("plain"), "x").unwrap();
        let error = found(Path::new("plain"), folder.as_os_str()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(13));
        fs::remove_dir_all(&folder).unwrap();
    }
}
