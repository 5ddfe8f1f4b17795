//! A conversation that outlives its streams: messages are numbered in each direction and kept until
//! the other end has acknowledged them; on a new stream both say what they have, and go on there.
//!
//! Invariant: every message arrives once and in order, or the session ends with an error; what is
//! kept is bounded for whoever asks for room before it sends. Deliberately absent: streams, clocks
//! and threads (`session`).
mod packet;

pub use packet::{Hello, MAX_PAYLOAD, Packet};

use packet::broken;
use std::collections::VecDeque;
use std::io;

/// Kept and not yet acknowledged, in bytes: more is refused to those who ask for room.
pub const ROOM: usize = 1 << 20;

/// Kept at most, in bytes and in messages, also of those who do not ask: an end that takes nothing for so
/// long is none.
pub const KEPT_BYTES: usize = 4 * MAX_PAYLOAD;
pub const KEPT_MESSAGES: usize = 64 << 10;

/// One end of a session.
#[derive(Debug, Default)]
pub struct Link {
    /// More than may be was to be kept: the session is over.
    overrun: bool,
    /// Not yet acknowledged, oldest first; the first has number `acknowledged + 1`.
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
    /// The other end has all up to this.
    acknowledged: u64,
    /// Of `kept`, so many lie on the present stream.
    written: usize,
    /// All up to this have arrived here.
    received: u64,
    /// The other end was told so on the present stream.
    told: u64,
    open: bool,
}

impl Link {
    /// True while more may be sent by those who can wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.kept_bytes < ROOM
    }

    /// Everything sent has arrived.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.kept.is_empty()
    }

    /// Number of the last message that has arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Sends a message, now or on a later stream.
    pub fn push(&mut self, payload: Vec<u8>) {
        let bytes = self.kept_bytes + payload.len();
        if self.overrun || bytes > KEPT_BYTES || self.kept.len() >= KEPT_MESSAGES {
            self.overrun = true;
            (self.kept, self.kept_bytes, self.written) = (VecDeque::new(), 0, 0);
            return;
        }
        self.kept_bytes += payload.len();
        self.kept.push_back(payload);
    }

    /// A stream is there, and the other end has said what it has.
    ///
    /// # Errors
    /// When it claims what was never sent, or lacks what it once acknowledged: no way to go on.
    pub fn opened(&mut self, peer_received: u64) -> io::Result<()> {
        self.check()?;
        self.acknowledge(peer_received)?;
        if peer_received < self.acknowledged {
            return Err(broken("a greeting that forgets messages"));
        }
        self.written = 0;
        self.told = self.received;
        self.open = true;
        Ok(())
    }

    /// The stream is gone.
    pub fn lost(&mut self) {
        self.open = false;
        self.written = 0;
    }

    /// The next packet for the stream; `None` when there is nothing to say.
    pub fn leaving(&mut self) -> Option<Packet> {
        if !self.open {
            return None;
        }
        if self.told < self.received {
            self.told = self.received;
            return Some(Packet::Ack(self.received));
        }
        let payload = self.kept.get(self.written)?;
        self.written += 1;
        let number = self.acknowledged + u64::try_from(self.written).unwrap_or(u64::MAX);
        Some(Packet::Data(number, payload.clone()))
    }

    /// Takes a packet of the other end; a message that is new is given back.
    ///
    /// # Errors
    /// When the packet cannot be of this session.
    pub fn take(&mut self, packet: Packet) -> io::Result<Option<Vec<u8>>> {
        self.check()?;
        match packet {
            Packet::Ping => Ok(None),
            Packet::Ack(number) => {
                if number > self.acknowledged + u64::try_from(self.written).unwrap_or(u64::MAX) {
                    return Err(broken("an acknowledgement of what it cannot have"));
                }
                self.acknowledge(number)?;
                Ok(None)
            }
            Packet::Data(number, payload) if number == self.received + 1 => {
                self.received = number;
                Ok(Some(payload))
            }
            // Sent again on a new stream before the other end could know.
            Packet::Data(number, _) if number <= self.received => Ok(None),
            Packet::Data(..) => Err(broken("messages with a gap")),
            Packet::Hello(_) => Err(broken("a second greeting")),
            Packet::Refused(why) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, why)),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.overrun {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "it takes nothing any more",
            ));
        }
        Ok(())
    }

    fn acknowledge(&mut self, number: u64) -> io::Result<()> {
        while self.acknowledged < number {
            let Some(payload) = self.kept.pop_front() else {
                return Err(broken("an acknowledgement of what was never sent"));
            };
            self.kept_bytes -= payload.len();
            self.acknowledged += 1;
            self.written = self.written.saturating_sub(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
