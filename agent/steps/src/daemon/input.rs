//! Input of tasks: the same bytes for each of them, at the speed of the slowest.
//!
//! Invariant: bytes count as taken once every task that wanted them has them or has ended.
use super::step::Event;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Bytes on their way to tasks; says so when the last has taken them.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    taken: mpsc::UnboundedSender<Event>,
}

impl Chunk {
    pub(super) fn new(bytes: Vec<u8>, taken: mpsc::UnboundedSender<Event>) -> Arc<Self> {
        Arc::new(Self { bytes, taken })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let _ = self.taken.send(Event::InputTaken(bytes));
    }
}

/// The queue to a task's input; dropping it ends the input.
pub(super) type Queue = mpsc::UnboundedSender<Arc<Chunk>>;

/// The character by which a terminal's reader knows the end of input.
pub(super) const END_OF_TERMINAL: &[u8] = &[4];

/// Feeds a task; `last` comes after everything else.
pub(super) fn feed(mut to: pipe::Sender, last: &'static [u8]) -> Queue {
    let (queue, mut chunks) = mpsc::unbounded_channel::<Arc<Chunk>>();
    tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if to.write_all(&chunk.bytes).await.is_err() {
                return;
            }
        }
        let _ = to.write_all(last).await;
    });
    queue
}
