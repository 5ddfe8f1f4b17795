//! Output of tasks: read as it comes, sent by lines, at the speed of the client.
//!
//! Invariant: bytes of one stream of one task stay in order; a line longer than a piece is cut.
use crate::message::{Channel, FromNode, Message};
use crate::session::Session;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::time::Instant;

/// One piece at most.
const PIECE: usize = 64 << 10;
/// Of those who only watch a step, so many at once.
const WATCHERS: usize = 32;
/// Somebody who only watches and takes nothing for this long watches no more.
const WATCHER_WITHIN: Duration = Duration::from_secs(5);

/// Everybody who sees the output of a step.
#[derive(Debug)]
pub(super) struct Audience {
    client: Arc<Session>,
    watchers: Mutex<Vec<Arc<Session>>>,
}

impl Audience {
    pub(super) fn new(client: Arc<Session>) -> Self {
        Self { client, watchers: Mutex::default() }
    }

    /// False when as many watch as may.
    pub(super) fn join(&self, watcher: Arc<Session>) -> bool {
        let there = self.watching().len();
        let room = there < WATCHERS;
        if room {
            self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
        }
        room
    }

    /// To the client, and to all who watch.
    pub(super) fn tell(&self, message: FromNode) {
        let payload = Message::Control(message).encode();
        for watcher in self.watching() {
            watcher.send_now(payload.clone());
        }
        self.client.send_now(payload);
    }

    /// To the client alone.
    pub(super) fn tell_client(&self, message: FromNode) {
        self.client.send_now(Message::Control(message).encode());
    }

    fn watching(&self) -> Vec<Arc<Session>> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| *watcher.connected().borrow());
        watchers.clone()
    }

    async fn show(&self, task: u32, channel: Channel, bytes: Vec<u8>) {
        let payload = Message::<FromNode>::Data { task, channel, bytes }.encode();
        // All of them together: many slow ones are no slower than one.
        let until = Instant::now() + WATCHER_WITHIN;
        for watcher in self.watching() {
            let sent = watcher.send(payload.clone());
            if tokio::time::timeout_at(until, sent).await.is_err() {
                let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
                watchers.retain(|other| !Arc::ptr_eq(other, &watcher));
            }
        }
        self.client.send(payload).await;
    }
}

/// Where the whole lines of `held` end; all of it when it is too long to wait for more.
fn ready(held: &[u8], by_lines: bool) -> usize {
    if !by_lines || held.len() >= PIECE {
        return held.len();
    }
    held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Sends everything that comes, and an empty piece at its end.
pub(super) async fn carry<R>(
    mut from: R,
    audience: Arc<Audience>,
    task: u32,
    channel: Channel,
    by_lines: bool,
) where
    R: AsyncRead + Unpin,
{
    let mut held = Vec::new();
    loop {
        let read = from.read_buf(&mut held).await;
        let over = !matches!(read, Ok(count) if count > 0);
        let whole = if over { held.len() } else { ready(&held, by_lines) };
        let rest = held.split_off(whole);
        let now = std::mem::replace(&mut held, rest);
        for piece in now.chunks(PIECE) {
            audience.show(task, channel, piece.to_vec()).await;
        }
        if over {
            return audience.show(task, channel, Vec::new()).await;
        }
    }
}

/// The daemon's end of a pseudo terminal.
#[derive(Debug)]
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self(master))
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal whose program has ended has no size.
        let _ = rustix::termios::tcsetwinsize(self.0.as_fd(), size);
    }

    /// What the program writes; when it has ended, reading is an error, which is the end.
    pub(super) fn reader(&self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_owned_fd_unchecked(self.0.try_clone()?)
    }

    /// What the program reads.
    pub(super) fn writer(&self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_owned_fd_unchecked(self.0.try_clone()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_go_and_the_rest_waits() {
        assert_eq!(ready(b"a\nb", true), 2);
        assert_eq!(ready(b"a", true), 0);
        assert_eq!(ready(b"a", false), 1);
        assert_eq!(ready(&[b'x'; PIECE], true), PIECE);
    }
}
