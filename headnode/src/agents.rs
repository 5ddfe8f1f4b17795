//! The connections of agents: who speaks for which node, and what each is told.
//!
//! Invariant: only the newest connection of a node counts. Which one that is changes in the loop
//! alone (at a `Welcome`, and at the `Disconnected` of the newest), so frames of an older one that
//! are still in the inbox are dropped in the order in which they came.
//! Deliberately absent: decisions about nodes.
pub(crate) mod door;
pub mod link;
pub mod listener;
pub(crate) mod names;
pub(crate) mod programs;
mod strangers;
pub mod streams;
pub mod tls;
pub mod token;

use self::programs::NodePrograms;
use crate::inbox::LinkId;
use crate::limits;
use crate::mirror::Mirror;
use crate::shares::ShareTokens;
use pcluster_core::effect::StartPlan;
use pcluster_core::reply::Reply;
use pcluster_core::{AgentSaid, Order};
use pcluster_model::{DurationMs, NodeId, RunId, Signal, SignalScope};
use pcluster_wire::{HeadFrame, NodeName, Programs};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// What is to be sent on a connection.
#[derive(Debug)]
pub enum Out {
    Frame(HeadFrame),
    /// Becomes a frame once the user's account is known.
    Start(Box<StartPlan>),
    /// Nothing more after this.
    Close,
}

/// All connections. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    table: Arc<Mutex<Table>>,
    mirror: Mirror,
    tokens: ShareTokens,
    programs: NodePrograms,
}

/// A connection that has said `Hello`.
#[derive(Debug)]
struct Line {
    orders: mpsc::Sender<Out>,
    /// What both ends speak.
    protocol: u32,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    links: BTreeMap<LinkId, Line>,
    newest: BTreeMap<NodeId, LinkId>,
    /// All nodes whose address is known; `None` while none ever was, which nobody must hear.
    names: Option<Vec<NodeName>>,
}

impl Table {
    /// A connection that does not take what it is told is closed; its agent comes back and is told
    /// anew.
    fn push(&mut self, link: LinkId, out: Out) {
        let full = self.links.get(&link).is_some_and(|line| line.orders.try_send(out).is_err());
        if full {
            self.links.remove(&link);
        }
    }

    fn close(&mut self, link: LinkId) {
        self.push(link, Out::Close);
        self.links.remove(&link);
    }
}

impl Hub {
    /// No connections yet.
    #[must_use]
    pub fn new(mirror: Mirror) -> Self {
        let tokens = ShareTokens::new(mirror.read().meta.cluster.clone());
        Self { table: Arc::default(), mirror, tokens, programs: NodePrograms::default() }
    }

    /// With programs that nodes are offered.
    pub(crate) fn offering(self, programs: NodePrograms) -> Self {
        Self { programs, ..self }
    }

