//! Scripts and environments, each stored once under its SHA-256.
//!
//! Invariant: a blob that has a name is whole (temporary file, fsync, rename) and is checked again
//! when it is read. Deliberately absent: who may read what (the callers know).
use pcluster_model::BlobHash;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The store of blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: Arc<Path>,
    next: Arc<AtomicU64>,
    /// What was put lately: its job may not be committed yet.
    fresh: Arc<Mutex<BTreeMap<BlobHash, Instant>>>,
}

/// How long a blob is kept that was put and that no job names: longer than any request goes on.
const FRESH: Duration = Duration::from_secs(3600);

/// A blob that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {0} is not here")]
    Missing(BlobHash),
    #[error("blob {0} is damaged: its content has another hash")]
    Damaged(BlobHash),
    #[error("cannot use the blobs: {0}")]
    Io(#[from] io::Error),
}

/// The name of these bytes.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> BlobHash {
    BlobHash(Sha256::digest(bytes).into())
}

impl Blobs {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        fs::create_dir_all(root)?;
        Ok(Self::at(root))
    }

    /// The folder as it is, for those who only read.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.into(), next: Arc::default(), fresh: Arc::default() }
    }

    /// Where the blob of this name lies, or would.
    #[must_use]
    pub fn path(&self, hash: BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Stores bytes and returns their name once they are on disk. Blocks for the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobHash, BlobError> {
        let hash = hash_of(bytes);
        let path = self.path(hash);
        // From here on no sweep takes it; one that has taken it already is seen below.
        self.lock().insert(hash, Instant::now());
        if fs::metadata(&path).is_ok_and(|seen| seen.len() == bytes.len() as u64) {
            return Ok(hash);
        }
        let folder = path.parent().expect("a blob lies in a folder");
        fs::create_dir_all(folder)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let draft = folder.join(format!(".{}-{number}", std::process::id()));
        let written = write_whole(&draft, bytes).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(error.into());
        }
        File::open(folder)?.sync_all()?;
        Ok(hash)
    }

    /// The bytes of this name, checked. Blocks for the disk.
    ///
    /// # Errors
    /// When there is no such blob, or its bytes are not those it was named for.
    pub fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let bytes = fs::read(self.path(hash)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(hash),
            _ => BlobError::Io(error),
        })?;
        if hash_of(&bytes) == hash { Ok(bytes) } else { Err(BlobError::Damaged(hash)) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlobHash, Instant>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what `wanted` does not name and nobody has put lately, while others put. Returns how
    /// many went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sweep(&self, wanted: &BTreeSet<BlobHash>) -> Result<usize, BlobError> {
        let mut removed = 0;
        self.lock().retain(|_, put| put.elapsed() < FRESH);
        self.each(|path, hash| {
            let Some(hash) = hash.filter(|hash| !wanted.contains(hash)) else { return Ok(()) };
            let fresh = self.lock();
            if !fresh.contains_key(&hash) {
                fs::remove_file(path)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// Every file, with the name that it has as a blob.
    fn each(
        &self,
        mut file: impl FnMut(&Path, Option<BlobHash>) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        for folder in fs::read_dir(&*self.root)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            for blob in fs::read_dir(&folder)? {
                let blob = blob?;
                let name = blob.file_name();
                file(&blob.path(), name.to_str().and_then(|name| name.parse().ok()))?;
            }
        }
        Ok(())
    }

    /// Deletes what `wanted` does not name, and drafts of an earlier process. Only at the start,
    /// when nobody puts a blob whose job is not yet committed. Returns how many went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn keep_only(&self, wanted: &BTreeSet<BlobHash>) -> Result<usize, BlobError> {
        let mut removed = 0;
        self.each(|path, hash| {
            if hash.is_none_or(|hash| !wanted.contains(&hash)) {
                fs::remove_file(path)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn what_is_put_is_got_and_stored_once() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(&scratch.path("blobs")).unwrap();
        let hash = blobs.put(b"#!/bin/sh\n").unwrap();
        assert_eq!(blobs.put(b"#!/bin/sh\n").unwrap(), hash);
        assert_eq!(blobs.get(hash).unwrap(), b"#!/bin/sh\n");
    }

    #[test]
    fn a_blob_with_other_bytes_is_refused() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(&scratch.path("blobs")).unwrap();
        let hash = blobs.put(b"one").unwrap();
        fs::write(blobs.path(hash), b"two").unwrap();
        assert!(matches!(blobs.get(hash), Err(BlobError::Damaged(_))));
    }

    #[test]
    fn a_sweep_takes_what_is_neither_named_nor_put_lately() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(&scratch.path("blobs")).unwrap();
        let (kept, fresh) = (blobs.put(b"kept").unwrap(), blobs.put(b"fresh").unwrap());
        let old = blobs.put(b"old").unwrap();
        blobs.lock().remove(&old);
        assert_eq!(blobs.sweep(&BTreeSet::from([kept])).unwrap(), 1);
        assert!(blobs.get(kept).is_ok() && blobs.get(fresh).is_ok());
        // The same text is put once more, and stays for its job.
        assert!(matches!(blobs.get(old), Err(BlobError::Missing(_))));
        assert_eq!(blobs.put(b"old").unwrap(), old);
        blobs.lock().remove(&kept);
        assert_eq!(blobs.sweep(&BTreeSet::new()).unwrap(), 1);
        assert!(blobs.get(old).is_ok() && blobs.get(kept).is_err());
    }

    #[test]
    fn what_nobody_names_goes() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(&scratch.path("blobs")).unwrap();
        let (kept, gone) = (blobs.put(b"kept").unwrap(), blobs.put(b"gone").unwrap());
        assert_eq!(blobs.keep_only(&BTreeSet::from([kept])).unwrap(), 1);
        assert!(blobs.get(kept).is_ok());
        assert!(matches!(blobs.get(gone), Err(BlobError::Missing(_))));
    }
}
