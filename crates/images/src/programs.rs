//! Programs of this machine for machines that have nothing: with the libraries that they need.
use crate::archive::Archive;
use crate::step::{ImageError, find_program};
use crate::store::{Image, Root};
use pcluster_model::BlobHash;
use pcluster_wire::NODE_PROGRAMS;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where they lie on a node.
const FOLDER: &str = "opt/pcluster/bin";

/// An archive of other programs is removed after this.
const ARCHIVE_KEPT: Duration = Duration::from_secs(3600);

/// A program of pcluster beside those in `folder`. An installation has the command elsewhere: `bin` beside
/// `libexec/pcluster`, and a link to it among the names of Slurm.
#[must_use]
pub fn program_beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let places =
        [folder.join(name), folder.join("../../bin").join(name), folder.join("slurm").join(name)];
    places.into_iter().find(|path| path.is_file())
}

/// The programs of the head that a node needs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder that they lie in.
    pub folder: PathBuf,
}

impl Programs {
    fn paths(&self) -> Result<Vec<(&'static str, PathBuf)>, ImageError> {
        let place = |name: &'static str| {
            program_beside(&self.folder, name).map(|path| (name, path)).ok_or_else(|| {
                let words = format!("there is no {name} in {}", self.folder.display());
                ImageError::missing(words, "install pcluster again: scripts/install")
            })
        };
        NODE_PROGRAMS.into_iter().map(place).collect()
    }

    /// Which files they are: every installation puts new ones in their place, and reading all of them
    /// at each launch would take longer than a boot.
    fn mark(paths: &[(&str, PathBuf)]) -> Result<String, ImageError> {
        let mut hash = Sha256::new();
        for (name, path) in paths {
            let failed = ImageError::io(format!("cannot read {}", path.display()));
            let meta = fs::metadata(path).map_err(failed)?;
            let place = [meta.dev(), meta.ino(), meta.size()];
            let changed = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            hash.update(format!("{name} {place:?} {changed:?}\n"));
        }
        Ok(BlobHash(hash.finalize().into()).to_string())
    }

    /// The archive that a machine of this image boots with: the image's own, and these programs. It
    /// is made once for each version of them, and lies beside the image.
    ///
    /// # Errors
    /// When a program is missing or the disk is full.
    pub fn boot_archive(&self, image: &Image) -> Result<PathBuf, ImageError> {
        let paths = self.paths()?;
        let mark = Self::mark(&paths)?;
        let ready = image.dir.join(format!("boot-{}.cpio", &mark[..16]));
        if ready.exists() {
            return Ok(ready);
        }
        let draft = image.dir.join(format!(".boot-{}-{mark}", std::process::id()));
        let made = self.make(&paths, image, &draft);
        let made = made.and_then(|()| {
            fs::rename(&draft, &ready)
                .map_err(ImageError::io(format!("cannot make {}", ready.display())))
        });
        let _ = fs::remove_file(&draft);
        forget_old(&image.dir, &ready);
        made.map(|()| ready)
    }

    fn make(
        &self,
        paths: &[(&str, PathBuf)],
        image: &Image,
        draft: &Path,
    ) -> Result<(), ImageError> {
        let failed = || ImageError::io(format!("cannot write {}", draft.display()));
        let slim = draft.with_extension("programs");
        fs::create_dir_all(&slim).map_err(failed())?;
        let mut archive = Archive::default();
        for (name, path) in paths {
            let stripped = stripped(path, &slim.join(name));
            archive.file(&format!("{FOLDER}/{name}"), &stripped)?;
            if image.manifest.root == Root::Memory {
                for library in libraries_of(path)? {
                    archive.file(&library.display().to_string(), &library)?;
                }
            }
        }
        let programs = slim.join("programs.cpio");
        archive.write(&programs)?;
        // A kernel unpacks one archive after the other; each begins at a multiple of four bytes.
        let mut out = File::create(draft).map_err(failed())?;
        for part in [image.archive(), programs] {
            let mut part = File::open(&part).map_err(failed())?;
            io::copy(&mut part, &mut out).map_err(failed())?;
        }
        fs::remove_dir_all(&slim).map_err(failed())
    }
}

/// Removes archives of programs that were replaced long ago: no machine is about to boot from them.
fn forget_old(dir: &Path, ready: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_archive = name.as_encoded_bytes().starts_with(b"boot-") && entry.path() != ready;
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
        if is_archive && age.is_ok_and(|age| age.is_ok_and(|age| age > ARCHIVE_KEPT)) {
            // What cannot be removed now is tried again next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The program without what only debuggers read, where there is `strip`: it lies in memory on nodes.
fn stripped(program: &Path, to: &Path) -> PathBuf {
    let done = find_program("strip")
        .is_some_and(|strip| ran(Command::new(strip).arg("-o").arg(to).arg(program)));
    if done { to.to_path_buf() } else { program.to_path_buf() }
}

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The shared libraries of a program and what loads them, as `ldd` finds them; none where the program
/// is static.
pub(crate) fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let said = Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let said = said.map_err(ImageError::io("cannot run ldd"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let lost = text.lines().find(|line| line.contains("not found"));
    if let Some(lost) = lost {
        let words = format!("{} lacks a library: {}", program.display(), lost.trim());
        return Err(ImageError::Wrong(words));
    }
    Ok(text.lines().filter_map(library).collect())
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f…)` or `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
    let path = path.split_whitespace().next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_as_ldd_writes_them() {
        let lines = [
            "\tlinux-vdso.so.1 (0x00007fc48a681000)",
            "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fc48953e000)",
            "\t/lib64/ld-linux-x86-64.so.2 (0x00007fc48a683000)",
            "\tstatically linked",
        ];
        let found: Vec<_> = lines.iter().filter_map(|line| library(line)).collect();
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