    /// By which nodes know shared paths.
    #[must_use]
    pub fn tokens(&self) -> &ShareTokens {
        &self.tokens
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that has said `Hello` and is not yet anybody's newest.
    pub(crate) fn enter(&self, protocol: u32) -> (LinkId, mpsc::Receiver<Out>) {
        let (orders, receiver) = mpsc::channel(limits::LINK_QUEUE);
        let mut table = self.lock();
        table.next += 1;
        let link = LinkId(table.next);
        table.links.insert(link, Line { orders, protocol });
        (link, receiver)
    }

    /// The connection is gone. That it was the newest is settled when its `Disconnected` is read.
    pub(crate) fn leave(&self, link: LinkId) {
        self.lock().links.remove(&link);
    }

    /// True when the loop may hear this. The end of the newest connection makes the node have none.
    pub fn admits(&self, link: LinkId, node: NodeId, said: &AgentSaid) -> bool {
        let mut table = self.lock();
        if matches!(said, AgentSaid::Hello { .. }) {
            return table.links.contains_key(&link);
        }
        if table.newest.get(&node) != Some(&link) {
            return false;
        }
        if matches!(said, AgentSaid::Disconnected) {
            table.newest.remove(&node);
            table.links.remove(&link);
        }
        true
    }

    /// Carries out an answer to a connection.
    pub fn answer(&self, link: LinkId, reply: Reply) {
        match reply {
            Reply::Welcome { node, node_name, shares, forget } => {
                let heartbeat_ms = self.heartbeat();
                let checks = self.tokens.checks(&shares);
                let programs = self.programs_of(node);
                let mut table = self.lock();
                if let Some(older) = table.newest.insert(node, link)
                    && older != link
                {
                    table.close(older);
                }
                if let Some(&Line { protocol, .. }) = table.links.get(&link) {
                    let welcome = HeadFrame::Welcome {
                        protocol,
                        node_name,
                        heartbeat_ms,
                        shares,
                        checks,
                        programs,
                    };
                    table.push(link, Out::Frame(welcome));
                }
                if let Some(names) = table.names.clone() {
                    table.push(link, Out::Frame(HeadFrame::Names { names }));
                }
                if !forget.is_empty() {
                    table.push(link, Out::Frame(HeadFrame::Forget { runs: forget }));
                }
            }
            Reply::AgentRefused { node, why, last } => {
                let mut table = self.lock();
                tracing::warn!(%node, why, "an agent is refused");
                table.push(link, Out::Frame(HeadFrame::Refused { why, last }));
                table.close(link);
            }
            Reply::Forget { runs, .. } => {
                self.lock().push(link, Out::Frame(HeadFrame::Forget { runs }));
            }
            Reply::None
            | Reply::StepGranted { .. }
            | Reply::Submitted { .. }
            | Reply::Done { .. }
            | Reply::Signals { .. }
            | Reply::Rejected(_) => {}
        }
    }

    /// What a node may become.
    fn programs_of(&self, node: NodeId) -> Vec<Programs> {
        let provider = self.mirror.read().nodes.get(&node).and_then(|node| node.provider.clone());
        match provider {
            Some(provider) if programs::are_offered(&provider) => self.programs.read_already(),
            Some(_) | None => Vec::new(),
        }
    }

    fn heartbeat(&self) -> DurationMs {
        let cluster = self.mirror.read();
        cluster.config().map_or(DurationMs::from_secs(10), |config| config.head.heartbeat_ms)
    }

    /// Tells every node, and from now on each that comes.
    pub(crate) fn tell_names(&self, names: Vec<NodeName>) {
        let mut table = self.lock();
        if names.is_empty() && table.names.is_none() {
            return;
        }
        let links: Vec<LinkId> = table.newest.values().copied().collect();
        for link in links {
            table.push(link, Out::Frame(HeadFrame::Names { names: names.clone() }));
        }
        table.names = Some(names);
    }

    /// Addresses of these nodes, if those of all are known.
    pub(crate) fn addresses(&self, nodes: &[String]) -> Vec<String> {
        let table = self.lock();
        let known = table.names.as_deref().unwrap_or_default();
        let of = |node: &String| known.iter().find(|known| known.name == *node);
        let all: Option<Vec<String>> =
            nodes.iter().map(|node| of(node).map(|known| known.address.clone())).collect();
        all.unwrap_or_default()
    }

    /// An order to a node. Without a connection it is dropped: it is given again after `Hello`.
    pub fn order(&self, node: NodeId, order: Order) {
        let out = match order {
            Order::Start(plan) => Out::Start(plan),
            Order::End { run, grace_ms, why } => Out::Frame(HeadFrame::End { run, grace_ms, why }),
            Order::Limit { run, time_limit_ms } => {
                Out::Frame(HeadFrame::Limit { run, time_limit_ms })
            }
            Order::Suspend { run, suspended } => Out::Frame(HeadFrame::Suspend { run, suspended }),
            Order::Signal { run, signal, scope } => {
                Out::Frame(HeadFrame::Signal { run, signal, scope })
            }
            Order::Leave { why } => Out::Frame(HeadFrame::Leave { why }),
        };
        self.send(node, out);
    }

    /// A signal to a run on a node, now or never.
    pub fn signal(&self, node: NodeId, run: RunId, signal: i32, scope: SignalScope) {
        let frame = HeadFrame::Signal { run, signal: Signal(signal), scope };
        self.send(node, Out::Frame(frame));
    }

    /// Asks the agent of a node for a stream to the step daemon of this run; false when it is not
    /// connected.
    pub fn attach(&self, node: NodeId, run: RunId, stream: &str) -> bool {
        self.send(node, Out::Frame(HeadFrame::Attach { run, stream: stream.to_owned() }))
    }

    /// The same to the step daemon of the node itself.
    pub fn attach_node(&self, node: NodeId, stream: &str) -> bool {
        self.send(node, Out::Frame(HeadFrame::AttachNode { stream: stream.to_owned() }))
    }

    /// False without a connection.
    fn send(&self, node: NodeId, out: Out) -> bool {
        let mut table = self.lock();
        let Some(link) = table.newest.get(&node).copied() else { return false };
        table.push(link, out);
        table.links.contains_key(&link)
    }
}

#[cfg(test)]
mod tests;
