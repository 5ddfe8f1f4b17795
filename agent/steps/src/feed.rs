//! A client's input on its way to the tasks of its step.
//!
//! Invariant: so much is under way at most, at every part; the slowest task decides. Deliberately
//! absent: where the input comes from.
use crate::message::{Channel, Message, ToNode};
use std::io::Read;
use tokio::sync::mpsc;

/// One piece.
const PIECE: usize = 32 << 10;
/// Under way to a part at most.
const WINDOW: u64 = 256 << 10;

/// What is read, and how much of it each part has not taken yet.
#[derive(Debug)]
pub struct Feed {
    pieces: mpsc::Receiver<Vec<u8>>,
    task: u32,
    /// Of each part; none of one that takes nothing any more.
    under_way: Vec<Option<u64>>,
    over: bool,
}

impl Feed {
    /// Starts to read for this task of a step with so many parts.
    #[must_use]
    pub fn of(from: impl Read + Send + 'static, task: u32, parts: usize) -> Self {
        let (queue, pieces) = mpsc::channel(1);
        read(from, queue);
        Self { pieces, task, under_way: vec![Some(0); parts], over: false }
    }

    /// There is no input.
    #[must_use]
    pub fn none() -> Self {
        let (_, pieces) = mpsc::channel(1);
        Self { pieces, task: 0, under_way: Vec::new(), over: true }
    }

    /// Whether more may be sent now.
    #[must_use]
    pub fn wants(&self) -> bool {
        !self.over && self.under_way.iter().flatten().all(|bytes| *bytes < WINDOW)
    }

    /// The next piece, as the message for every part; the last is empty.
    pub async fn next(&mut self) -> Message<ToNode> {
        let bytes = self.pieces.recv().await.unwrap_or_default();
        self.over |= bytes.is_empty();
        for under_way in self.under_way.iter_mut().flatten() {
            *under_way += u64::try_from(bytes.len()).unwrap_or(0);
        }
        Message::Data { task: self.task, channel: Channel::In, bytes }
    }

    /// A part has taken so much.
    pub fn taken(&mut self, part: usize, bytes: u64) {
        if let Some(Some(under_way)) = self.under_way.get_mut(part) {
            *under_way = under_way.saturating_sub(bytes);
        }
    }

    /// A part takes nothing any more: nobody waits for it.
    pub fn gone(&mut self, part: usize) {
        if let Some(under_way) = self.under_way.get_mut(part) {
            *under_way = None;
        }
    }

    /// Whether this part is still sent something.
    #[must_use]
    pub fn feeds(&self, part: usize) -> bool {
        self.under_way.get(part).is_some_and(Option::is_some)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::EVERY_TASK;

    #[tokio::test]
    async fn a_part_that_is_gone_holds_up_no_other() {
        let (queue, pieces) = mpsc::channel(1);
        let mut feed = Feed { pieces, task: EVERY_TASK, under_way: vec![Some(0); 2], over: false };
        let whole = usize::try_from(WINDOW).unwrap();
        queue.send(vec![0; whole]).await.unwrap();
        feed.next().await;
        assert!(!feed.wants());
        feed.taken(0, WINDOW);
        assert!(!feed.wants(), "the other part has not taken it");
        feed.gone(1);
        assert!(feed.wants() && feed.feeds(0) && !feed.feeds(1));
        queue.send(vec![0; whole]).await.unwrap();
        feed.next().await;
        feed.taken(0, WINDOW);
        assert!(feed.wants());
    }
}
