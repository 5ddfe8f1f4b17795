//! One connection of one agent, from its `Hello` to its end.
//!
//! Invariant: nothing said before a `Hello` that was checked reaches anything but this file, and
//! nothing that is not about the node of that `Hello` reaches the loop. Job output goes straight to
//! its file.
use super::door::NodeDoor;
use super::listener::Place;
use super::programs::NodePrograms;
use super::token::ClusterSecret;
use super::{Hub, Out, names};
use crate::clock::Clock;
use crate::hands::starts::{Starts, Unstartable};
use crate::inbox::{InboxHandle, LinkId, Stopping};
use crate::limits;
use crate::logs::{BootLogs, OutputTails, clean};
use crate::mirror::Mirror;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use pcluster_api::rates::Rates;
use pcluster_core::{AgentSaid, Input};
use pcluster_model::{ClusterId, NodeId, RunId};
use pcluster_upkeep::blobs::Blobs;
use pcluster_wire::{
    AgentFrame, Exit, Facts, HeadFrame, MAX_CHUNK_BYTES, RunEnd, RunReport, SPOKEN, ShareProof,
    Spoken, Usage, UserRefusal,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;
use tokio::sync::mpsc;

/// What a connection needs.
#[derive(Clone)]
pub struct LinkState {
    pub hub: Hub,
    pub inbox: InboxHandle,
    pub mirror: Mirror,
    pub blobs: Blobs,
    pub output: OutputTails,
    pub boot_logs: BootLogs,
    pub starts: Starts,
    pub clock: Clock,
    pub door: NodeDoor,
    pub cluster: ClusterId,
    pub secret: ClusterSecret,
    pub programs: NodePrograms,
    /// How often nodes say hello.
    pub hellos: Rates<NodeId>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("{why}")]
    Refused { why: String, last: bool },
    #[error("no sign of life")]
    Silent,
    #[error("{0}")]
    Broken(String),
    #[error("closed")]
    Closed,
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub key: String,
    pub address: IpAddr,
}

/// Serves a connection to its end.
pub(super) async fn run(mut socket: WebSocket, peer: Peer, place: Place, state: LinkState) {
    let hello = tokio::select! {
        hello = tokio::time::timeout(limits::HANDSHAKE, first_frame(&mut socket)) => hello,
        // Its place is another's.
        () = place.shut_out() => return,
    };
    let checked = match hello {
        Ok(Ok(frame)) => check_hello(frame, peer, &state),
        Ok(Err(end)) => Err(end),
        Err(_) => Err(LinkEnd::Silent),
    };
    let Greeting { node, protocol, said } = match checked {
        Ok(checked) => checked,
        Err(end) => {
            if let LinkEnd::Refused { why, last } = &end {
                let frame = HeadFrame::Refused { why: why.clone(), last: *last };
                let sent = socket.send(encode(&frame));
                let _ = tokio::time::timeout(limits::HANDSHAKE, sent).await;
            }
            tracing::info!(%end, "a connection without a node ended");
            return;
        }
    };
    place.release();
    let (link, orders) = state.hub.enter(protocol);
    let (sink, stream) = socket.split();
    let mut writer = tokio::spawn(write(sink, orders, node, state.clone()));
    let mut reader = Reader {
        node,
        link,
        own: BTreeSet::new(),
        told: false,
        refuses: Vec::new(),
        state: &state,
    };
    let (end, written) = tokio::select! {
        end = reader.run(said, stream) => (end, false),
        _ = &mut writer => (LinkEnd::Closed, true),
    };
    tracing::debug!(%node, %end, "the connection of a node ended");
    state.hub.leave(link);
    let gone = Input::AgentSaid { node, said: AgentSaid::Disconnected };
    // At the head's end nobody needs to hear of it.
    let _ = state.inbox.relay(link, node, gone).await;
    // What was queued before the end, a refusal above all, may still go out.
    if !written && tokio::time::timeout(limits::LINK_SEND, &mut writer).await.is_err() {
        writer.abort();
    }
}

async fn first_frame(socket: &mut WebSocket) -> Result<AgentFrame, LinkEnd> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return decode(&text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(LinkEnd::Broken("a binary frame".into())),
            Some(Ok(Message::Close(_))) | None => return Err(LinkEnd::Closed),
            Some(Err(error)) => return Err(LinkEnd::Broken(error.to_string())),
        }
    }
}

fn decode(text: &str) -> Result<AgentFrame, LinkEnd> {
    serde_json::from_str(text).map_err(|error| LinkEnd::Broken(format!("not a frame: {error}")))
}

fn encode(frame: &HeadFrame) -> Message {
    let text = serde_json::to_string(frame).expect("frames hold nothing that JSON cannot");
    Message::Text(Utf8Bytes::from(text))
}

/// Who speaks, in which protocol, and what was said first.
struct Greeting {
    node: NodeId,
    protocol: u32,
    said: AgentSaid,
}

