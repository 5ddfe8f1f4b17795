//! Where the output of tasks goes on this side: this command's own streams or files, with or without
//! the task's number before each line.
//!
//! Invariant: a labelled line is written whole; bytes of a task keep their order.
use super::asks::Target;
use super::names::{Facts, Place, fill};
use pcluster_steps::message::Channel;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

/// A labelled line that is longer goes as several: one without an end must not be kept.
const LABELLED_BYTES: usize = 64 << 10;

/// One of the two outputs.
#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    Task(u32, Channel),
    File(File),
    Nothing,
}

/// Both outputs of a step.
#[derive(Debug)]
pub(super) struct Console {
    sinks: [Sink; 2],
    /// Errors go where output goes.
    merged: bool,
    /// Columns of the largest task's number; `None` without labels.
    label: Option<usize>,
    /// Begun lines of labelled tasks.
    begun: BTreeMap<(u32, bool), Vec<u8>>,
}

impl Console {
    /// Opens the files that are not the tasks' own.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn open(
        output: &Target,
        error: Option<&Target>,
        append: bool,
        label: Option<u32>,
        facts: &Facts,
    ) -> Result<Self, String> {
        let out = sink(output, Channel::Out, append, facts)?;
        // Without a word about errors they go along, but not to this command's own output.
        let merged = error.is_none() && !matches!(output, Target::Own);
        let err = match error {
            Some(error) => sink(error, Channel::Err, append, facts)?,
            None => Sink::Stderr,
        };
        let label = label.map(|tasks| tasks.saturating_sub(1).to_string().len());
        Ok(Self { sinks: [out, err], merged, label, begun: BTreeMap::new() })
    }

    /// Writes what a task wrote; an empty piece is its end.
    ///
    /// # Errors
    /// When nobody reads any more, or the disk is full.
    pub(super) fn write(&mut self, task: u32, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        let is_error = channel == Channel::Err;
        let Some(width) = self.label else {
            return self.put(task, is_error, bytes);
        };
        let held = self.begun.entry((task, is_error)).or_default();
        let mut text = Vec::new();
        let mut tell = |held: &mut Vec<u8>| {
            text.extend(format!("{task:width$}: ").bytes());
            text.append(held);
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            held.extend(part);
            if held.ends_with(b"\n") || held.len() >= LABELLED_BYTES {
                tell(held);
            }
        }
        if bytes.is_empty() && !held.is_empty() {
            tell(held);
        }
        if text.is_empty() { Ok(()) } else { self.put(task, is_error, &text) }
    }

    fn put(&mut self, task: u32, is_error: bool, bytes: &[u8]) -> io::Result<()> {
        let which = usize::from(is_error && !self.merged);
        match &mut self.sinks[which] {
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Sink::Stderr => io::stderr().lock().write_all(bytes),
            Sink::Task(only, channel) if *only == task => match channel {
                Channel::Err => io::stderr().lock().write_all(bytes),
                _ => {
                    let mut out = io::stdout().lock();
                    out.write_all(bytes)?;
                    out.flush()
                }
            },
            Sink::File(file) => file.write_all(bytes),
            Sink::Task(..) | Sink::Nothing => Ok(()),
        }
    }
}

fn sink(target: &Target, channel: Channel, append: bool, facts: &Facts) -> Result<Sink, String> {
    Ok(match target {
        Target::Own if channel == Channel::Err => Sink::Stderr,
        Target::Own => Sink::Stdout,
        Target::Task(task) => Sink::Task(*task, channel),
        Target::Nothing => Sink::Nothing,
        // The tasks write these themselves.
        Target::File(pattern) if super::names::is_per_task(pattern) => Sink::Nothing,
        Target::File(pattern) => {
            let path = fill(pattern, facts, &Place::default());
            let mut options = File::options();
            options.create(true).write(true).append(append).truncate(!append);
            let file = options.open(&path);
            Sink::File(file.map_err(|error| {
                let words = error.to_string();
                let words = words.split(" (os error").next().unwrap_or("").to_owned();
                format!("Could not open stdout file {path}: {words}")
            })?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_before_whole_lines() {
        let folder = std::env::temp_dir().join(format!("pct-console-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("out.%j").display().to_string();
        let facts = Facts { job: 41, ..Facts::default() };
        let target = Target::File(path.clone());
        let mut console = Console::open(&target, None, false, Some(11), &facts).unwrap();
        console.write(0, Channel::Out, b"a\nb").unwrap();
        console.write(10, Channel::Err, b"c\n").unwrap();
        console.write(0, Channel::Out, b"").unwrap();
        let text = std::fs::read_to_string(folder.join("out.41")).unwrap();
        assert_eq!(text, " 0: a\n10: c\n 0: b\n");
        let mut long = Console::open(&target, None, false, Some(1), &facts).unwrap();
        for _ in 0..5 {
            long.write(0, Channel::Out, &[b'x'; LABELLED_BYTES / 2]).unwrap();
        }
        assert_eq!(long.begun[&(0, false)].len(), LABELLED_BYTES / 2, "the rest is written");
        std::fs::write(folder.join("out.41"), &text).unwrap();
        let again = Console::open(&target, None, true, None, &facts).unwrap();
        drop(again);
        assert_eq!(std::fs::read_to_string(folder.join("out.41")).unwrap(), text);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            Console::open(&target, None, false, None, &facts).unwrap_err().contains("No such file")
        );
    }
}
