//! The output of a run on its way to the head.
//!
//! Invariant: pieces go out in order; the reader never holds more than one piece, and is never more
//! than `LOG_TAIL_BYTES` behind: what lies further back is skipped, and the offset says so. The file
//! itself is the whole.
use pcluster_wire::{LOG_TAIL_BYTES, MAX_CHUNK_BYTES};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// Nothing to read (yet).
    None,
    /// The job's own open file.
    File(File),
    /// What the keeper saved of an ended run, from this offset on.
    Tail { offset: u64, bytes: Vec<u8> },
}

impl Source {
    /// Where the output ends now.
    fn end(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::File(file) => file.metadata().map_or(0, |meta| meta.len()),
            Self::Tail { offset, bytes } => offset + bytes.len() as u64,
        }
    }

    /// Where it begins, as far as it can still be read.
    fn start(&self) -> u64 {
        match self {
            Self::None | Self::File(_) => 0,
            Self::Tail { offset, .. } => *offset,
        }
    }

    fn read(&self, from: u64, most: usize) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::File(file) => {
                let mut bytes = vec![0; most];
                // An error is like nothing new: the keeper's saved end comes at last.
                let read = file.read_at(&mut bytes, from).unwrap_or(0);
                bytes.truncate(read);
                bytes
            }
            Self::Tail { offset, bytes } => {
                let at = usize::try_from(from.saturating_sub(*offset)).unwrap_or(usize::MAX);
                bytes.iter().skip(at).take(most).copied().collect()
            }
        }
    }
}

/// How far the head has been told.
#[derive(Debug)]
pub struct Output {
    pub source: Source,
    sent: u64,
}

impl Output {
    pub fn new() -> Self {
        Self { source: Source::None, sent: 0 }
    }

    /// For a new connection: the last megabyte goes again, the head drops what it has.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next piece and its offset; `None` when there is nothing new.
    pub fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        let end = self.source.end();
        // A job may empty its own output: then it begins anew there.
        let oldest = end.saturating_sub(LOG_TAIL_BYTES).max(self.source.start());
        self.sent = self.sent.clamp(oldest, end);
        let room = usize::try_from(end - self.sent).unwrap_or(usize::MAX).min(MAX_CHUNK_BYTES);
        if room == 0 {
            return None;
        }
        let (at, bytes) = (self.sent, self.source.read(self.sent, room));
        self.sent += bytes.len() as u64;
        (!bytes.is_empty()).then_some((at, bytes))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn tail(offset: u64, length: usize) -> Output {
        let mut output = Output::new();
        output.source = Source::Tail { offset, bytes: vec![7; length] };
        output
    }

    #[test]
    fn pieces_are_bounded_and_follow_each_other() {
        let mut output = tail(0, MAX_CHUNK_BYTES + 5);
        assert_eq!(output.next().map(|(at, bytes)| (at, bytes.len())), Some((0, MAX_CHUNK_BYTES)));
        let second = output.next().map(|(at, bytes)| (at, bytes.len()));
        assert_eq!(second, Some((MAX_CHUNK_BYTES as u64, 5)));
        assert_eq!(output.next(), None);
    }

    #[test]
    fn what_is_too_far_behind_is_skipped() {
        let mut output = tail(10 * LOG_TAIL_BYTES, 3);
        assert_eq!(output.next().map(|(at, _)| at), Some(10 * LOG_TAIL_BYTES));
        let file = std::env::temp_dir().join(format!("pc-output-{}", std::process::id()));
        std::fs::write(&file, vec![1; 3 << 20]).unwrap();
        output.source = Source::File(File::open(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
        output.rewind();
        assert_eq!(output.next().map(|(at, _)| at), Some(2 << 20));
    }

    #[test]
    fn a_new_connection_gets_the_end_again() {
        let mut output = tail(0, 3);
        assert!(output.next().is_some() && output.next().is_none());
        output.rewind();
        assert_eq!(output.next(), Some((0, vec![7; 3])));
    }
}