/// Who speaks? Only the holder of the node's key, or of its launch's token.
fn check_hello(frame: AgentFrame, peer: Peer, state: &LinkState) -> Result<Greeting, LinkEnd> {
    let Peer { key, address: from } = peer;
    let AgentFrame::Hello {
        protocol,
        oldest_protocol,
        cluster,
        node,
        token,
        boot_id,
        facts,
        runs,
        ..
    } = frame
    else {
        return Err(LinkEnd::Broken("the first frame is not a hello".into()));
    };
    let refused = |why: String| Err(LinkEnd::Refused { why, last: false });
    if cluster != state.cluster {
        return refused(format!("this is the head of cluster {}, not of {cluster}", state.cluster));
    }
    let theirs = Spoken::said(protocol, oldest_protocol);
    let Some(protocol) = SPOKEN.common(theirs) else {
        return refused(strangers(theirs, &facts.agent_version));
    };
    let token_valid =
        token.is_some_and(|token| state.secret.accepts(&state.cluster, node.launch, &token));
    let (bound, forgotten) = {
        let cluster = state.mirror.read();
        let known = cluster.nodes.get(&node);
        let bound = known.is_some_and(|known| known.key.as_ref() == Some(&key));
        (bound, known.is_none() && !cluster.is_unlogged(node.launch, None))
    };
    if forgotten {
        let why = format!("node {node} is not part of this cluster any more");
        return Err(LinkEnd::Refused { why, last: true });
    }
    if !bound && !token_valid {
        return refused(format!("neither key nor token is that of node {node}"));
    }
    if state.hellos.take(node, Instant::now()).is_err() {
        return refused(format!("node {node} comes back too often"));
    }
    let refuses = clean_refusals(facts.refuses);
    let shares = clean_shares(facts.shares);
    let address = names::believed(&facts.address, from);
    let cage = clean(&facts.cage);
    let facts = Box::new(Facts { cage, refuses, shares, address, ..facts });
    let runs = runs.into_iter().map(clean_report).collect();
    let said = AgentSaid::Hello { key, token_valid, boot_id, facts, runs };
    Ok(Greeting { node, protocol, said })
}

/// Why two that speak no common protocol cannot work together, and which of them is the older.
fn strangers(theirs: Spoken, version: &str) -> String {
    let older = if theirs.newest < SPOKEN.oldest { "agent" } else { "head" };
    format!(
        "agent {version} speaks {theirs}, head {} speaks {SPOKEN}: the {older} is too old",
        env!("CARGO_PKG_VERSION")
    )
}

struct Reader<'a> {
    node: NodeId,
    link: LinkId,
    /// Runs that were seen to be this node's: their last output may come after their end.
    own: BTreeSet<RunId>,
    /// That its words cannot be kept was said.
    told: bool,
    /// The users it refuses, as the loop knows them.
    refuses: Vec<UserRefusal>,
    state: &'a LinkState,
}

