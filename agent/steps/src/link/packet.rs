//! What lies on a stream: packets with a length.
//!
//! Invariant: whatever bytes arrive, in whatever pieces, decoding ends in packets, in a wish for more
//! or in an error; it never holds more than one packet of the allowed size.
use serde::{Deserialize, Serialize};
use std::io;

/// The payload of one message at most, in bytes.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Length, kind and number.
const HEAD: usize = 4 + 1 + 8;

/// The first packet of a stream in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Chosen by the client at random: who knows it may go on with the session.
    pub session: String,
    /// Number of the last message that has arrived here; 0 is none.
    pub received: u64,
    /// The client has spoken with this session before, so it must still be known.
    #[serde(default)]
    pub resumed: bool,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Hello(Hello),
    /// A message by its number in this direction, from 1.
    Data(u64, Vec<u8>),
    /// All up to this number have arrived.
    Ack(u64),
    /// The session cannot go on, and why.
    Refused(String),
    /// Still here.
    Ping,
}

impl Packet {
    /// The bytes of this packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, number, payload): (u8, u64, &[u8]) = match self {
            Self::Hello(hello) => {
                let text = serde_json::to_vec(hello).unwrap_or_default();
                return framed(1, 0, &text);
            }
            Self::Data(number, payload) => (2, *number, payload),
            Self::Ack(number) => (3, *number, &[]),
            Self::Refused(why) => (4, 0, why.as_bytes()),
            Self::Ping => (5, 0, &[]),
        };
        framed(kind, number, payload)
    }

    /// Takes the first packet off `buffer`; `None` when it is not all there yet.
    ///
    /// # Errors
    /// When the bytes are no packet: the stream is of no use any more.
    pub fn decode(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, kind, number @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(broken("a packet that is too long"));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        let payload = buffer[HEAD..HEAD + length].to_vec();
        buffer.drain(..HEAD + length);
        let number = u64::from_be_bytes(number);
        Ok(Some(match kind {
            1 => Self::Hello(
                serde_json::from_slice(&payload).map_err(|_| broken("an unreadable greeting"))?,
            ),
            2 => Self::Data(number, payload),
            3 => Self::Ack(number),
            4 => Self::Refused(String::from_utf8_lossy(&payload).into_owned()),
            5 => Self::Ping,
            _ => return Err(broken("a packet of an unknown kind")),
        }))
    }
}

fn framed(kind: u8, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(length.to_be_bytes());
    out.push(kind);
    out.extend(number.to_be_bytes());
    out.extend(payload);
    out
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the other end sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_survive_any_cut() {
        let packets = [
            Packet::Hello(Hello { session: "s".into(), received: 7, resumed: true }),
            Packet::Data(3, b"abc".to_vec()),
            Packet::Ack(9),
            Packet::Refused("no".into()),
            Packet::Ping,
            Packet::Data(4, Vec::new()),
        ];
        let bytes: Vec<u8> = packets.iter().flat_map(Packet::encode).collect();
        for cut in 0..bytes.len() {
            let mut seen = Vec::new();
            let mut buffer = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend(piece);
                while let Some(packet) = Packet::decode(&mut buffer).unwrap() {
                    seen.push(packet);
                }
            }
            assert_eq!(seen, packets);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_awaited() {
        let mut bytes = framed(2, 1, b"");
        bytes[0] = 0xff;
        assert!(Packet::decode(&mut bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_well(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            while let Ok(Some(_)) = Packet::decode(&mut bytes) {}
        }
    }
}
