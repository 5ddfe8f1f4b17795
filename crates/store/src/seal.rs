//! Checksums over what is stored, so that a flipped bit or a removed record is seen.
//!
//! The seal of an event covers the seal before it: a log is one chain. It guards against damage
//! and slips of the hand, not against somebody who can compute it anew (that person owns the file).

/// 64-bit FNV-1a, written here because it is ten lines and its value must never change.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    const fn start(before: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325 ^ before)
    }

    fn add(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // The length separates fields: "ab","c" is not "a","bc".
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x0100_0000_01b3);
        self
    }

    /// SQLite keeps signed numbers; the bits are what counts.
    const fn end(self) -> i64 {
        self.0.cast_signed()
    }
}

/// The seal of an event that follows one with the seal `before` (0 for the first).
pub(crate) fn event_seal(before: i64, seq: u64, at: i64, kind: &str, body: &str) -> i64 {
    Fnv::start(before.cast_unsigned())
        .add(&seq.to_le_bytes())
        .add(&at.to_le_bytes())
        .add(kind.as_bytes())
        .add(body.as_bytes())
        .end()
}

/// The seal of a row.
pub(crate) fn row_seal(table: &str, key: &str, body: &str) -> i64 {
    Fnv::start(0).add(table.as_bytes()).add(key.as_bytes()).add(body.as_bytes()).end()
}
