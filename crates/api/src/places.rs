//! Where a cluster keeps its things on the machine of its head: state, socket and log.
//!
//! Invariant: the head and every client compute the same paths from the same surroundings, because
//! both call this module. Deliberately absent: finding `cluster.toml`, and anything that connects.
//!
//! | who | state | socket | log |
//! |---|---|---|---|
//! | root | `/var/lib/pcluster/NAME` | `/run/pcluster/NAME/head.sock` | `/var/log/pcluster/NAME.log` |
//! | others | `~/.local/state/pcluster/NAME` | `$XDG_RUNTIME_DIR/pcluster/NAME/head.sock` | `head.log` in the state |
//!
//! `PCLUSTER_STATE_DIR` and `PCLUSTER_RUNTIME_DIR` replace the parents of `NAME`, for anyone. Images of
//! virtual machines are shared by all clusters of a user: `images.d` beside the states, which is no name
//! of a cluster, or what `PCLUSTER_IMAGES_DIR` says.
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A Unix socket's path holds 108 bytes with its end mark; some are kept for the socket's siblings.
pub const MAX_SOCKET_PATH_BYTES: usize = 100;

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// The kernel cannot bind a socket there.
    #[error(
        "the path of the socket is {} bytes long, and {MAX_SOCKET_PATH_BYTES} is the most: {}",
        .0.as_os_str().len(), .0.display()
    )]
    SocketPathTooLong(PathBuf),
    /// Neither `HOME` nor a variable that replaces it is set.
    #[error("no home directory: HOME is not set, and neither is PCLUSTER_STATE_DIR")]
    NoHome,
    /// Somebody else made the folder in the temp folder first.
    #[error("{} belongs to user {owner}, not to you", path.display())]
    NotYours { path: PathBuf, owner: u32 },
    /// Others may write there.
    #[error("{} may be written by others: chmod 700 it", path.display())]
    OpenToOthers { path: PathBuf },
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What the paths are computed from; a value, so that tests need no environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Effective user id of the process; 0 is root.
    pub uid: u32,
    pub home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `PCLUSTER_STATE_DIR`.
    pub state_override: Option<PathBuf>,
    /// `PCLUSTER_RUNTIME_DIR`.
    pub runtime_override: Option<PathBuf>,
    /// `PCLUSTER_IMAGES_DIR`.
    pub images_override: Option<PathBuf>,
    /// The temp folder, used where there is no `XDG_RUNTIME_DIR`.
    pub temp: PathBuf,
}

impl Surroundings {
    /// Those of this process. The caller knows its `uid`; the standard library does not.
    #[must_use]
    pub fn of_process(uid: u32) -> Self {
        // A relative path would mean another folder in every directory: the XDG rules say ignore it.
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
        };
        Self {
            uid,
            home: absolute("HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_home: absolute("XDG_RUNTIME_DIR"),
            config_home: absolute("XDG_CONFIG_HOME"),
            state_override: absolute("PCLUSTER_STATE_DIR"),
            runtime_override: absolute("PCLUSTER_RUNTIME_DIR"),
            images_override: absolute("PCLUSTER_IMAGES_DIR"),
            temp: std::env::temp_dir(),
        }
    }

