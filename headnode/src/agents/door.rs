//! What nodes bring besides their frames: commands of their users, and their ends of streams.
//!
//! Invariant: a node speaks for a user only while a run of that user lives on it, looked at anew
//! for every request; the user then has the rights over own jobs and no others, whoever it is. A
//! node holds a bounded number of connections. Deliberately absent: what the requests do.
use super::link::LinkState;
use super::listener::{PeerKey, PreAuth};
use super::streams::Streams;
use crate::limits;
use crate::mirror::Mirror;
use crate::people::People;
use crate::server::refusal;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::input::Principal;
use pcluster_model::{NodeId, UserName};
use pcluster_wire::{CLIENT_PROTOCOL, STREAM_PROTOCOL, STREAM_REFUSED_HEADER};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What users on nodes come to. Cheap to clone.
#[derive(Clone)]
pub struct NodeDoor {
    pub router: Router,
    pub people: People,
    pub streams: Streams,
    counts: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

impl NodeDoor {
    #[must_use]
    pub fn new(router: Router, people: People, streams: Streams) -> Self {
        Self { router, people, streams, counts: Arc::default() }
    }

    /// One more connection of this node, unless it has as many as it may.
    fn enter(&self, node: NodeId) -> Option<Counted> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = counts.entry(node).or_default();
        if *number >= limits::NODE_CLIENTS {
            return None;
        }
        *number += 1;
        Some(Counted { counts: Arc::clone(&self.counts), node })
    }
}

/// Counts a connection while it lives.
struct Counted {
    counts: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    node: NodeId,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = counts.get_mut(&self.node) {
            *number -= 1;
            if *number == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

/// The living node that holds this key.
pub(super) fn node_of(mirror: &Mirror, key: &str) -> Option<NodeId> {
    let cluster = mirror.read();
    let mut alive = cluster.nodes.values().filter(|node| node.state.is_alive());
    alive.find(|node| node.key.as_deref() == Some(key)).map(|node| node.id)
}

/// True while a run of this user lives on this node.
fn has_run(mirror: &Mirror, node: NodeId, uid: u32) -> bool {
    let cluster = mirror.read();
    let Some(node) = cluster.nodes.get(&node) else { return false };
    node.runs.iter().any(|run| {
        let job = cluster.runs.get(run).and_then(|run| cluster.jobs.get(&run.job));
        job.is_some_and(|job| job.owner.uid == uid)
    })
}

fn no_run(uid: u32) -> Problem {
    Problem::new(
        ProblemKind::NotAllowed,
        format!("user number {uid} has no running job on this node"),
    )
    .hint("commands on a node are for jobs that run there; elsewhere use the head's machine")
}

/// A connection of a user on a node: the whole interface of the head, as that user.
pub(super) async fn client(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<PreAuth>,
    Path(uid): Path<u32>,
    request: Request,
) -> Response {
    let Some(node) = node_of(&state.mirror, &key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match admit(&state, node, uid, request).await {
        Ok(answer) => {
            place.release();
            answer
        }
        Err(problem) => refusal(&problem),
    }
}

async fn admit(
    state: &LinkState,
    node: NodeId,
    uid: u32,
    mut request: Request,
) -> Result<Response, Problem> {
    if !upgrades(&request, CLIENT_PROTOCOL) {
        let words = format!("this needs `Upgrade: {CLIENT_PROTOCOL}`");
        return Err(Problem::new(ProblemKind::BadRequest, words));
    }
    if !has_run(&state.mirror, node, uid) {
        return Err(no_run(uid));
    }
    let Some(counted) = state.door.enter(node) else {
        let words = "too many connections of commands are open on this node";
        return Err(Problem::new(ProblemKind::Unavailable, words));
    };
    let person = state.door.people.by_uid(uid).await.map_err(|error| {
        Problem::new(ProblemKind::NotAllowed, format!("the head cannot tell who you are: {error}"))
    })?;
    // Never an admin, root included: whoever holds a node must not hold the cluster.
    let principal = Principal {
        user: UserName(person.identity.name.clone()),
        uid,
        gid: person.identity.gid,
        admin: false,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(serve(upgrade, state.clone(), node, principal, counted));
    Ok(switching(CLIENT_PROTOCOL))
}

async fn serve(
    upgrade: OnUpgrade,
    state: LinkState,
    node: NodeId,
    principal: Principal,
    _counted: Counted,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(limits::HANDSHAKE, upgrade).await else { return };
    let inner = TowerToHyperService::new(state.door.router.clone());
    let mirror = state.mirror.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        let answer = if has_run(&mirror, node, principal.uid) {
            request.extensions_mut().insert(principal.clone());
            Ok(inner.call(request))
        } else {
            Err(refusal(&no_run(principal.uid)))
        };
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(refusal) => Ok(refusal),
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST_HEAD)
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%node, %error, "a connection of a user on a node ended");
    }
}

/// The node's end of a stream, or its word that there is none.
pub(super) async fn stream(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<PreAuth>,
    Path(name): Path<String>,
    mut request: Request,
) -> Response {
    let Some(node) = node_of(&state.mirror, &key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let refused = request.headers().get(STREAM_REFUSED_HEADER);
    if let Some(why) = refused.map(|why| String::from_utf8_lossy(why.as_bytes()).into_owned()) {
        state.door.streams.answer(&name, node, Err(why));
        return StatusCode::NO_CONTENT.into_response();
    }
    if !upgrades(&request, STREAM_PROTOCOL) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if !state.door.streams.answer(&name, node, Ok(hyper::upgrade::on(&mut request))) {
        return StatusCode::NOT_FOUND.into_response();
    }
    place.release();
    switching(STREAM_PROTOCOL)
}

/// True when the request asks for this protocol and none else.
pub(crate) fn upgrades(request: &Request, protocol: &str) -> bool {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case(protocol))
        && request.extensions().get::<OnUpgrade>().is_some()
}

/// `101`: from here on the connection speaks this protocol.
pub(crate) fn switching(protocol: &'static str) -> Response {
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, protocol)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
