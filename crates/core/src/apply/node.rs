//! What events do to nodes, offerings and the ledger.
use crate::Cluster;
use crate::decide::reclaim::RECLAIMED;
use crate::event::{Event, LaunchErrorClass, LaunchIntent, PartEnd, StopCause, TaskEnded};
use crate::ledger::{Meter, Use, WHOLE};
use crate::limits::{BREAKER_FAILURES, GONE_NODES_KEPT};
use crate::node::{Node, NodeState};
use crate::rows::RowKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use pcluster_model::{JobId, NodeId, Resources, RunId, Shape, Timestamp};

impl Cluster {
    pub(super) fn apply_node_event(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::LaunchWanted { intent } => self.insert_nodes(at, intent),
            Event::InstanceAdopted { .. } => self.apply_adopted(at, event),
            Event::InstanceSeen { .. } => self.apply_seen(at, event),
            Event::LaunchRefused { node, message, .. } => self.with_node(at, *node, |n| {
                n.state = NodeState::Refused { message: message.clone(), at };
            }),
            Event::OfferingRested { offering, until, class, message } => {
                let health = self.health_mut(offering);
                if offering.spot {
                    health.refused(at);
                }
                health.rest_until = Some(*until);
                health.rests += 1;
                health.message = answer_words(class, message);
                health.class = class_word(class).into();
            }
            Event::NodeJoined { node, key, boot_id } => self.with_node(at, *node, |n| {
                n.key = Some(key.clone());
                n.boot_id = Some(boot_id.clone());
                n.joined_at.get_or_insert(at);
            }),
            Event::NodeReady { .. } => self.apply_ready(at, event),
            Event::NodeRebooted { node, boot_id } => {
                self.end_parts(at, *node, "its machine rebooted");
                self.with_node(at, *node, |n| n.boot_id = Some(boot_id.clone()));
            }
            Event::NodeDraining { node, cause } => {
                self.with_node(at, *node, |n| match &mut n.state {
                    NodeState::Lost { drain, .. } => *drain = Some(cause.clone()),
                    state => *state = NodeState::Draining { cause: cause.clone() },
                });
                self.mark_runs_of(*node);
            }
            Event::NodeResumed { node } => self.with_node(at, *node, |n| {
                n.state = NodeState::Ready;
            }),
            Event::NodeStopping { node, cause } => self.apply_stopping(at, *node, cause),
            Event::NodeLost { node } => self.with_node(at, *node, |n| {
                let drain = match &n.state {
                    NodeState::Draining { cause } => Some(cause.clone()),
                    _ => None,
                };
                n.state = NodeState::Lost { since: at, drain };
            }),
            Event::NodeReturned { node } => self.with_node(at, *node, |n| {
                n.state = match &n.state {
                    NodeState::Lost { drain: Some(cause), .. } => {
                        NodeState::Draining { cause: cause.clone() }
                    }
                    _ => NodeState::Ready,
                };
                if n.runs.is_empty() {
                    n.idle_since = Some(at);
                }
            }),
            Event::NodeGone { node } => self.apply_gone(at, *node),
            Event::SpanClosed { span } => {
                self.ledger.spans.insert(span.node, (**span).clone());
                self.touched.insert(RowKey::Span(span.node));
            }
            Event::MoneyReserved { node, until, .. } => self.with_node(at, *node, |n| {
                n.reserved_until = n.reserved_until.max(*until);
            }),
            _ => unreachable!("only events of nodes are sent here"),
        }
    }

    /// The machine is there. Of a spot machine, the next "no" begins a new series.
    fn apply_seen(&mut self, at: Timestamp, event: &Event) {
        let Event::InstanceSeen { node, instance, launched_at } = event else { return };
        self.with_node(at, *node, |n| {
            n.instance = Some(instance.clone());
            n.launched_at = Some(*launched_at);
            n.seen_at = Some(at);
            n.meter.at = *launched_at;
            if matches!(n.state, NodeState::Wanted) {
                n.state = NodeState::Booting;
            }
        });
        let Some(offering) = self.nodes.get(node).map(|node| node.offering.clone()) else { return };
        if offering.spot && self.health(&offering).refused_since.is_some() {
            self.health_mut(&offering).refused_since = None;
        }
    }

    fn insert_nodes(&mut self, at: Timestamp, intent: &LaunchIntent) {
        self.forget_old_nodes(at);
        self.meta.last_launch = self.meta.last_launch.max(intent.launch.0);
        self.meta.next_numbers.insert(intent.offering.pool.clone(), intent.next_number);
        self.touched.insert(RowKey::Meta);
        let shape = Arc::new(intent.shape.clone());
        for (index, name) in (0u32..).zip(&intent.names) {
            let id = NodeId { launch: intent.launch, index };
            self.nodes.insert(id, new_node(at, id, name, intent, &shape));
            self.node_changed(at, id);
        }
        self.volatile.marked_launches.insert(intent.launch);
    }

    /// A machine of an unlogged launch becomes a node that only empties; its span begins with it.
    fn apply_adopted(&mut self, at: Timestamp, event: &Event) {
        let Event::InstanceAdopted { node: id, instance, launched_at, intent, .. } = event else {
            return;
        };
        let next = self.meta.next_numbers.entry(intent.offering.pool.clone()).or_insert(1);
        *next = (*next).max(intent.next_number);
        self.touched.insert(RowKey::Meta);
        let shape = Arc::new(intent.shape.clone());
        let name = intent.names.first().map_or("", String::as_str);
        let mut node = new_node(at, *id, name, intent, &shape);
        node.state = NodeState::Draining { cause: StopCause::RunsUnknown };
        node.instance = Some(instance.clone());
        node.launched_at = Some(*launched_at);
        node.seen_at = Some(at);
        node.meter = Meter { at: *launched_at, now: Use::Drain, ..Meter::default() };
        self.nodes.insert(*id, node);
        self.node_changed(at, *id);
    }

    /// Nodes that are over leave memory an hour later; `at` is part of the log, so a replay
    /// forgets the same ones.
    fn forget_old_nodes(&mut self, at: Timestamp) {
        let over: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| match &node.state {
                NodeState::Gone { at: since, .. } | NodeState::Refused { at: since, .. } => {
                    at.since(*since) > GONE_NODES_KEPT
                }
                NodeState::Wanted
                | NodeState::Booting
                | NodeState::Ready
                | NodeState::Draining { .. }
                | NodeState::Lost { .. }
                | NodeState::Stopping { .. } => false,
            })
            .map(|node| node.id)
            .collect();
        for id in over {
            self.nodes.remove(&id);
            self.volatile.links.remove(&id);
            self.volatile.launch_trouble.remove(&id.launch);
            self.touched.insert(RowKey::Node(id));
        }
    }

    fn apply_ready(&mut self, at: Timestamp, event: &Event) {
        let Event::NodeReady { node: id, usable, cage, reported } = event else { return };
        let id = *id;
        self.with_node(at, id, |node| {
            node.state = NodeState::Ready;
            node.usable = *usable;
            node.cage.clone_from(cage);
            node.ready_at.get_or_insert(at);
            node.idle_since = Some(at);
        });
        let Some(node) = self.nodes.get(&id).cloned() else { return };
        self.health_mut(&node.offering.of_shape()).boots.remove(&node.image);
        let health = self.health_mut(&node.offering);
        let boots = core::mem::take(&mut health.boots);
        *health = crate::node::OfferingHealth { boots, ..Default::default() };
        if *reported {
            self.learn(at, &node);
        }
    }

    fn apply_stopping(&mut self, at: Timestamp, id: NodeId, cause: &StopCause) {
        self.with_node(at, id, |node| {
            node.state = NodeState::Stopping { cause: cause.clone(), since: at };
        });
        let Some(node) = self.nodes.get(&id) else { return };
        if let StopCause::BootFailed { phase, why } = cause {
            let (offering, image, name) =
                (node.offering.clone(), node.image.clone(), node.name.clone());
            let boots = self.health_mut(&offering.of_shape()).boots.entry(image).or_default();
            boots.failures += 1;
            boots.message = alloc::format!("{name}: {why} in \"{phase}\"");
            if boots.is_broken() {
                let step = (boots.failures - BREAKER_FAILURES).min(8);
                let pause = crate::timers::doubled(crate::limits::REST_FIRST, step);
                boots.rest_until = Some(at + pause);
            }
        }
    }

    fn apply_gone(&mut self, at: Timestamp, id: NodeId) {
        let why = match self.nodes.get(&id).map(|node| &node.state) {
            _ if self.nodes.get(&id).is_some_and(Node::is_reclaimed) => RECLAIMED,
            Some(NodeState::Stopping { cause: StopCause::Lost, .. }) => {
                "its node was silent and was ended"
            }
            _ => "its node is gone",
        };
        self.end_parts(at, id, why);
        self.with_node(at, id, |node| {
            let cause = match &node.state {
                NodeState::Stopping { cause, .. }
                | NodeState::Draining { cause }
                | NodeState::Lost { drain: Some(cause @ StopCause::Reclaimed { .. }), .. } => {
                    cause.clone()
                }
                _ => StopCause::Left { why: "the provider says that it is gone".into() },
            };
            node.state = NodeState::Gone { cause, at };
        });
        self.volatile.ending_accepted.remove(&id);
        self.volatile.ending_trouble.remove(&id);
    }

    /// Every run's part on this node has ended with the machine.
    fn end_parts(&mut self, at: Timestamp, id: NodeId, why: &str) {
        let runs: Vec<RunId> =
            self.nodes.get(&id).map_or_else(Vec::new, |node| node.runs.iter().copied().collect());
        for run in runs {
            let end = PartEnd::NodeGone { why: why.into() };
            self.apply_part_end(at, &TaskEnded { run, node: id, end });
        }
    }

    fn with_node(&mut self, at: Timestamp, id: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            change(node);
            self.node_changed(at, id);
        }
    }

    /// Brings the meter of a node in line with what it does from `at` on.
    pub(super) fn node_changed(&mut self, at: Timestamp, id: NodeId) {
        self.touched.insert(RowKey::Node(id));
        self.volatile.marked_nodes.insert(id);
        let zone = self.zone_offset_ms();
        let Some(node) = self.nodes.get(&id) else { return };
        let to = self.use_of(node);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.meter.now != to {
            node.meter.change(at, zone, to);
        }
    }

    fn use_of(&self, node: &Node) -> Use {
        if node.launched_at.is_none() {
            return Use::Off;
        }
        match &node.state {
            NodeState::Wanted | NodeState::Booting => Use::Boot,
            NodeState::Ready if node.runs.is_empty() => Use::Idle,
            NodeState::Ready => Use::Jobs { shares: self.shares(node), draining: false },
            NodeState::Draining { .. } | NodeState::Lost { .. } if !node.runs.is_empty() => {
                Use::Jobs { shares: self.shares(node), draining: true }
            }
            NodeState::Draining { .. } | NodeState::Lost { .. } | NodeState::Stopping { .. } => {
                Use::Drain
            }
            NodeState::Refused { .. } | NodeState::Gone { .. } => Use::Off,
        }
    }

    fn shares(&self, node: &Node) -> Vec<(JobId, u64)> {
        let mut by_job: BTreeMap<JobId, u64> = BTreeMap::new();
        for run in &node.runs {
            let Some(run) = self.runs.get(run) else { continue };
            if let Some(part) = run.part(node.id) {
                *by_job.entry(run.job).or_default() += share(&part.part.resources, &node.usable);
            }
        }
        by_job.into_iter().collect()
    }
}