    /// `~/.config/pcluster`, where a person keeps a `cluster.toml` that is not of one project.
    #[must_use]
    pub fn config_dir(&self) -> Option<PathBuf> {
        let home =
            self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(home.join("pcluster"))
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn state_parent(&self) -> Result<PathBuf, PlacesError> {
        if let Some(parent) = &self.state_override {
            return Ok(parent.clone());
        }
        if self.is_root() {
            return Ok(PathBuf::from("/var/lib/pcluster"));
        }
        if let Some(home) = &self.state_home {
            return Ok(home.join("pcluster"));
        }
        let home = self.home.as_ref().ok_or(PlacesError::NoHome)?;
        Ok(home.join(".local/state/pcluster"))
    }

    /// The folder that holds a folder with a socket for each running cluster of this user.
    #[must_use]
    pub fn runtime_parent(&self) -> PathBuf {
        if let Some(parent) = &self.runtime_override {
            return parent.clone();
        }
        if self.is_root() {
            return PathBuf::from("/run/pcluster");
        }
        match &self.runtime_home {
            Some(home) => home.join("pcluster"),
            None => self.temp.join(format!("pcluster-{}", self.uid)).join("pcluster"),
        }
    }

    /// The folder in the temp folder that anybody could have made before us; `None` elsewhere.
    fn shared_ground(&self) -> Option<PathBuf> {
        let in_temp =
            self.runtime_override.is_none() && !self.is_root() && self.runtime_home.is_none();
        in_temp.then(|| self.temp.join(format!("pcluster-{}", self.uid)))
    }

    /// The places of the cluster `name`.
    ///
    /// # Errors
    /// Without a home directory, and where the socket's path is too long for the kernel.
    pub fn places(&self, name: &str) -> Result<Places, PlacesError> {
        let state_parent = self.state_parent()?;
        let state_dir = state_parent.join(name);
        let images = self.images_override.clone().unwrap_or_else(|| state_parent.join("images.d"));
        let runtime_dir = self.runtime_parent().join(name);
        let socket = checked_socket(runtime_dir.join("head.sock"))?;
        let log = if self.is_root() && self.state_override.is_none() {
            Path::new("/var/log/pcluster").join(format!("{name}.log"))
        } else {
            state_dir.join("head.log")
        };
        Ok(Places {
            state_dir,
            runtime_dir,
            socket,
            log,
            images,
            uid: self.uid,
            shared_ground: self.shared_ground(),
        })
    }
}

/// The socket of root's cluster `name`, which every user of the machine may speak to.
#[must_use]
pub fn root_socket(name: &str) -> PathBuf {
    Path::new("/run/pcluster").join(name).join("head.sock")
}

fn checked_socket(socket: PathBuf) -> Result<PathBuf, PlacesError> {
    if socket.as_os_str().as_bytes().len() > MAX_SOCKET_PATH_BYTES {
        return Err(PlacesError::SocketPathTooLong(socket));
    }
    Ok(socket)
}

/// The places of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Event log, keys, process nodes. Mode 0700.
    pub state_dir: PathBuf,
    /// Holds the socket. Root's is 0755 (the head checks peer credentials), others' 0700.
    pub runtime_dir: PathBuf,
    pub socket: PathBuf,
    /// What the head says while nobody looks.
    pub log: PathBuf,
    /// Images of this user's virtual machines.
    pub images: PathBuf,
    uid: u32,
    shared_ground: Option<PathBuf>,
}

impl Places {
    /// Makes the folders of state, socket and log with their modes; those that exist are kept.
    ///
    /// # Errors
    /// When one cannot be made, or the one in the temp folder is not this user's alone.
    pub fn create(&self) -> Result<(), PlacesError> {
        if let Some(ground) = &self.shared_ground {
            make_dir(ground, 0o700)?;
        }
        self.check()?;
        make_dir(&self.state_dir, 0o700)?;
        make_dir(&self.runtime_dir, if self.uid == 0 { 0o755 } else { 0o700 })?;
        match self.log.parent() {
            Some(parent) if parent != self.state_dir => make_dir(parent, 0o755),
            _ => Ok(()),
        }
    }

