//! The write-ahead log beside the file, read by hand before SQLite reads it.
//!
//! SQLite takes the first frame that does not match its checksum for the end of the log. After a power
//! cut that is right: only the last transaction was not yet on disk, and nobody had heard of it. After
//! a flipped bit in the middle it would forget what was committed since, without a word.
//!
//! Invariant: a log is refused only when it proves that commits behind the broken place were written:
//! each is written after the one before it is on disk, so a power cut leaves at most one behind it.
use crate::{StoreError, schema};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// Commits behind the broken place that a power cut can leave there.
const TORN_COMMITS: u32 = 1;
const LITTLE: u32 = 0x377f_0682;
const BIG: u32 = 0x377f_0683;

/// Where it lies.
pub(crate) fn path_of(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// The two sums that run through the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums(u32, u32);

impl Sums {
    fn add(mut self, bytes: &[u8], big: bool) -> Self {
        for pair in bytes.chunks_exact(8) {
            let word = |at: usize| {
                let word: [u8; 4] = pair[at..at + 4].try_into().expect("four bytes of eight");
                if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
            };
            self.0 = self.0.wrapping_add(word(0)).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(word(4)).wrapping_add(self.0);
        }
        self
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes of a head"))
}

fn sums_at(bytes: &[u8], at: usize) -> Sums {
    Sums(number(bytes, at), number(bytes, at + 4))
}

/// Refuses a log that was damaged after it had been written.
pub(crate) fn check(db: &Path, page_bytes: usize) -> Result<(), StoreError> {
    let path = path_of(db);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| schema::io(&path, &error))?,
    };
    let broken =
        scan(BufReader::new(file), page_bytes).map_err(|error| schema::io(&path, &error))?;
    let Some(broken) = broken else { return Ok(()) };
    let detail = format!(
        "frame {broken} does not match its checksum, and commits behind it are whole; \
         without this file the log would end at an earlier commit"
    );
    Err(StoreError::Damaged { path, detail })
}

/// The first broken frame from 1, or 0 for the head, if there are more whole commits behind it than a
/// power cut can leave.
fn scan(mut log: impl Read, page_bytes: usize) -> std::io::Result<Option<u32>> {
    let mut head = [0; HEAD];
    if !filled(&mut log, &mut head)? {
        return Ok(None);
    }
    let big = match number(&head, 0) {
        LITTLE => false,
        BIG => true,
        _ => cfg!(target_endian = "big"),
    };
    let mut before = sums_at(&head, 24);
    let head_is_whole =
        Sums(0, 0).add(&head[..24], big) == before && number(&head, 0) & !1 == LITTLE;
    let mut broken = (!head_is_whole).then_some(0);
    // Frames of an earlier round have other salts; a broken head does not say which are its own.
    let mut salts = head_is_whole.then(|| sums_at(&head, 16));
    let (mut frame, mut commits) = (vec![0; FRAME_HEAD + page_bytes], 0);
    for count in 1.. {
        if !filled(&mut log, &mut frame)? {
            break;
        }
        let own = *salts.get_or_insert_with(|| sums_at(&frame, 8)) == sums_at(&frame, 8);
        let sums = before.add(&frame[..8], big).add(&frame[FRAME_HEAD..], big);
        before = sums_at(&frame, 16);
        let whole = own && sums == before;
        if broken.is_none() && !whole {
            broken = Some(count);
        }
        if broken.is_some() && whole && number(&frame, 4) > 0 {
            commits += 1;
        }
    }
    Ok(broken.filter(|_| commits > TORN_COMMITS))
}

/// False at the end.
fn filled(log: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}
