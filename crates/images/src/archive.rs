//! The archive that a kernel unpacks before anything runs: cpio, format "newc".
//!
//! Everything in it belongs to root, whoever made it, and there are no times in it: the same content
//! is the same archive, byte for byte.
use crate::programs::libraries_of;
use crate::step::ImageError;
use cpio::newc::{Builder, trailer};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;

/// One entry.
#[derive(Debug, Clone)]
enum Entry {
    Folder,
    Link(String),
    Bytes { bytes: Vec<u8>, mode: u32 },
    File { from: PathBuf, mode: u32 },
}

/// What is to be in an archive, by its path in it (without the first slash).
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        for parent in parents {
            self.entries.entry(parent).or_insert(Entry::Folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    pub fn folder(&mut self, path: &str) {
        self.put(path, Entry::Folder);
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, Entry::Link(to.to_owned()));
    }

    pub fn text(&mut self, path: &str, text: &str, mode: u32) {
        self.bytes(path, text.as_bytes().to_vec(), mode);
    }

    pub fn bytes(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.put(path, Entry::Bytes { bytes, mode });
    }

    /// A file of this machine, with its permissions.
    pub fn file(&mut self, path: &str, from: &Path) -> Result<(), ImageError> {
        let meta = fs::metadata(from)
            .map_err(ImageError::io(format!("cannot read {}", from.display())))?;
        let mode = meta.permissions().mode() & 0o777;
        self.put(path, Entry::File { from: from.to_path_buf(), mode });
        Ok(())
    }

    /// A program of this machine, with the libraries that it needs at their own paths.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<(), ImageError> {
        self.file(path, from)?;
        for library in libraries_of(from)? {
            let at = library.display().to_string();
            self.file(&at, &library)?;
        }
        Ok(())
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), ImageError> {
        let failed = |error| ImageError::io(format!("cannot write {}", path.display()))(error);
        let file = File::create(path).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        for ((path, entry), inode) in self.entries.iter().zip(1..) {
            out = write_entry(out, path, entry, inode).map_err(failed)?;
        }
        let mut out = trailer(out).map_err(failed)?;
        out.flush().map_err(failed)
    }
}

fn write_entry(
    out: BufWriter<File>,
    path: &str,
    entry: &Entry,
    inode: u32,
) -> io::Result<BufWriter<File>> {
    let builder = |mode: u32| Builder::new(path).ino(inode).mode(mode).uid(0).gid(0).nlink(1);
    let bytes = |mode: u32, bytes: &[u8]| -> io::Result<BufWriter<File>> {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut writer = builder(mode).write(out, size);
        writer.write_all(bytes)?;
        writer.finish()
    };
    match entry {
        Entry::Folder => bytes(FOLDER, &[]),
        Entry::Link(to) => bytes(LINK, to.as_bytes()),
        Entry::Bytes { bytes: content, mode } => bytes(REGULAR | mode, content),
        Entry::File { from, mode } => bytes(REGULAR | mode, &fs::read(from)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_archive_with_folders_before_files() {
        let folder = std::env::temp_dir().join(format!("pci-archive-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut archive = Archive::default();
        archive.text("/etc/deep/motd", "hello\n", 0o644);
        archive.link("bin/sh", "busybox");
        let (one, two) = (folder.join("one"), folder.join("two"));
        archive.write(&one).unwrap();
        archive.write(&two).unwrap();
        let bytes = fs::read(&one).unwrap();
        assert_eq!(bytes, fs::read(&two).unwrap());
        let mut names = Vec::new();
        let mut rest: &[u8] = &bytes;
        loop {
            let reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push((reader.entry().name().to_owned(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("bin", FOLDER),
            ("bin/sh", LINK),
            ("etc", FOLDER),
            ("etc/deep", FOLDER),
            ("etc/deep/motd", REGULAR | 0o644),
        ];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
        fs::remove_dir_all(&folder).unwrap();
    }
}
