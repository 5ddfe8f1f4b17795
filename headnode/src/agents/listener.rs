//! The TLS port: the only thing of the head that a network can reach.
//!
//! Invariant: whoever has not proved a key and said a `Hello` that was checked holds one of a fixed
//! number of places, for a fixed time. Exactly four routes exist; users' own are behind one of them,
//! for those who run on the node that asks (`door`). Deliberately absent: anything else.
use super::link::{self, LinkState};
use super::{door, tls};
use crate::limits;
use axum::extract::{Path, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pcluster_model::BlobHash;
use pcluster_wire::MAX_FRAME_BYTES;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// SHA-256 of the client's certificate, in hexadecimal.
#[derive(Debug, Clone)]
pub struct PeerKey(pub String);

/// A place among those who are not known yet; given up once they are.
#[derive(Debug, Clone)]
pub struct PreAuth(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl PreAuth {
    /// The other end is known now.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Serves nodes until the process ends.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, state: LinkState) {
    let places = Arc::new(Semaphore::new(limits::PRE_AUTH));
    let acceptor = TlsAcceptor::from(tls);
    let router = router(state);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: others must close some first.
                tracing::warn!(%error, "cannot take a connection of a node");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, acceptor, router, place).await {
                tracing::debug!(%error, "a connection of a node ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    place: OwnedSemaphorePermit,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(&stream);
    let stream = tokio::time::timeout(limits::HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(certificate) = certificates.first() else {
        return Err(io::Error::other("no client certificate"));
    };
    let key = PeerKey(tls::identity(certificate));
    let place = PreAuth(Arc::new(Mutex::new(Some(place))));
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(key.clone());
        request.extensions_mut().insert(place.clone());
        inner.call(request)
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HANDSHAKE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(io::Error::other)
}

/// A node whose machine vanished without a word is noticed by its streams, too. Best effort: without
/// it such a stream lasts until something is written.
fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, limits::KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, limits::KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, 3));
}

fn router(state: LinkState) -> Router {
    Router::new()
        .route("/node/v1/link", get(open_link))
        .route("/node/v1/blobs/{hash}", get(blob))
        .route("/node/v1/client/{uid}", get(door::client))
        .route("/node/v1/streams/{name}", get(door::stream))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .with_state(state)
}

async fn open_link(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<PreAuth>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .read_buffer_size(limits::LINK_BUFFER_BYTES)
        .write_buffer_size(limits::LINK_BUFFER_BYTES)
        .max_write_buffer_size(2 * MAX_FRAME_BYTES)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(move |socket| link::run(socket, key, place, state))
}

/// A script or environment, for the node that a run with it was placed on.
async fn blob(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<PreAuth>,
    Path(hash): Path<String>,
    _request: Request,
) -> Response {
    let Ok(hash) = hash.parse::<BlobHash>() else { return StatusCode::NOT_FOUND.into_response() };
    if !may_have(&state, &key, hash) {
        return StatusCode::NOT_FOUND.into_response();
    }
    place.release();
    let blobs = state.blobs.clone();
    match tokio::task::spawn_blocking(move || blobs.get(hash)).await {
        Ok(Ok(bytes)) => bytes.into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "a blob cannot be given to its node");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A node may have what its own runs need, and nothing else.
fn may_have(state: &LinkState, key: &str, hash: BlobHash) -> bool {
    let cluster = state.mirror.read();
    let Some(node) = cluster
        .nodes
        .values()
        .find(|node| node.state.is_alive() && node.key.as_deref() == Some(key))
    else {
        return false;
    };
    node.runs.iter().any(|run| {
        let job = cluster.runs.get(run).and_then(|run| cluster.jobs.get(&run.job));
        job.is_some_and(|job| job.spec.script == hash || job.spec.environment == hash)
    })
}