/// A job's largest share of CPUs, memory or GPUs, in parts per million of the machine.
#[must_use]
pub fn share(held: &Resources, usable: &Resources) -> u64 {
    let part = |held: u64, whole: u64| {
        if whole == 0 {
            return 0;
        }
        let ppm = u128::from(held) * u128::from(WHOLE) / u128::from(whole);
        u64::try_from(ppm).unwrap_or(WHOLE).min(WHOLE)
    };
    part(u64::from(held.cpus), u64::from(usable.cpus))
        .max(part(held.memory_bytes, usable.memory_bytes))
        .max(part(u64::from(held.gpus), u64::from(usable.gpus)))
}

/// A node that is wanted, and nothing more.
fn new_node(
    at: Timestamp,
    id: NodeId,
    name: &str,
    intent: &LaunchIntent,
    shape: &Arc<Shape>,
) -> Node {
    Node {
        id,
        name: name.into(),
        offering: intent.offering.clone(),
        usable: shape.usable(),
        shape: shape.clone(),
        image: intent.image.clone(),
        price: intent.price,
        state: NodeState::Wanted,
        wanted_at: at,
        instance: None,
        launched_at: None,
        seen_at: None,
        key: None,
        boot_id: None,
        joined_at: None,
        ready_at: None,
        cage: String::new(),
        runs: BTreeSet::new(),
        held: Resources::default(),
        idle_since: None,
        why: intent.why.clone(),
        provider: intent.provider.clone(),
        minimum_billing_ms: intent.minimum_billing_ms,
        reserved_until: intent.reserved_until,
        first_run_at: None,
        meter: Meter::default(),
    }
}

/// The provider's answer, with the figures where it gave some.
fn answer_words(class: &LaunchErrorClass, message: &str) -> String {
    match class {
        LaunchErrorClass::Quota { limit, used } => {
            alloc::format!("{message} (limit {limit}, {used} used)")
        }
        _ => message.into(),
    }
}

fn class_word(class: &LaunchErrorClass) -> &'static str {
    match class {
        LaunchErrorClass::NoCapacity => "no_capacity",
        LaunchErrorClass::Quota { .. } => "quota",
        LaunchErrorClass::RateLimited { .. } => "rate_limited",
        LaunchErrorClass::NeverFits => "never_fits",
        LaunchErrorClass::Denied => "denied",
        LaunchErrorClass::BadConfig => "bad_config",
        LaunchErrorClass::Unknown => "unknown",
    }
}
