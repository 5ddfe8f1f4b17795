//! The Unix socket of users: who connects is what the kernel says, never what the request says.
//!
//! Invariant: every request carries a `Principal` made from peer credentials before any handler
//! sees it. A head that is not root's serves its own user only. Deliberately absent: TCP.
use crate::limits;
use crate::mirror::Mirror;
use crate::people::People;
use axum::Router;
use axum::body::Body;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pcluster_api::places::file_beside;
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::input::Principal;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Binds the socket. One that a dead head left is replaced; the lock on the state directory has
/// already shown that no other head is alive.
///
/// # Errors
/// When something else lies there, or the folder does not take it.
pub fn bind(path: &Path, is_root: bool) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(seen) if seen.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("something that is not a socket lies there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Root's head serves everybody; peer credentials say who it is.
    let mode = if is_root { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Writes beside the socket which file its head was started with, so that a command of another
/// cluster of the same name is not served by mistake.
///
/// # Errors
/// When the folder does not take it.
pub fn name_file(socket: &Path, config_file: &Path, is_root: bool) -> io::Result<()> {
    let path = file_beside(socket);
    std::fs::write(&path, config_file.as_os_str().as_encoded_bytes())?;
    let mode = if is_root { 0o644 } else { 0o600 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
}

/// What the socket serves, and for whom.
#[derive(Clone)]
pub struct Door {
    pub router: Router,
    pub people: People,
    pub mirror: Mirror,
    /// The user who started the head.
    pub head_uid: u32,
}

/// Serves users until the task is dropped.
pub async fn serve(listener: UnixListener, door: Door) {
    let places = Arc::new(Semaphore::new(limits::CLIENTS));
    let mine: Arc<Mutex<BTreeMap<u32, usize>>> = Arc::default();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of a user");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (door, mine) = (door.clone(), Arc::clone(&mine));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, door, mine).await {
                tracing::debug!(%error, "a connection of a user ended");
            }
        });
    }
}

async fn connection(
    stream: UnixStream,
    door: Door,
    counts: Arc<Mutex<BTreeMap<u32, usize>>>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (peer.uid(), peer.gid());
    let _counted = Counted::new(&counts, uid);
    let many = _counted.number > limits::CLIENTS_OF_ONE;
    let who = if many {
        Err(Problem::new(ProblemKind::Unavailable, "too many connections of yours are open"))
    } else {
        principal(&door, uid, gid).await
    };
    let inner = TowerToHyperService::new(door.router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        let answer = match &who {
            Ok(principal) => {
                request.extensions_mut().insert(principal.clone());
                Ok(inner.call(request))
            }
            Err(problem) => Err(refusal(problem)),
        };
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(refusal) => Ok(refusal),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(io::Error::other)
}

async fn principal(door: &Door, uid: u32, gid: u32) -> Result<Principal, Problem> {
    if door.head_uid != 0 && uid != door.head_uid && uid != 0 {
        return Err(Problem::new(
            ProblemKind::NotAllowed,
            "this head was started without root and serves only the user who started it",
        )
        .hint("an admin can run a head as root, which serves every user of this machine"));
    }
    let admins = {
        let cluster = door.mirror.read();
        cluster.config().map(|config| config.admins.clone()).unwrap_or_default()
    };
    door.people.principal(uid, gid, &admins).await.map_err(|error| {
        Problem::new(ProblemKind::NotAllowed, format!("the head cannot tell who you are: {error}"))
    })
}

pub(crate) fn refusal(problem: &Problem) -> axum::response::Response {
    let text = serde_json::to_string(problem).unwrap_or_default();
    axum::http::Response::builder()
        .status(problem.kind.status())
        .header("content-type", "application/json")
        .body(Body::from(text))
        .expect("a status of the table and a constant header make a response")
}

/// Counts the connections of a user while it lives.
struct Counted {
    counts: Arc<Mutex<BTreeMap<u32, usize>>>,
    uid: u32,
    number: usize,
}

impl Counted {
    fn new(counts: &Arc<Mutex<BTreeMap<u32, usize>>>, uid: u32) -> Self {
        let mut all = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = all.entry(uid).or_default();
        *number += 1;
        Self { counts: Arc::clone(counts), uid, number: *number }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = all.get_mut(&self.uid) {
            *number -= 1;
            if *number == 0 {
                all.remove(&self.uid);
            }
        }
    }
}
