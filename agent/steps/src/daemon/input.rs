//! Input of tasks: the same bytes for each of them, at the speed of the slowest.
//!
//! Invariant: bytes count as taken once every task that wanted them has them or has ended. What each
//! speaker has under way here is bounded: more waits where it comes from.
use super::step::{Event, Events};
use crate::message::{Message, ToNode};
use crate::session::Session;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What one speaker may have under way, in bytes: several times what `srun` keeps under way, so that
/// its signals are never behind input that nobody takes.
const ROOM: usize = 1 << 20;

/// The room of one who speaks with the step.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }

    /// Waits until so many bytes have room; one message alone always has.
    pub(super) async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.clamp(1, ROOM)).unwrap_or(1);
        Arc::clone(&self.0).acquire_many_owned(wanted).await.ok()
    }
}

/// What somebody has said, and the room that it takes until it is done.
#[derive(Debug)]
pub(super) struct Said {
    pub message: Message<ToNode>,
    pub from: Arc<Session>,
    pub room: OwnedSemaphorePermit,
}

/// Bytes on their way to tasks; tells whoever sent them when the last has taken them.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    from: Arc<Session>,
    /// To the step: once it is over nobody waits for the word.
    taken: Events,
    _room: OwnedSemaphorePermit,
}

impl Chunk {
    pub(super) fn new(
        bytes: Vec<u8>,
        from: Arc<Session>,
        room: OwnedSemaphorePermit,
        taken: Events,
    ) -> Arc<Self> {
        Arc::new(Self { bytes, from, taken, _room: room })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let _ = self.taken.send(Event::InputTaken { from: Arc::clone(&self.from), bytes });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sends_too_much_waits_until_it_is_taken() {
        let room = Room::new();
        let (session, _messages) = Session::new("s");
        let first = room.take(ROOM - 10).await.unwrap();
        let (events, mut told) = mpsc::unbounded_channel();
        let chunk = Chunk::new(vec![0; 3], session, first, events);
        assert!(room.0.available_permits() == 10);
        let mut more = Box::pin(room.take(11));
        let waits =
            std::future::poll_fn(|cx| std::task::Poll::Ready(more.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        // Two tasks have it; the last one frees its room and says so.
        let copy = Arc::clone(&chunk);
        drop(chunk);
        assert!(told.try_recv().is_err());
        drop(copy);
        assert!(matches!(told.try_recv(), Ok(Event::InputTaken { bytes: 3, .. })));
        drop(more.await.unwrap());
        assert!(room.take(100 * ROOM).await.is_some(), "one alone always has room");
    }
}
