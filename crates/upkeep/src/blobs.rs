//! Scripts and environments, each stored once under its SHA-256.
//!
//! Invariant: a blob that has a name is whole (temporary file, fsync, rename) and is checked again
//! when it is read. Deliberately absent: who may read what (the callers know).
use pcluster_model::BlobHash;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The store of blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: Arc<Path>,
    next: Arc<AtomicU64>,
}

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
        Self { root: root.into(), next: Arc::new(AtomicU64::new(0)) }
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

    /// Deletes what `wanted` does not name, and drafts of an earlier process. Only at the start,
    /// when nobody puts a blob whose job is not yet committed. Returns how many went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn keep_only(&self, wanted: &BTreeSet<BlobHash>) -> Result<usize, BlobError> {
        let mut removed = 0;
        for folder in fs::read_dir(&*self.root)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            for blob in fs::read_dir(&folder)? {
                let blob = blob?;
                let name = blob.file_name();
                let hash: Option<BlobHash> = name.to_str().and_then(|name| name.parse().ok());
                if hash.is_none_or(|hash| !wanted.contains(&hash)) {
                    fs::remove_file(blob.path())?;
                    removed += 1;
                }
            }
        }
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
    fn what_nobody_names_goes() {
        let scratch = Scratch::new();
        let blobs = Blobs::open(&scratch.path("blobs")).unwrap();
        let (kept, gone) = (blobs.put(b"kept").unwrap(), blobs.put(b"gone").unwrap());
        assert_eq!(blobs.keep_only(&BTreeSet::from([kept])).unwrap(), 1);
        assert!(blobs.get(kept).is_ok());
        assert!(matches!(blobs.get(gone), Err(BlobError::Missing(_))));
    }
}
