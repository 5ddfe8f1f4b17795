//! What happened, as one number and, on demand, as lines.
//!
//! Invariant (I18): the hash covers every event, frame and provider call with its time, so two
//! runs that differ anywhere differ here. Deliberately absent: the seeded hashes of the standard
//! library's maps.
use crate::say;
use pcluster_model::Timestamp;
use std::fmt::{self, Write};

/// Hash of a trace so far (FNV-1a, 64 bits), and its last lines.
#[derive(Debug, Clone)]
pub struct Trace {
    hash: u64,
    /// Lines told so far.
    pub lines: u64,
    aloud: Aloud,
    begins: Timestamp,
}

/// What is printed as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aloud {
    Nothing,
    /// Every line that is hashed.
    Everything,
    /// What a reader wants to know: no frames, no calls, events in words.
    Story,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, aloud: Aloud::Nothing, begins: Timestamp(0) }
    }
}

impl Trace {
    /// The hash of all lines so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// From now on it is told; a story's times are from `begins` on.
    pub fn begin(&mut self, aloud: Aloud, begins: Timestamp) {
        (self.aloud, self.begins) = (aloud, begins);
    }

    /// Adds one line that a reader wants to know.
    pub fn line(&mut self, at: Timestamp, words: fmt::Arguments<'_>) {
        self.say(at, words);
        self.detail(at, words);
    }

    /// Tells what is hashed elsewhere, in words.
    pub fn say(&self, at: Timestamp, words: fmt::Arguments<'_>) {
        if self.aloud == Aloud::Story {
            say!("{} {words}", clock(Timestamp(at.0 - self.begins.0)));
        }
    }

    /// Adds one line.
    pub fn detail(&mut self, at: Timestamp, words: fmt::Arguments<'_>) {
        self.lines += 1;
        if self.aloud == Aloud::Everything {
            say!("{} {words}", clock(at));
        }
        self.mix(&at.0.to_le_bytes());
        // A sink that never fails: the text is hashed as it is made, without a buffer.
        let _ = self.write_fmt(words);
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn clock(at: Timestamp) -> String {
    let second = at.0 / 1000;
    let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}.{:03}", second % 60, at.0 % 1000)
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.mix(text.as_bytes());
        Ok(())
    }
}
