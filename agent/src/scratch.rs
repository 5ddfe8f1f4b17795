//! How much of its node's disk a run has in use, below its `TMPDIR`.
//!
//! Invariant: of a run at most one look is under way, in a thread of its own, and looking takes at most
//! one part in [`SHARE`] of a CPU. A walk goes by descriptors, follows no link and leaves no file
//! system, so that whatever a user puts there leads nowhere. Counted is what the disk gives: holes
//! take nothing, a file with two names counts once. Deliberately absent: files that have no name any
//! more, which nobody can find without looking through the processes; and ending (the keeper does it).
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Between two looks at the least.
const EVERY: Duration = Duration::from_secs(2);
/// And this many times as long as the last look took.
const SHARE: u32 = 20;
/// Too much is too much when it is there twice, so long apart.
const AGAIN: Duration = Duration::from_secs(1);
/// Entries of one look at most; the rest is not counted.
const ENTRIES: u64 = 4_000_000;

/// What a walk found, and how long it took.
type Looked = (io::Result<u64>, Duration);

/// Watches one run.
#[derive(Debug)]
pub struct Scratch {
    limit: u64,
    look: Option<Receiver<Looked>>,
    due: Instant,
    was_over: bool,
}

impl Scratch {
    /// A run that may use so many bytes.
    pub fn new(limit: u64, now: Instant) -> Self {
        Self { limit, look: None, due: now + EVERY, was_over: false }
    }

    /// What it may use, in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes what was found of `dir` and looks again when it is time; what is in use, in bytes, when
    /// that is too much for the second time.
    pub fn turn(&mut self, now: Instant, dir: &Path) -> Option<u64> {
        let answer = self.look.as_ref().map(Receiver::try_recv);
        match answer {
            None if now >= self.due => {
                let (sender, answer) = channel();
                let dir = PathBuf::from(dir);
                let looking = move || {
                    let begun = Instant::now();
                    drop(sender.send((used(&dir), begun.elapsed())));
                };
                drop(std::thread::Builder::new().name("scratch".into()).spawn(looking));
                self.look = Some(answer);
                None
            }
            None | Some(Err(TryRecvError::Empty)) => None,
            Some(Ok((found, took))) => self.take(found.unwrap_or(0), took, now),
            Some(Err(TryRecvError::Disconnected)) => self.take(0, EVERY, now),
        }
    }

    fn take(&mut self, used: u64, took: Duration, now: Instant) -> Option<u64> {
        self.look = None;
        let is_over = used > self.limit;
        let twice = is_over && std::mem::replace(&mut self.was_over, is_over);
        self.was_over = is_over;
        let pause = if is_over && !twice { AGAIN } else { EVERY };
        self.due = now + pause.max(took.saturating_mul(SHARE));
        twice.then_some(used)
    }
}

/// Bytes of the disk that a directory and all below it take.
fn used(dir: &Path) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, dir, flags, Mode::empty())?;
    let mut walk = Walk { root, bytes: 0, entries: 0, seen: BTreeSet::new() };
    let mut open = vec![CString::from(c".")];
    while let Some(path) = open.pop() {
        match walk.folder(&path, &mut open) {
            Ok(()) => {}
            // Without it nothing can be found out here.
            Err(Errno::NOSYS) => return Err(Errno::NOSYS.into()),
            // Gone meanwhile, another file system, or closed to us.
            Err(_) => {}
        }
        if walk.entries >= ENTRIES {
            break;
        }
    }
    Ok(walk.bytes)
}

struct Walk {
    root: OwnedFd,
    bytes: u64,
    entries: u64,
    /// Files with several names.
    seen: BTreeSet<u64>,
}

impl Walk {
    /// Counts a folder by its path from the root; the folders in it are still to be walked.
    fn folder(&mut self, path: &CString, open: &mut Vec<CString>) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let folder = openat2(&self.root, path.as_c_str(), flags, Mode::empty(), inside)?;
        self.bytes += blocks(fstat(&folder)?.st_blocks);
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            // What another file system hides is not even asked for: it may not answer.
            let mut kind = entry.file_type();
            if kind != FileType::Directory {
                let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT);
                let Ok(stat) = stat else { continue };
                kind = FileType::from_raw_mode(stat.st_mode);
                if kind != FileType::Directory
                    && (stat.st_nlink < 2 || self.seen.insert(stat.st_ino))
                {
                    self.bytes += blocks(stat.st_blocks);
                }
            }
            if kind == FileType::Directory {
                let path = [path.as_bytes(), b"/", name.to_bytes()].concat();
                // A name has no NUL byte.
                open.extend(CString::new(path));
            }
            if self.entries >= ENTRIES {
                break;
            }
        }
        Ok(())
    }
}

/// The kernel counts in 512 bytes, on every file system.
fn blocks(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0).saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pcd-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    const MB: u64 = 1 << 20;

    #[test]
    fn what_the_disk_gives_counts_once_and_links_lead_nowhere() {
        let (folder, other) = (Folder::new("used"), Folder::new("other"));
        fs::write(other.0.join("large"), vec![1; 4 << 20]).unwrap();
        fs::create_dir_all(folder.0.join("a/b")).unwrap();
        fs::write(folder.0.join("a/b/file"), vec![1; 2 << 20]).unwrap();
        fs::hard_link(folder.0.join("a/b/file"), folder.0.join("twin")).unwrap();
        symlink(&other.0, folder.0.join("away")).unwrap();
        symlink(folder.0.join("a"), folder.0.join("a/loop")).unwrap();
        fs::File::create(folder.0.join("holes")).unwrap().set_len(1 << 40).unwrap();
        let found = used(&folder.0).unwrap();
        assert!((2 * MB..3 * MB).contains(&found), "{found}");
    }

    #[test]
    fn a_deep_tree_is_walked_without_a_descriptor_for_each_level() {
        let folder = Folder::new("deep");
        let deep = (0..600).fold(folder.0.clone(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), vec![1; 1 << 20]).unwrap();
        assert!(used(&folder.0).unwrap() >= MB);
    }

    #[test]
    fn too_much_is_told_when_it_is_there_twice() {
        let now = Instant::now();
        let mut scratch = Scratch::new(10, now);
        let took = Duration::from_millis(1);
        assert_eq!(scratch.take(11, took, now), None);
        assert_eq!(scratch.due, now + AGAIN);
        assert_eq!(scratch.take(9, took, now), None, "some of it is gone again");
        assert_eq!(scratch.take(11, took, now), None);
        assert_eq!(scratch.take(12, took, now), Some(12));
        assert_eq!(scratch.take(12, Duration::from_secs(1), now), Some(12), "told until it ends");
        assert_eq!(scratch.due, now + Duration::from_secs(20), "a long look makes a long pause");
        assert_eq!(scratch.take(10, took, now), None);
    }

    #[test]
    fn a_look_is_taken_aside_and_its_answer_later() {
        let folder = Folder::new("turn");
        fs::write(folder.0.join("file"), vec![1; 1 << 20]).unwrap();
        let begun = Instant::now();
        let mut scratch = Scratch::new(MB / 2, begun);
        assert_eq!(scratch.turn(begun, &folder.0), None, "not yet");
        let until = begun + Duration::from_secs(20);
        let found = loop {
            let found = scratch.turn(Instant::now() + EVERY, &folder.0);
            if found.is_some() || Instant::now() > until {
                break found;
            }
            std::thread::yield_now();
        };
        assert!(found.is_some_and(|used| used >= MB), "{found:?}");
    }
}