    /// Refuses a folder in the temp folder that somebody else made: whoever owns it could answer in
    /// the head's place and read every environment that is submitted.
    ///
    /// # Errors
    /// When it is another user's, or open to others. A folder that does not exist is no error.
    pub fn check(&self) -> Result<(), PlacesError> {
        let Some(ground) = &self.shared_ground else { return Ok(()) };
        let seen = match fs::symlink_metadata(ground) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(PlacesError::Io { path: ground.clone(), source }),
        };
        if seen.uid() != self.uid || !seen.is_dir() {
            return Err(PlacesError::NotYours { path: ground.clone(), owner: seen.uid() });
        }
        if seen.permissions().mode() & 0o077 != 0 {
            return Err(PlacesError::OpenToOthers { path: ground.clone() });
        }
        Ok(())
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), PlacesError> {
    let failed = |source| PlacesError::Io { path: path.to_path_buf(), source };
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        // Parents that are missing are everybody's folders (`~/.local/state`): ordinary modes.
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Names of clusters that have a socket below `runtime_parent`, sorted; answering or not.
#[must_use]
pub fn names_with_socket(runtime_parent: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(runtime_parent) else { return Vec::new() };
    let has_socket = |name: &OsString| runtime_parent.join(name).join("head.sock").exists();
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .filter(has_socket)
        .filter_map(|name| name.into_string().ok())
        .collect();
    names.sort();
    names
}

/// Beside the file of a head that lives on a machine made for it: the cluster's id, and whose it is.
#[must_use]
pub fn placed_beside(config: &Path) -> PathBuf {
    config.with_file_name("placed.toml")
}

/// Where a head writes which `cluster.toml` it was started with.
#[must_use]
pub fn file_beside(socket: &Path) -> PathBuf {
    socket.with_file_name("config-file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Surroundings {
        Surroundings {
            uid: 1000,
            home: Some("/home/ana".into()),
            temp: "/tmp".into(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn root_has_the_system_folders() {
        let places = Surroundings { uid: 0, ..user() }.places("genomics").unwrap();
        assert_eq!(places.state_dir, Path::new("/var/lib/pcluster/genomics"));
        assert_eq!(places.socket, root_socket("genomics"));
        assert_eq!(places.log, Path::new("/var/log/pcluster/genomics.log"));
    }

    #[test]
    fn a_user_without_xdg_has_home_and_the_temp_folder() {
        let places = user().places("lab").unwrap();
        assert_eq!(places.state_dir, Path::new("/home/ana/.local/state/pcluster/lab"));
        assert_eq!(places.socket, Path::new("/tmp/pcluster-1000/pcluster/lab/head.sock"));
        assert_eq!(places.log, places.state_dir.join("head.log"));
        assert_eq!(places.images, Path::new("/home/ana/.local/state/pcluster/images.d"));
    }

    #[test]
    fn no_cluster_has_its_state_where_images_are() {
        let called_images = user().places("images").unwrap();
        assert_ne!(called_images.state_dir, called_images.images);
        let elsewhere = Surroundings { images_override: Some("/i".into()), ..user() };
        assert_eq!(elsewhere.places("images").unwrap().images, Path::new("/i"));
    }

    #[test]
    fn xdg_variables_are_honoured() {
        let here = Surroundings {
            state_home: Some("/s".into()),
            runtime_home: Some("/run/user/1000".into()),
            ..user()
        };
        let places = here.places("lab").unwrap();
        assert_eq!(places.state_dir, Path::new("/s/pcluster/lab"));
        assert_eq!(places.socket, Path::new("/run/user/1000/pcluster/lab/head.sock"));
    }

    #[test]
    fn the_overrides_replace_the_parents_even_for_root() {
        let here = Surroundings {
            uid: 0,
            state_override: Some("/t/state".into()),
            runtime_override: Some("/t/run".into()),
            ..user()
        };
        let places = here.places("q").unwrap();
        assert_eq!(places.state_dir, Path::new("/t/state/q"));
        assert_eq!(places.socket, Path::new("/t/run/q/head.sock"));
        assert_eq!(places.log, Path::new("/t/state/q/head.log"));
    }

    #[test]
    fn a_socket_path_beyond_the_kernel_is_refused_in_words() {
        let here = Surroundings { runtime_override: Some("/x".repeat(60).into()), ..user() };
        let error = here.places("lab").unwrap_err();
        assert!(error.to_string().starts_with("the path of the socket is 134 bytes long"));
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let temp = std::env::temp_dir().join(format!("pcluster-places-{}", std::process::id()));
        let uid = {
            fs::create_dir_all(&temp).unwrap();
            fs::metadata(&temp).unwrap().uid()
        };
        // Root has no ground in the temp folder; the rule is about everybody else.
        if uid != 0 {
            let here = Surroundings { uid, temp: temp.clone(), ..user() };
            let places = here.places("lab").unwrap();
            let ground = temp.join(format!("pcluster-{uid}"));
            fs::create_dir(&ground).unwrap();
            fs::set_permissions(&ground, fs::Permissions::from_mode(0o777)).unwrap();
            assert!(matches!(places.check(), Err(PlacesError::OpenToOthers { .. })));
        } else {
            let here = Surroundings { uid: 4242, temp: temp.clone(), ..user() };
            fs::create_dir(temp.join("pcluster-4242")).unwrap();
            let refused = here.places("lab").unwrap().check();
            assert!(matches!(refused, Err(PlacesError::NotYours { owner: 0, .. })));
        }
        fs::remove_dir_all(&temp).unwrap();
    }
}