impl Reader<'_> {
    async fn run(&mut self, hello: AgentSaid, mut stream: SplitStream<WebSocket>) -> LinkEnd {
        // Runs that ended while nobody listened are over once the hello is taken; the tail of their
        // output comes after it.
        if let AgentSaid::Hello { runs, facts, .. } = &hello {
            self.refuses.clone_from(&facts.refuses);
            for run in runs.iter().map(RunReport::run) {
                self.is_own(run);
            }
        }
        if let Err(stopping) = self.relay(hello).await {
            return stopping.into();
        }
        loop {
            let frame = tokio::time::timeout(limits::LINK_SILENCE, stream.next()).await;
            let done = match frame {
                Err(_) => return LinkEnd::Silent,
                Ok(Some(Ok(Message::Text(text)))) => match decode(&text) {
                    Ok(frame) => self.hear(frame).await,
                    Err(end) => return end,
                },
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Ok(()),
                Ok(Some(Ok(Message::Binary(_)))) => {
                    return LinkEnd::Broken("a binary frame".into());
                }
                Ok(Some(Ok(Message::Close(_))) | None) => return LinkEnd::Closed,
                Ok(Some(Err(error))) => return LinkEnd::Broken(error.to_string()),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn relay(&self, said: AgentSaid) -> Result<(), Stopping> {
        let input = Input::AgentSaid { node: self.node, said };
        self.state.inbox.relay(self.link, self.node, input).await
    }

    async fn hear(&mut self, frame: AgentFrame) -> Result<(), LinkEnd> {
        let said = match frame {
            AgentFrame::Hello { .. } => return Err(LinkEnd::Broken("a second hello".into())),
            AgentFrame::BootLog { lines } => {
                let kept = self.state.boot_logs.add(self.node, &lines);
                self.tell_once(kept);
                return Ok(());
            }
            AgentFrame::Output { run, offset, data_base64 } => {
                return self.output(run, offset, &data_base64);
            }
            AgentFrame::BootPhase { phase } => AgentSaid::Phase { phase: clean(&phase) },
            AgentFrame::Heartbeat { refuses, .. } => match self.refusals(refuses) {
                Some(refuses) => AgentSaid::Refuses(refuses),
                None => AgentSaid::Heartbeat,
            },
            AgentFrame::RunStarted { run, started_at } => AgentSaid::RunStarted { run, started_at },
            AgentFrame::RunEnded(end) => AgentSaid::RunEnded(clean_end(end)),
            AgentFrame::NotStarted { run, why } => AgentSaid::NotStarted { run, why: clean(&why) },
            AgentFrame::Leaving { why } => AgentSaid::Leaving { why: clean(&why) },
            AgentFrame::Notice { kind, until } => AgentSaid::Notice { kind, until },
            AgentFrame::Shares { shares } => AgentSaid::Shares { shares: clean_shares(shares) },
        };
        Ok(self.relay(said).await?)
    }

    /// The users whom it refuses now, if they are not those of before.
    fn refusals(&mut self, said: Vec<UserRefusal>) -> Option<Vec<UserRefusal>> {
        let said = clean_refusals(said);
        (said != self.refuses).then(|| self.refuses.clone_from(&said)).map(|()| said)
    }

    fn output(&mut self, run: RunId, offset: u64, data: &str) -> Result<(), LinkEnd> {
        let bytes = STANDARD
            .decode(data)
            .map_err(|error| LinkEnd::Broken(format!("output is not base64: {error}")))?;
        if bytes.len() > MAX_CHUNK_BYTES {
            return Err(LinkEnd::Broken("a piece of output is too large".into()));
        }
        if !self.is_own(run) {
            return Ok(());
        }
        let kept = self.state.output.append(run, offset, &bytes);
        self.tell_once(kept);
        Ok(())
    }

    /// Trouble with the disk is told once for each connection: a node may send for ever.
    fn tell_once(&mut self, kept: std::io::Result<()>) {
        if let Err(error) = kept
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(node = %self.node, %error, "what the node prints cannot be kept");
        }
    }

    fn is_own(&mut self, run: RunId) -> bool {
        if self.own.contains(&run) {
            return true;
        }
        let cluster = self.state.mirror.read();
        let own = cluster.runs.get(&run).is_some_and(|known| known.part(self.node).is_some());
        drop(cluster);
        while self.own.len() >= limits::RUNS_OF_LINK {
            self.own.pop_first();
        }
        own && self.own.insert(run)
    }
}

fn clean_refusals(refusals: Vec<UserRefusal>) -> Vec<UserRefusal> {
    let kept = refusals.into_iter().take(limits::REFUSED_USERS);
    kept.map(|refusal| UserRefusal { why: clean(&refusal.why), ..refusal }).collect()
}

/// What a node says is kept for ever and shown on terminals, and a node may be hostile.
fn clean_end(mut end: RunEnd) -> RunEnd {
    if let Exit::CannotRun { why } = &mut end.exit {
        *why = clean(why);
    }
    end
}

/// At most as many as a cluster has any use for.
fn clean_shares(shares: Vec<ShareProof>) -> Vec<ShareProof> {
    let clean_one = |proof: ShareProof| ShareProof {
        trouble: proof.trouble.as_deref().map(clean),
        path: proof.path,
    };
    shares.into_iter().take(limits::SHARES_OF_NODE).map(clean_one).collect()
}

fn clean_report(report: RunReport) -> RunReport {
    match report {
        RunReport::Ended(end) => RunReport::Ended(clean_end(end)),
        RunReport::NotStarted { run, why } => RunReport::NotStarted { run, why: clean(&why) },
        running @ RunReport::Running { .. } => running,
    }
}

/// Sends what the hub queues, in order, and a sign of life now and then.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut orders: mpsc::Receiver<Out>,
    node: NodeId,
    state: LinkState,
) {
    let mut beat = tokio::time::interval(limits::LINK_BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            out = orders.recv() => match out {
                Some(Out::Frame(frame)) => encode(&frame),
                Some(Out::Start(plan)) => match state.starts.order(&plan).await {
                    Ok(order) => encode(&HeadFrame::Start(Box::new(order))),
                    Err(trouble) => {
                        report(&state, node, plan.run, trouble).await;
                        continue;
                    }
                },
                Some(Out::Close) | None => break,
            },
            _ = beat.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        match tokio::time::timeout(limits::LINK_SEND, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let _ = tokio::time::timeout(limits::LINK_SEND, sink.close()).await;
}

/// The user of a run cannot be had: the run ends here, and its node never hears of it.
async fn report(state: &LinkState, node: NodeId, run: RunId, trouble: Unstartable) {
    let at = state.clock.now();
    let said = AgentSaid::RunEnded(RunEnd {
        run,
        exit: Exit::CannotRun { why: trouble.to_string() },
        usage: Usage::default(),
        started_at: at,
        ended_at: at,
    });
    let _ = state.inbox.tell(Input::AgentSaid { node, said }).await;
}
