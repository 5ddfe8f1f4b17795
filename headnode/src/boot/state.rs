//! The state directory: its lock, and what is made in it once.
use super::BootError;
use crate::agents::tls::{HeadKey, write_secret};
use crate::agents::token::{ClusterSecret, hex};
use crate::disk;
use pcluster_core::Cluster;
use pcluster_core::rows::Row;
use pcluster_model::{ClusterId, Timestamp};
use pcluster_store::EventStore;
use pcluster_upkeep::blobs::Blobs;
use pcluster_upkeep::{Lock, LockError, files};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A locked state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held as long as the process lives.
    _lock: Lock,
}

/// Everything a state directory held.
pub struct Stored {
    pub store: EventStore,
    pub cluster: Cluster,
    pub last_at: Timestamp,
    pub id: ClusterId,
    pub secret: ClusterSecret,
    pub key: HeadKey,
    pub blobs: Blobs,
}

impl StateDir {
    /// Takes the directory, which must exist.
    ///
    /// # Errors
    /// `Running` when another head has it.
    pub fn lock(path: &Path) -> Result<Self, BootError> {
        let mut lock = Lock::take(path).map_err(|error| match error {
            LockError::Io { path, cause } => BootError::io("open", path)(cause),
            LockError::Taken { holder } => {
                let holder = match holder.as_str() {
                    "" => "its process is not known".to_owned(),
                    pid => format!("process {pid}"),
                };
                BootError::Running { state_dir: path.to_path_buf(), holder }
            }
        })?;
        // A full disk has no room for the next line.
        disk::make_room(path).map_err(BootError::io("make room in", path))?;
        lock.name_holder().map_err(BootError::io("write", Lock::path(path)))?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads what is there and makes what is not; a new cluster gets the id that it was `given`, or any.
    ///
    /// # Errors
    /// A file that is damaged, of a newer version or of another cluster is refused untouched.
    pub fn load(&self, given: Option<&ClusterId>) -> Result<Stored, BootError> {
        let path = self.path.join(files::EVENTS);
        // Made before the id was: it was there.
        if self.path.join(files::CLUSTER_ID).exists() && !path.exists() {
            return Err(BootError::Contradiction(format!(
                "{} is gone: the jobs of this cluster were in it\nhint: pcluster admin restore COPY, or remove {} to begin anew",
                path.display(),
                self.path.display()
            )));
        }
        let (store, loaded) = EventStore::open(&path)?;
        let id = self.cluster_id(&loaded.rows, given)?;
        if let Some(given) = given.filter(|given| **given != id) {
            return Err(BootError::Contradiction(format!(
                "this machine was made for cluster {given}, and {} is of cluster {id}",
                self.path.display()
            )));
        }
        let blobs = Blobs::open(&self.path.join(files::BLOBS))?;
        let cluster = if loaded.log_length == 0 {
            Cluster::new(id.clone())
        } else {
            Cluster::from_rows(loaded.rows.into_iter(), loaded.log_length, loaded.last_at)?
        };
        blobs.keep_only(&cluster.blobs())?;
        Ok(Stored {
            store,
            cluster,
            last_at: loaded.last_at,
            id,
            secret: self.secret()?,
            key: HeadKey::load_or_make(&self.path)?,
            blobs,
        })
    }

    /// The id in the log, or the one made before the log's first event, or a new one.
    fn cluster_id(&self, rows: &[Row], given: Option<&ClusterId>) -> Result<ClusterId, BootError> {
        let path = self.path.join(files::CLUSTER_ID);
        let written = match fs::read_to_string(&path) {
            Ok(text) => Some(ClusterId::from(text.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(BootError::io("read", &path)(error)),
        };
        let meta = rows.iter().find(|row| row.table == "meta");
        let logged = meta.and_then(|row| {
            let meta: pcluster_core::Meta = serde_json::from_str(&row.body).ok()?;
            Some(meta.cluster)
        });
        match (written, logged) {
            (Some(written), Some(logged)) if written != logged => {
                Err(BootError::Contradiction(format!(
                    "{} says cluster {written}, the event log beside it is of cluster {logged}",
                    path.display()
                )))
            }
            (Some(id), _) if is_id(&id) => Ok(id),
            (Some(id), _) => Err(BootError::Contradiction(format!(
                "{} holds no cluster id: {:?}",
                path.display(),
                id.as_str()
            ))),
            (None, logged) => {
                let id = logged.or_else(|| given.cloned());
                let id = id.map_or_else(|| random::<8>().map(|bytes| ClusterId(hex(&bytes))), Ok);
                let id = id.map_err(BootError::io("make", &path))?;
                let kept = write_secret(&path, id.as_str().as_bytes());
                kept.map_err(BootError::io("write", &path))?;
                Ok(id)
            }
        }
    }

    fn secret(&self) -> Result<ClusterSecret, BootError> {
        let path = self.path.join(files::SECRET);
        match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(secret) => Ok(ClusterSecret(secret)),
                Err(_) => Err(BootError::Contradiction(format!(
                    "{} does not hold the 32 bytes of a secret",
                    path.display()
                ))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = random::<32>().map_err(BootError::io("make", &path))?;
                write_secret(&path, &secret).map_err(BootError::io("write", &path))?;
                Ok(ClusterSecret(secret))
            }
            Err(error) => Err(BootError::io("read", &path)(error)),
        }
    }

    /// The port that nodes of this directory were told to dial.
    #[must_use]
    pub fn kept_port(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.path.join(files::NODE_ADDRESS)).ok()?.trim().parse().ok()
    }

    /// Remembers the port for the next head.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_port(&self, address: SocketAddr) -> Result<(), BootError> {
        if self.kept_port() == Some(address) {
            return Ok(());
        }
        let path = self.path.join(files::NODE_ADDRESS);
        let kept = write_secret(&path, address.to_string().as_bytes());
        kept.map_err(BootError::io("write", path))
    }
}

fn is_id(id: &ClusterId) -> bool {
    id.as_str().len() == 16 && id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
