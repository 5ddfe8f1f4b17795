//! What nodes bring besides their frames: commands of their users, and their ends of streams.
//!
//! Invariant: a node speaks for a user only while a run of that user lives on it, looked at anew
//! for every request; the user then has the rights over own jobs and no others, whoever it is. A
//! node holds a bounded number of connections. Deliberately absent: what the requests do.
use super::link::LinkState;
use super::listener::{PeerKey, Place};
use super::streams::Streams;
use crate::limits;
use crate::mirror::Mirror;
use crate::people::People;
use crate::server::{answer, refusal, too_many};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use pcluster_api::seats::{Full, Seat, Seats};
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::input::Principal;
use pcluster_model::{NodeId, UserName};
use pcluster_wire::{CLIENT_PROTOCOL, STREAM_PROTOCOL, STREAM_REFUSED_HEADER};

/// What users on nodes come to. Cheap to clone.
#[derive(Clone)]
pub struct NodeDoor {
    pub router: Router,
    pub people: People,
    pub streams: Streams,
    of_nodes: Seats<NodeId>,
    of_users: Seats<u32>,
}

/// One connection among those of its node and of its user; given back when it is dropped.
struct Entered {
    _of_node: Seat<NodeId>,
    _of_user: Seat<u32>,
}

impl NodeDoor {
    #[must_use]
    pub fn new(router: Router, people: People, streams: Streams) -> Self {
        let of_nodes = Seats::new(limits::RELAYED, limits::RELAYED_OF_NODE);
        let of_users = Seats::new(limits::RELAYED, limits::RELAYED_OF_ONE);
        Self { router, people, streams, of_nodes, of_users }
    }

    /// One more connection of this user from this node, unless either has as many as it may: who
    /// runs on many nodes holds no more of the head for it.
    fn enter(&self, node: NodeId, uid: u32) -> Result<Entered, Problem> {
        let many = |full| match full {
            Full::OfOne => {
                let words = "too many connections of commands are open on this node";
                Problem::new(ProblemKind::Unavailable, words).hint("ask again in a moment")
            }
            Full::OfAll => too_many(full),
        };
        let of_user = self.of_users.take(uid).map_err(too_many)?;
        let of_node = self.of_nodes.take(node).map_err(many)?;
        Ok(Entered { _of_node: of_node, _of_user: of_user })
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
    Extension(place): Extension<Place>,
    Path(uid): Path<u32>,
    request: Request,
) -> Response {
    let Some(node) = node_of(&state.mirror, &key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match admit(&state, node, uid, request).await {
        Ok(switching) => {
            place.release();
            switching
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
    let entered = state.door.enter(node, uid)?;
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
    tokio::spawn(serve(upgrade, state.clone(), node, principal, entered));
    Ok(switching(CLIENT_PROTOCOL))
}

async fn serve(
    upgrade: OnUpgrade,
    state: LinkState,
    node: NodeId,
    principal: Principal,
    _entered: Entered,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(limits::HANDSHAKE, upgrade).await else { return };
    let mirror = state.mirror.clone();
    let served = answer(stream, state.door.router.clone(), move || {
        has_run(&mirror, node, principal.uid)
            .then(|| principal.clone())
            .ok_or_else(|| no_run(principal.uid))
    });
    let served = served.await;
    if let Err(error) = served {
        tracing::debug!(%node, %error, "a connection of a user on a node ended");
    }
}

/// The node's end of a stream, or its word that there is none.
pub(super) async fn stream(
    State(state): State<LinkState>,
    Extension(PeerKey(key)): Extension<PeerKey>,
    Extension(place): Extension<Place>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_model::LaunchId;

    fn door() -> NodeDoor {
        NodeDoor::new(Router::new(), People::new(0), Streams::default())
    }

    fn node(launch: u64) -> NodeId {
        NodeId { launch: LaunchId(launch), index: 0 }
    }

    #[test]
    fn who_runs_on_many_nodes_holds_no_more_of_the_head() {
        let door = door();
        // As many from each node as the node lets one user have.
        let all = (1..=50).flat_map(|launch| (0..384).map(move |_| node(launch)));
        let held: Vec<_> = all.map_while(|node| door.enter(node, 1000).ok()).collect();
        assert_eq!(held.len(), limits::RELAYED_OF_ONE);
        let no = door.enter(node(99), 1000).err().unwrap();
        assert_eq!((no.kind, no.message.as_str()), {
            (ProblemKind::Unavailable, "too many connections of yours are open")
        });
        assert!(door.enter(node(99), 1001).is_ok(), "others have room");
        drop(held);
        assert!(door.enter(node(99), 1000).is_ok());
    }

    #[test]
    fn what_its_node_refuses_counts_for_nobody() {
        let door = door();
        let held: Vec<_> = (0..).map_while(|uid| door.enter(node(1), uid).ok()).collect();
        assert_eq!(held.len(), limits::RELAYED_OF_NODE);
        for _ in 0..limits::RELAYED {
            assert!(door.enter(node(1), 1000).is_err());
        }
        assert!(door.enter(node(2), 1000).is_ok());
    }
}
