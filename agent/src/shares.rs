//! Shared paths as this node sees them, looked at again and again.
//!
//! Invariant: of each path at most one look is under way, in a thread of its own: a file system that
//! does not answer, which may take hours, holds nothing up and is told as what it is. Nothing is
//! written. Deliberately absent: mounting, and what bad paths mean for the node (the head decides).
use crate::cage::plain;
use crate::mounts;
use pcluster_wire::{ShareCheck, ShareProof};
use rustix::fs::{OFlags, StatVfs, StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// A path that has not answered for so long is bad.
const ANSWER: Duration = Duration::from_secs(15);
/// A bad path is looked at again after this at the latest.
const SOON: Duration = Duration::from_secs(5);
/// Looks at a path that is bad from the start before that is said: what mounts it may be at work.
const FIRST_LOOKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// Free bytes below which a path is full, and from which on it is not full any more; on small file
/// systems so many parts of the whole.
const FULL_BELOW: (u64, u64) = (1 << 20, 100);
const WELL_FROM: (u64, u64) = (16 << 20, 20);

/// What is wrong with a path, to be said after it; `None`: nothing.
type Found = Option<String>;

struct Watch {
    check: ShareCheck,
    /// The look that is under way, and since when.
    look: Option<(Instant, Receiver<Found>)>,
    due: Instant,
    found: Option<Found>,
    looks: u32,
}

/// All shared paths of this node.
#[derive(Default)]
pub struct Shares {
    watches: Vec<Watch>,
    every: Duration,
    told: Vec<ShareProof>,
}

impl Shares {
    /// The head wants these to be proved, each `every` so often. What is known of a path that is
    /// asked for again stays known.
    pub fn ask(&mut self, checks: Vec<ShareCheck>, every: Duration, now: Instant) {
        let mut before = std::mem::take(&mut self.watches);
        self.every = every;
        self.watches = checks
            .into_iter()
            .map(|check| match before.iter().position(|watch| watch.check == check) {
                Some(at) => before.swap_remove(at),
                None => Watch { check, look: None, due: now, found: None, looks: 0 },
            })
            .collect();
    }

    /// A path of which nothing is known yet.
    pub fn unproved(&self) -> Option<&str> {
        let unproved = self.watches.iter().find(|watch| watch.found.is_none());
        unproved.map(|watch| watch.check.path.as_str())
    }

    /// Takes what was found meanwhile and looks at what is due; what is known of all paths, if that
    /// is another thing than before.
    pub fn turn(&mut self, now: Instant) -> Option<Vec<ShareProof>> {
        for watch in &mut self.watches {
            watch.turn(now, self.every);
        }
        let proof = |watch: &Watch| {
            let trouble = watch.found.clone()?;
            Some(ShareProof { path: watch.check.path.clone(), trouble })
        };
        let proofs: Option<Vec<ShareProof>> = self.watches.iter().map(proof).collect();
        let news = proofs.filter(|proofs| *proofs != self.told)?;
        self.told.clone_from(&news);
        Some(news)
    }
}

impl Watch {
    fn turn(&mut self, now: Instant, every: Duration) {
        if let Some((since, answer)) = &self.look {
            match answer.try_recv() {
                Ok(found) => self.take(found, now, every),
                Err(TryRecvError::Disconnected) => {
                    self.take(Some("cannot be looked at".to_owned()), now, every);
                }
                Err(TryRecvError::Empty) if now.duration_since(*since) >= ANSWER => {
                    self.found = Some(Some("does not answer".to_owned()));
                }
                Err(TryRecvError::Empty) => {}
            }
        }
        if self.look.is_none() && now >= self.due {
            let (sender, answer) = channel();
            let (check, was_bad) = (self.check.clone(), matches!(self.found, Some(Some(_))));
            let looking = move || drop(sender.send(look(&check, was_bad).err()));
            // A thread that cannot be had is a look that broke off.
            drop(std::thread::Builder::new().name("share".into()).spawn(looking));
            self.look = Some((now, answer));
        }
    }

    fn take(&mut self, found: Found, now: Instant, every: Duration) {
        self.look = None;
        self.looks = self.looks.saturating_add(1);
        if found.is_some() && self.found.is_none() && self.looks < FIRST_LOOKS {
            self.due = now + FIRST_PAUSE;
            return;
        }
        self.due = now + if found.is_some() { every.min(SOON) } else { every };
        self.found = Some(found);
    }
}

/// Looks at a path once. One that was bad is well again only when there is room to go on.
fn look(check: &ShareCheck, was_bad: bool) -> Result<(), String> {
    // What lies below it is this machine's own.
    if let Some(trouble) = mounts::trouble(&check.path) {
        return Err(trouble);
    }
    let root = Path::new(&check.path);
    let words = |error: &io::Error| match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => "is not there".to_owned(),
        Some(Errno::STALE) => "is stale".to_owned(),
        _ => format!("cannot be read: {}", plain(error)),
    };
    if !fs::metadata(root).map_err(|error| words(&error))?.is_dir() {
        return Err("is not a directory".to_owned());
    }
    let Some(token) = &check.token else {
        // The head cannot write there, so nobody needs to; its first entry proves that it answers.
        return match fs::read_dir(root).map(|mut entries| entries.next().transpose()) {
            Ok(Err(error)) | Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                Err(words(&error))
            }
            Ok(_) | Err(_) => Ok(()),
        };
    };
    let file = root.join(&token.file);
    match read_start(&file, token.text.len() as u64 + 1) {
        Ok(text) if text == token.text.as_bytes() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(words(&error)),
        Ok(_) | Err(_) => return Err("is another file system than the head's".to_owned()),
    }
    let disk = statvfs(root).map_err(|error| words(&error.into()))?;
    // A server may refuse what the mount allows. That only the file's owner may write it says nothing.
    let refused = open(OpenOptions::new().write(true), &file).err();
    let refused = refused.and_then(|error| Errno::from_io_error(&error));
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) || refused == Some(Errno::ROFS) {
        return Err("is read-only".to_owned());
    }
    match room(&disk, if was_bad { WELL_FROM } else { FULL_BELOW }) {
        true => Ok(()),
        false => Err("is full".to_owned()),
    }
}

