//! The log: JSON lines in a file that rotates, or lines for people on stderr.
//!
//! Invariant: everything that a user chose (names, comments) is a JSON string in one line of its
//! own; nobody can forge a record.
use crate::disk::free_of;
use crate::limits;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// A log file is closed at this size, in bytes.
const ROTATE_BYTES: u64 = 50 << 20;
/// What marks a line that is written on a full disk too, and where in the line it stands.
const ERROR: &[u8] = b"\"level\":\"ERROR\"";
const LEVEL_WITHIN: usize = 80;
/// Closed files that are kept.
const KEPT: u32 = 5;

/// Sets up the log of this process. `None`: stderr, for `--foreground` and systemd.
///
/// # Errors
/// When the file cannot be opened.
pub fn set_up(file: Option<&Path>) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("PCLUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match file {
        Some(path) => {
            let writer = Mutex::new(Rotating::open(path)?);
            builder.json().flatten_event(true).with_writer(writer).init();
        }
        None => {
            let colour = std::io::IsTerminal::is_terminal(&io::stderr());
            builder.compact().with_ansi(colour).with_writer(io::stderr).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "a part of the head broke off");
    }));
    Ok(())
}

struct Rotating {
    path: PathBuf,
    folder: PathBuf,
    file: File,
    written: u64,
}

impl Rotating {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let written = file.metadata()?.len();
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self { path: path.to_path_buf(), folder, file, written })
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let _ = fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        fs::rename(&self.path, self.numbered(1))?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The log is a help, the events beside it are the truth: the last of a disk is theirs, and
        // the words with which a head ends.
        let said = &bytes[..bytes.len().min(LEVEL_WITHIN)];
        let is_error = said.windows(ERROR.len()).any(|part| part == ERROR);
        if !is_error && free_of(&self.folder).is_some_and(|free| free < limits::LOG_DISK_BYTES) {
            return Ok(bytes.len());
        }
        if self.written >= ROTATE_BYTES {
            // A full log is better than none.
            let _ = self.rotate();
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_full_file_makes_room_and_five_are_kept() {
        let scratch = Scratch::new("log");
        let path = scratch.path().join("head.log");
        let mut log = Rotating::open(&path).unwrap();
        for number in 0..8 {
            log.written = ROTATE_BYTES;
            writeln!(log, "{number}").unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let all =
            ["head.log", "head.log.1", "head.log.2", "head.log.3", "head.log.4", "head.log.5"];
        assert_eq!(names, all);
        assert!(fs::read_to_string(&path).unwrap().ends_with("7\n"));
    }
}
