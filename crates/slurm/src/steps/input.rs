//! This command's standard input, or a file, on its way to tasks.
//!
//! Invariant: so much is under way at most, at every part; the slowest task decides.
use super::asks::Source;
use pcluster_steps::message::{Channel, EVERY_TASK, Message, ToNode};
use std::io::Read;
use tokio::sync::mpsc;

/// One piece.
const PIECE: usize = 32 << 10;
/// Under way to a part at most.
const WINDOW: u64 = 256 << 10;

/// What is read, and how much of it each part has not taken yet.
#[derive(Debug)]
pub(super) struct Feed {
    pieces: mpsc::Receiver<Vec<u8>>,
    task: u32,
    under_way: Vec<u64>,
    over: bool,
}

impl Feed {
    /// Starts to read.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn start(source: &Source, parts: usize) -> Result<Self, String> {
        let (queue, pieces) = mpsc::channel(1);
        let (task, over) = match source {
            Source::Nothing => (EVERY_TASK, true),
            Source::All | Source::File(_) => (EVERY_TASK, false),
            Source::Task(task) => (*task, false),
        };
        match source {
            Source::Nothing => {}
            Source::File(path) => {
                let file = std::fs::File::open(path);
                let file =
                    file.map_err(|error| format!("Could not open stdin file {path}: {error}"))?;
                read(file, queue);
            }
            Source::All | Source::Task(_) => read(std::io::stdin(), queue),
        }
        Ok(Self { pieces, task, under_way: vec![0; parts], over })
    }

    /// Whether more may be sent now.
    pub(super) fn wants(&self) -> bool {
        !self.over && self.under_way.iter().all(|bytes| *bytes < WINDOW)
    }

    /// The next piece, as the message for every part; the last is empty.
    pub(super) async fn next(&mut self) -> Message<ToNode> {
        let bytes = self.pieces.recv().await.unwrap_or_default();
        self.over |= bytes.is_empty();
        for under_way in &mut self.under_way {
            *under_way += u64::try_from(bytes.len()).unwrap_or(0);
        }
        Message::Data { task: self.task, channel: Channel::In, bytes }
    }

    /// A part has taken so much, or is gone.
    pub(super) fn taken(&mut self, part: usize, bytes: u64) {
        if let Some(under_way) = self.under_way.get_mut(part) {
            *under_way = under_way.saturating_sub(bytes);
        }
    }
}

/// Reads in a thread of its own, which blocks for as long as nothing comes and ends with the process.
fn read(mut from: impl Read + Send + 'static, queue: mpsc::Sender<Vec<u8>>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if queue.blocking_send(buffer[..count].to_vec()).is_ok() => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    });
}
