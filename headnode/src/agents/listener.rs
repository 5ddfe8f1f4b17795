//! The TLS port: the only thing of the head that a network can reach.
//!
//! Invariant: whoever has not proved the key of a living node or said a `Hello` that was checked is a
//! stranger and holds one of their places, for a fixed time (`strangers`). Exactly five routes exist; users' own are behind one of them,
//! for those who run on the node that asks (`door`). Deliberately absent: anything else.
use super::link::{self, LinkState};
use super::strangers::{PreAuth, Strangers};
use super::{door, programs, tls};
use crate::limits;
use crate::mirror::Mirror;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pcluster_api::seats::{Seat, Seats};
use pcluster_model::{BlobHash, NodeId};
use pcluster_wire::{MAX_FRAME_BYTES, NODE_HEADER, TOKEN_HEADER};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// SHA-256 of the client's certificate, in hexadecimal.
#[derive(Debug, Clone)]
pub struct PeerKey(pub String);

/// Where it comes from.
#[derive(Debug, Clone, Copy)]
struct PeerAddress(IpAddr);

/// What a connection holds before its requests are counted elsewhere.
#[derive(Debug, Clone)]
pub struct Place {
    stranger: PreAuth,
    _of_node: Option<Arc<Seat<NodeId>>>,
}

impl Place {
    /// The other end is known now.
    pub fn release(&self) {
        self.stranger.release();
    }

    /// Comes to its end when a stranger must go.
    pub async fn shut_out(&self) {
        self.stranger.shut_out().await;
    }
}

/// What all connections share.
#[derive(Clone)]
struct Port {
    acceptor: TlsAcceptor,
    router: Router,
    mirror: Mirror,
    of_nodes: Seats<NodeId>,
}

/// Serves nodes until the process ends.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, state: LinkState) {
    let strangers = Strangers::default();
    let port = Port {
        acceptor: TlsAcceptor::from(tls),
        mirror: state.mirror.clone(),
        router: router(state),
        of_nodes: Seats::new(limits::CONNECTIONS_OF_NODES, limits::CONNECTIONS_OF_NODE),
    };
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: others must close some first.
                tracing::warn!(%error, "cannot take a connection of a node");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (port, place) = (port.clone(), strangers.enter(from.ip()));
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = connection(stream, from.ip(), port, place.clone()) => ended,
                () = place.shut_out() => Err(io::ErrorKind::TimedOut.into()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of a node ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    from: IpAddr,
    port: Port,
    stranger: PreAuth,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(&stream);
    let stream = tokio::time::timeout(limits::HANDSHAKE, port.acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(certificate) = certificates.first() else {
        return Err(io::Error::other("no client certificate"));
    };
    let key = PeerKey(tls::identity(certificate));
    // The handshake has proved the key: nodes that are known share nothing with strangers.
    let of_node = match door::node_of(&port.mirror, &key.0) {
        Some(node) => {
            let seat = port.of_nodes.take(node);
            stranger.release();
            Some(Arc::new(seat.map_err(|_| io::Error::other("too many of this node"))?))
        }
        None => None,
    };
    let place = Place { stranger, _of_node: of_node };
    let inner = TowerToHyperService::new(port.router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(key.clone());
        request.extensions_mut().insert(PeerAddress(from));
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
        .route("/node/v1/agents/{hash}", get(program))
        .route("/node/v1/client/{uid}", get(door::client))
        .route("/node/v1/streams/{name}", get(door::stream))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .with_state(state)
}

async fn open_link(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Extension(place): Extension<Place>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .read_buffer_size(limits::LINK_BUFFER_BYTES)
        .write_buffer_size(limits::LINK_BUFFER_BYTES)
        .max_write_buffer_size(2 * MAX_FRAME_BYTES)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(move |socket| link::run(socket, link::Peer { key, address }, place, state))
}

/// A script or environment, for the node that a run with it was placed on.
async fn blob(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<Place>,
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

/// A program of nodes, for one that lives, or whose launch order the asker has.
async fn program(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<Place>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(hash) = hash.parse::<BlobHash>() else { return StatusCode::NOT_FOUND.into_response() };
    if door::node_of(&state.mirror, &key).is_none() && !has_order(&state, &headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let programs = state.programs.clone();
    let Ok(Some(file)) = tokio::task::spawn_blocking(move || programs.open(hash)).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    place.release();
    let pieces = futures_util::stream::try_unfold(0, move |at| {
        let file = Arc::clone(&file);
        async move {
            let read = tokio::task::spawn_blocking(move || programs::piece(&file, at)).await;
            let piece = read.map_err(io::Error::other)??;
            Ok::<_, io::Error>(
                piece.map(|piece| (Bytes::from(piece.clone()), at + piece.len() as u64)),
            )
        }
    });
    Body::from_stream(pieces).into_response()
}

/// True for the launch order of a living node.
fn has_order(state: &LinkState, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(node), Some(token)) = (text(NODE_HEADER), text(TOKEN_HEADER)) else { return false };
    let Ok(node) = node.parse::<NodeId>() else { return false };
    let is_alive = state.mirror.read().nodes.get(&node).is_some_and(|node| node.state.is_alive());
    is_alive && state.secret.accepts(&state.cluster, node.launch, token)
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
