//! A job's output file as it grows, for `run`, which has to pass on every byte.
//!
//! Invariant: the bytes written are the file's, from its first to its last; the head is asked only
//! for the end of the job. Deliberately absent: machines that do not see the file (`logs`).
use super::wait::until_ended;
use crate::failure::Failure;
use crate::say;
use pcluster_api::WaitResponse;
use pcluster_api::client::Client;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// Between two looks at a file that grows, and at one that has been quiet for a while.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 256 << 10;

/// True when `path` is a file here.
#[must_use]
pub fn is_here(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|seen| seen.is_file())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!("cannot read {}: {error}", path.display()))
}

/// Writes what is in the file from `offset` on; answers whether there was anything.
async fn copy(path: &Path, file: &mut File, offset: &mut u64) -> Result<bool, Failure> {
    let before = *offset;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).map_err(|error| failed(path, &error))?;
        if read == 0 {
            return Ok(*offset > before);
        }
        piece.truncate(read);
        *offset += read as u64;
        say::stream(piece).await?;
    }
}

/// Writes the file until the job has ended and its last byte is out.
///
/// # Errors
/// A file that cannot be read, a closed pipe, or a head that stays away.
pub async fn follow(client: &Client, id: &str, path: &Path) -> Result<WaitResponse, Failure> {
    let open = || File::open(path).map_err(|error| failed(path, &error));
    let mut file = open()?;
    let mut offset = 0;
    let mut pause = LOOK_EVERY;
    let ending = until_ended(client, id);
    tokio::pin!(ending);
    let ended = loop {
        pause = match copy(path, &mut file, &mut offset).await? {
            true => LOOK_EVERY,
            false => (pause * 2).min(LOOK_AT_LEAST_EVERY),
        };
        tokio::select! {
            ended = &mut ending => break ended?,
            () = tokio::time::sleep(pause) => {}
        }
    };
    // Opened anew: over NFS, that is what shows the last bytes another machine wrote.
    let mut file = open()?;
    file.seek(SeekFrom::Start(offset)).map_err(|error| failed(path, &error))?;
    copy(path, &mut file, &mut offset).await?;
    Ok(ended)
}
