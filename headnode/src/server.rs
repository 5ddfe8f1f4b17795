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
use pcluster_api::seats::{Full, Seats};
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::input::Principal;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
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
    let seats = Seats::new(limits::CLIENTS, limits::CLIENTS_OF_ONE);
    let refusals = Arc::new(Semaphore::new(limits::REFUSALS));
    loop {
        let taken = async {
            let (stream, _) = listener.accept().await?;
            let peer = stream.peer_cred()?;
            Ok::<_, io::Error>((stream, peer))
        };
        let (stream, peer) = match taken.await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of a user");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let door = door.clone();
        match seats.take(peer.uid()) {
            Ok(seat) => {
                tokio::spawn(async move {
                    let _seat = seat;
                    let who = principal(&door, peer.uid(), peer.gid()).await;
                    if let Err(error) =
                        answer(TokioIo::new(stream), door.router, || who.clone()).await
                    {
                        tracing::debug!(%error, "a connection of a user ended");
                    }
                });
            }
            Err(full) => {
                // Nobody may hold what is not counted, the words of a refusal included.
                let Ok(place) = Arc::clone(&refusals).try_acquire_owned() else { continue };
                tokio::spawn(async move {
                    let _place = place;
                    let stream = TokioIo::new(stream);
                    let words = answer(stream, door.router, || Err(too_many(full)));
                    drop(tokio::time::timeout(limits::REFUSAL, words).await);
                });
            }
        }
    }
}

/// As many connections are open as may be.
pub(crate) fn too_many(full: Full) -> Problem {
    let words = match full {
        Full::OfOne => "too many connections of yours are open",
        Full::OfAll => "as many connections are open as the head serves",
    };
    Problem::new(ProblemKind::Unavailable, words).hint("ask again in a moment")
}

/// Serves the interface on one connection; who asks is said anew for every request.
pub(crate) async fn answer<S>(
    stream: S,
    router: Router,
    who: impl Fn() -> Result<Principal, Problem>,
) -> io::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        let answer = who().map(|principal| {
            request.extensions_mut().insert(principal);
            inner.call(request)
        });
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(problem) => Ok(refusal(&problem)),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST_HEAD)
        .serve_connection(stream, service)
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
