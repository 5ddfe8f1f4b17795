//! The bytes between a task's message-passing library and its step.
//!
//! Invariant: bytes stay in order; the end of the task's side is told. Deliberately absent: what they
//! mean (`pmi`).
use super::input::Room;
use super::step::{Event, Events};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Answers that a task has not read: a library asks one thing after the other.
const ANSWERS: usize = 1024;
/// What was said before a task ended is heard first, if it comes within this.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Tells when a library's last words are with the loop.
#[derive(Debug)]
pub(super) struct LastWords(std::sync::mpsc::Receiver<()>);

impl LastWords {
    /// Until they are, or for as long as is bearable: a child may hold the socket for ever.
    pub(super) fn wait(self) {
        let _ = self.0.recv_timeout(LAST_WORDS);
    }
}

/// Carries bytes between a task's library and the loop; what is sent back goes to the task.
pub(super) fn speak(
    socket: OwnedFd,
    at: usize,
    events: Events,
) -> std::io::Result<(mpsc::Sender<Vec<u8>>, LastWords)> {
    let stream = UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))?;
    let (mut reader, mut writer) = stream.into_split();
    let (answers, mut outgoing) = mpsc::channel::<Vec<u8>>(ANSWERS);
    let room = Room::new();
    let (over, last_words) = std::sync::mpsc::sync_channel(1);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await.unwrap_or(0);
            // What one task says and the loop has not heard is bounded.
            let Some(room) = room.take(read).await else { return };
            let told = events.send(Event::Library { at, bytes: buffer[..read].to_vec(), room });
            if read == 0 || told.is_err() {
                let _ = over.try_send(());
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(bytes) = outgoing.recv().await {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.is_err() {
                return;
            }
        }
    });
    Ok((answers, LastWords(last_words)))
}