/// Whether so much is free; some file systems count no inodes.
fn room(disk: &StatVfs, (bytes, parts): (u64, u64)) -> bool {
    let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    free >= bytes.min(whole / parts).max(1) && (disk.f_files == 0 || disk.f_favail > 0)
}

/// Whatever a user has put there neither leads elsewhere nor makes anybody wait.
fn open(options: &mut OpenOptions, file: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0)).open(file)
}

fn read_start(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(OpenOptions::new().read(true), file)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_wire::ShareToken;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pcs-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join(".pcluster")).unwrap();
            Self(path)
        }

        fn check(&self) -> ShareCheck {
            let token = ShareToken { file: ".pcluster/c".into(), text: "c /s\n".into() };
            ShareCheck { path: self.0.display().to_string(), token: Some(token) }
        }

        fn put(&self, text: &str) {
            fs::write(self.0.join(".pcluster/c"), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_path_is_right_by_what_the_head_has_written_there() {
        let folder = Folder::new("token");
        let other = Err("is another file system than the head's".to_owned());
        assert_eq!(look(&folder.check(), false), other);
        folder.put("d /s\n");
        assert_eq!(look(&folder.check(), false), other);
        folder.put("c /s\nand more");
        assert_eq!(look(&folder.check(), false), other);
        folder.put("c /s\n");
        assert_eq!(look(&folder.check(), false), Ok(()));
        assert_eq!(look(&folder.check(), true), Ok(()));
    }

    #[test]
    fn a_path_where_the_head_cannot_write_only_has_to_answer() {
        let folder = Folder::new("plain");
        let check = |path: String| ShareCheck { path, token: None };
        assert_eq!(look(&check(folder.0.display().to_string()), false), Ok(()));
        let missing = folder.0.join("none").display().to_string();
        assert_eq!(look(&check(missing), false), Err("is not there".to_owned()));
        let file = folder.0.join("file");
        fs::write(&file, "").unwrap();
        let file = file.display().to_string();
        assert_eq!(look(&check(file), false), Err("is not a directory".to_owned()));
    }

    #[test]
    fn what_a_user_puts_in_the_place_of_the_token_leads_nowhere() {
        let folder = Folder::new("user");
        let token = folder.0.join(".pcluster/c");
        fs::write(folder.0.join("right"), "c /s\n").unwrap();
        symlink(folder.0.join("right"), &token).unwrap();
        assert!(look(&folder.check(), false).is_err());
        fs::remove_file(&token).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &token, fifo, 0o600.into(), 0).unwrap();
        assert!(look(&folder.check(), false).is_err());
    }

    /// Until something is told, or for two seconds.
    fn told(shares: &mut Shares) -> Option<Vec<ShareProof>> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let news = shares.turn(Instant::now());
            if news.is_some() || Instant::now() > until {
                return news;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn news_is_told_once_and_a_path_that_is_well_again_is_news() {
        let folder = Folder::new("turn");
        let mut shares = Shares::default();
        let every = Duration::from_millis(1);
        shares.ask(vec![folder.check()], every, Instant::now());
        assert_eq!(shares.unproved(), Some(folder.check().path.as_str()));
        let trouble = told(&mut shares).expect("it is bad")[0].trouble.clone();
        assert!(trouble.is_some() && shares.unproved().is_none());
        folder.put("c /s\n");
        assert_eq!(told(&mut shares).expect("it is well")[0].trouble, None);
        shares.ask(vec![folder.check()], every, Instant::now());
        assert_eq!(shares.turn(Instant::now()), None, "asked again by another head");
    }

    #[test]
    fn a_path_that_does_not_answer_is_told_as_such_and_waited_for() {
        let (sender, answer) = channel();
        let check = ShareCheck { path: "/s".into(), token: None };
        let (now, every) = (Instant::now(), Duration::from_secs(10));
        let look = Some((now, answer));
        let mut watch = Watch { check, look, due: now, found: None, looks: 9 };
        watch.turn(now + ANSWER - Duration::from_secs(1), every);
        assert_eq!(watch.found, None);
        watch.turn(now + ANSWER, every);
        assert_eq!(watch.found, Some(Some("does not answer".to_owned())));
        assert!(watch.look.is_some(), "no second look is begun");
        sender.send(None).unwrap();
        watch.turn(now + ANSWER, every);
        assert_eq!(watch.found, Some(None));
    }
}
