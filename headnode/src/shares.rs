//! Tokens in shared paths: a small file in each by which nodes know that what they see is what the
//! head sees.
//!
//! Invariant: nothing is written but `.pcluster/CLUSTER` below a shared path, in a directory of the
//! head's own user that nobody else can change, whatever users put there. A path that does not answer
//! holds up nothing. A path where the head cannot write has no token: nodes only look whether it is
//! there. Deliberately absent: `/`, which is no share of its own, and removing: the path outlives us.
use crate::limits;
use crate::mirror::Mirror;
use pcluster_core::shares::proved_paths;
use pcluster_model::ClusterId;
use pcluster_model::config::Config;
use pcluster_wire::{ShareCheck, ShareToken};
use rustix::fs::{CWD, Mode, OFlags, fchmod, fstat, mkdirat, openat, renameat};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const FOLDER: &str = ".pcluster";

/// What is known of the tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShareTokens {
    cluster: ClusterId,
    /// Paths whose token is there, and the trouble with the others.
    paths: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
}

impl ShareTokens {
    /// None yet.
    #[must_use]
    pub fn new(cluster: ClusterId) -> Self {
        Self { cluster, paths: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Result<(), String>>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node is told of these paths.
    #[must_use]
    pub fn checks(&self, paths: &[String]) -> Vec<ShareCheck> {
        let known = self.lock();
        let is_there = |path: &String| known.get(path).is_some_and(Result::is_ok);
        let check = |path: &String| {
            let token = is_there(path).then(|| self.token(path));
            ShareCheck { path: path.clone(), token }
        };
        paths.iter().map(check).collect()
    }

    /// It names the path too: two that are mounted in each other's place are both wrong.
    fn token(&self, path: &str) -> ShareToken {
        let cluster = &self.cluster;
        ShareToken { file: format!("{FOLDER}/{cluster}"), text: format!("{cluster} {path}\n") }
    }

    /// Looks after the token of a path, aside.
    fn keep_one(&self, path: String) -> JoinHandle<()> {
        let tokens = self.clone();
        tokio::task::spawn_blocking(move || {
            let kept = keep(&path, &tokens.token(&path)).map_err(|error| error.to_string());
            let before = tokens.lock().insert(path.clone(), kept.clone());
            if let Err(error) = kept
                && before != Some(Err(error.clone()))
            {
                let text =
                    "no token can be kept in a shared path: nodes only look whether it is there";
                tracing::warn!(path, error, "{text}");
            }
        })
    }
}

/// Looks after the tokens of a head.
pub struct Keeping {
    tokens: ShareTokens,
    mirror: Mirror,
    under_way: BTreeMap<String, JoinHandle<()>>,
    looked: Option<(BTreeSet<String>, Instant)>,
}

fn paths_of(config: &Config) -> BTreeSet<String> {
    config.pools.iter().flat_map(proved_paths).map(str::to_owned).collect()
}

impl Keeping {
    /// Begins with the paths of the configuration; waits for them for a while.
    pub async fn start(tokens: ShareTokens, mirror: Mirror) -> Self {
        let mut keeping = Self { tokens, mirror, under_way: BTreeMap::new(), looked: None };
        keeping.look();
        let until = Instant::now() + limits::SHARES_FIRST;
        while keeping.under_way.values().any(|task| !task.is_finished()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        keeping
    }

    /// Goes on for ever: a new path is looked at at once, every path now and then.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(limits::SHARES_LOOK).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let paths = self.mirror.read().config().map(paths_of).unwrap_or_default();
        let fresh = self
            .looked
            .as_ref()
            .is_some_and(|(known, at)| *known == paths && at.elapsed() < limits::SHARES_EVERY);
        if fresh {
            return;
        }
        self.under_way.retain(|_, task| !task.is_finished());
        for path in &paths {
            // One that does not answer is waited for, not asked again.
            if !self.under_way.contains_key(path) {
                self.under_way.insert(path.clone(), self.tokens.keep_one(path.clone()));
            }
        }
        self.looked = Some((paths, Instant::now()));
    }
}

/// The token is there, or is written.
fn keep(path: &str, token: &ShareToken) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, path, flags, Mode::empty())?;
    let name = token.file.strip_prefix(FOLDER).unwrap_or_default().trim_start_matches('/');
    match mkdirat(&root, FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        // There already, on a disk that is read-only or full by now.
        Err(error) if openat(&root, FOLDER, flags, Mode::empty()).is_err() => {
            return Err(error.into());
        }
        Err(_) => {}
    }
    let folder = openat(&root, FOLDER, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = fstat(&folder)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::other(format!("others may change {path}/{FOLDER}")));
    }
    if read(folder.as_fd(), name).is_ok_and(|text| text == token.text.as_bytes()) {
        return Ok(());
    }
    // A mask may have taken the way in from nodes of other users.
    fchmod(&folder, Mode::from_raw_mode(0o755))?;
    write(folder.as_fd(), name, &token.text)
}

fn read(folder: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text)?;
    Ok(text)
}

fn write(folder: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let new = format!("{name}.new");
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let mut file = File::from(openat(folder, &new, flags, mode)?);
    fchmod(&file, mode)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    renameat(folder, &new, folder, name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pch-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn keep(&self) -> io::Result<()> {
            let path = self.0.display().to_string();
            let tokens = ShareTokens::new(ClusterId::from("00ff"));
            keep(&path, &tokens.token(&path))
        }

        fn token(&self) -> String {
            fs::read_to_string(self.0.join(".pcluster/00ff")).unwrap_or_default()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_token_names_cluster_and_path_and_is_written_anew_when_it_is_lost() {
        let folder = Folder::new("token");
        folder.keep().unwrap();
        assert_eq!(folder.token(), format!("00ff {}\n", folder.0.display()));
        let modified =
            || fs::metadata(folder.0.join(".pcluster/00ff")).unwrap().modified().unwrap();
        let before = modified();
        folder.keep().unwrap();
        assert_eq!(modified(), before, "one that is right stays");
        fs::write(folder.0.join(".pcluster/00ff"), "another").unwrap();
        folder.keep().unwrap();
        assert!(folder.token().starts_with("00ff "));
        fs::remove_dir_all(folder.0.join(".pcluster")).unwrap();
        folder.keep().unwrap();
        assert!(folder.token().starts_with("00ff "));
    }

    #[test]
    fn a_folder_that_others_prepared_is_not_written_to() {
        let (folder, trap) = (Folder::new("prepared"), Folder::new("trap"));
        symlink(&trap.0, folder.0.join(".pcluster")).unwrap();
        assert!(folder.keep().is_err());
        assert_eq!(fs::read_dir(&trap.0).unwrap().count(), 0);
        fs::remove_file(folder.0.join(".pcluster")).unwrap();
        fs::create_dir(folder.0.join(".pcluster")).unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.0.join(".pcluster"), open).unwrap();
        assert!(folder.keep().is_err());
        assert!(
            ShareTokens::new(ClusterId::from("00ff")).checks(&["/s".into()])[0].token.is_none()
        );
    }
}
