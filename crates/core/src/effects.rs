//! Outstanding effects: what the hands still have to do, derived from the state.
//!
//! `outstanding` is the definition, a full sweep; `due_effects` looks only at what `apply`, `note`
//! and time have marked. I17: they agree.
use crate::Cluster;
use crate::effect::{Effect, EffectKey, LaunchPlan, Order, StartPlan, Told};
use crate::event::{PartEnd, Then};
use crate::job::{Run, RunPart};
use crate::node::{Node, NodeState};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{InstanceRef, LaunchId, NodeId, SignalScope, Timestamp};
use pcluster_wire::EndWhy;

impl Cluster {
    /// Every effect that is due and not handed out yet: the full sweep.
    #[must_use]
    pub fn outstanding(&self, now: Timestamp) -> Vec<Effect> {
        let launches: BTreeSet<LaunchId> = self.nodes.keys().map(|id| id.launch).collect();
        let mut effects: Vec<Effect> =
            launches.into_iter().filter_map(|launch| self.launch_effect(launch, now)).collect();
        for node in self.nodes.values() {
            self.node_effects(node, now, &mut effects);
        }
        for list in self.volatile.lists.values() {
            for instance in list.unknown.keys() {
                effects.extend(self.unknown_effect(instance, now));
            }
        }
        effects
    }

    /// Effects that have become due since the last call; each is then handed out.
    pub fn due_effects(&mut self, now: Timestamp) -> Vec<Effect> {
        let effects = self.marked_effects(now);
        for effect in &effects {
            self.note_issued(effect);
        }
        // A pause that is over is forgotten, so that it is not a deadline any more.
        self.volatile.retry_at.retain(|_, at| *at > now);
        self.volatile.marked_nodes.clear();
        self.volatile.marked_launches.clear();
        self.volatile.marked_unknown.clear();
        // Everything up to now has been looked at; what is still wanted was handed out.
        self.volatile.retry_at.retain(|_, at| *at > now);
        effects
    }

    /// Forgets what is marked and touched: for a copy that hands out nothing and writes no rows.
    pub fn discard_marks(&mut self) {
        self.touched.clear();
        self.volatile.marked_nodes.clear();
        self.volatile.marked_launches.clear();
        self.volatile.marked_unknown.clear();
        self.volatile.retry_at.clear();
    }

    /// What `due_effects` would hand out now, from the marks only.
    #[must_use]
    pub fn marked_effects(&self, now: Timestamp) -> Vec<Effect> {
        let mut launches = self.volatile.marked_launches.clone();
        let mut nodes = self.volatile.marked_nodes.clone();
        let mut unknown = self.volatile.marked_unknown.clone();
        for (key, _) in self.volatile.retry_at.iter().filter(|(_, at)| **at <= now) {
            match key {
                EffectKey::Launch(launch) => {
                    launches.insert(*launch);
                }
                EffectKey::Terminate(node) | EffectKey::Tell(node, _) => {
                    nodes.insert(*node);
                }
                EffectKey::TerminateUnknown(instance) => {
                    unknown.insert(instance.clone());
                }
            }
        }
        let mut effects: Vec<Effect> =
            launches.into_iter().filter_map(|launch| self.launch_effect(launch, now)).collect();
        for node in nodes {
            if let Some(node) = self.nodes.get(&node) {
                self.node_effects(node, now, &mut effects);
            }
        }
        effects.extend(unknown.iter().filter_map(|instance| self.unknown_effect(instance, now)));
        effects
    }

    fn is_due(&self, key: &EffectKey, now: Timestamp) -> bool {
        !self.volatile.issued.contains(key)
            && self.volatile.retry_at.get(key).is_none_or(|at| *at <= now)
    }

    fn launch_effect(&self, launch: LaunchId, now: Timestamp) -> Option<Effect> {
        if !self.is_due(&EffectKey::Launch(launch), now) {
            return None;
        }
        let first = NodeId { launch, index: 0 };
        let last = NodeId { launch, index: u32::MAX };
        let nodes: Vec<&Node> = self.nodes.range(first..=last).map(|(_, node)| node).collect();
        let waiting = nodes
            .iter()
            .any(|node| matches!(node.state, NodeState::Wanted) && node.instance.is_none());
        let node = nodes.first().filter(|_| waiting)?;
        Some(Effect::Launch(LaunchPlan {
            launch,
            provider: self.provider_of(node)?.clone(),
            offering: node.offering.clone(),
            shape: (*node.shape).clone(),
            image: node.image.clone(),
            price: node.price,
            names: nodes.iter().map(|node| node.name.clone()).collect(),
            wanted_at: node.wanted_at,
        }))
    }

    fn node_effects(&self, node: &Node, now: Timestamp, effects: &mut Vec<Effect>) {
        if matches!(node.state, NodeState::Stopping { .. }) {
            let due = self.is_due(&EffectKey::Terminate(node.id), now);
            if let Some(provider) = self.provider_of(node).filter(|_| due) {
                effects.push(Effect::Terminate {
                    node: node.id,
                    provider: provider.clone(),
                    instance: node.instance.clone(),
                });
            }
            return;
        }
        let Some(link) = self.volatile.links.get(&node.id).filter(|link| link.connected) else {
            return;
        };
        for run in node.runs.iter().filter_map(|run| self.runs.get(run)) {
            for (told, order) in self.run_orders(node, run) {
                if !link.told.contains(&told) {
                    effects.push(Effect::Tell { node: node.id, told, order });
                }
            }
        }
    }

    /// Orders that a node must have heard on its present connection for this run.
    fn run_orders(&self, node: &Node, run: &Run) -> Vec<(Told, Order)> {
        let mut orders = Vec::new();
        let grace_ms = self.config().map(|config| config.term_grace_ms).unwrap_or_default();
        let end = || {
            let order = Order::End { run: run.id, grace_ms, why: why_ended(run) };
            vec![(Told::End(run.id), order)]
        };
        if run.is_ending() {
            return end();
        }
        let Some(job) = self.jobs.get(&run.job) else { return orders };
        let Some(rank) = run.rank_of(node.id) else { return orders };
        if rank == 0 && job.spec.kind == JobKind::Batch {
            if self.begins_too_late(run) {
                return end();
            }
            if !self.may_start_first(run) {
                return orders;
            }
        }
        let nodes = run.parts.iter().map(|part| {
            self.nodes
                .get(&part.part.node)
                .map_or_else(|| part.part.node.to_string(), |node| node.name.clone())
        });
        let plan = StartPlan {
            run: run.id,
            order: run.order,
            job: run.job,
            task: job.is_array().then_some(run.task),
            raw_job: run.raw_job,
            attempt: run.attempt,
            spec: job.spec_of(run.task).clone(),
            owner: job.owner.clone(),
            pool: job.pool.to_string(),
            image: node.image.clone(),
            resources: run.part(node.id).map(|part| part.part.resources).unwrap_or_default(),
            nodes: nodes.collect(),
            node_cpus: run.parts.iter().map(|part| part.part.resources.cpus).collect(),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            time_limit_ms: run.time_limit_ms,
            term_grace_ms: grace_ms,
        };
        orders.push((Told::Start(run.id), Order::Start(Box::new(plan))));
        if run.limit_changes > 0 {
            let order = Order::Limit { run: run.id, time_limit_ms: run.time_limit_ms };
            orders.push((Told::Limit(run.id, run.limit_changes), order));
        }
        if run.suspensions > 0 {
            let order = Order::Suspend { run: run.id, suspended: run.suspended_since.is_some() };
            orders.push((Told::Suspend(run.id, run.suspensions), order));
        }
        if let Some(warn) = job.spec_of(run.task).warn_signal.filter(|_| self.is_doomed(run)) {
            let scope = if warn.batch_only { SignalScope::Batch } else { SignalScope::Steps };
            let order = Order::Signal { run: run.id, signal: warn.signal, scope };
            orders.push((Told::Notice(run.id), order));
        }
        orders
    }

    /// The script of a gang starts when all other nodes can take steps: then a node that fails
    /// before that is no failure of the job.
    fn may_start_first(&self, run: &Run) -> bool {
        let on = |part: &RunPart| self.volatile.run_starts.contains_key(&(run.id, part.part.node));
        run.parts.iter().skip(1).all(on) || run.parts.first().is_some_and(on)
    }

    /// The time of another node was over before the script began: it never will.
    pub(crate) fn begins_too_late(&self, run: &Run) -> bool {
        let began = |part: &RunPart| {
            self.volatile.run_starts.contains_key(&(run.id, part.part.node)) || part.end.is_some()
        };
        let over = run.parts.iter().skip(1).any(|part| part.end.is_some());
        over && !run.parts.first().is_some_and(began)
    }

    fn unknown_effect(&self, instance: &InstanceRef, now: Timestamp) -> Option<Effect> {
        let key = EffectKey::TerminateUnknown(instance.clone());
        if !self.is_due(&key, now) {
            return None;
        }
        let (provider, unknown) = self.volatile.lists.iter().find_map(|(provider, list)| {
            list.unknown.get(instance).map(|unknown| (provider, unknown))
        })?;
        if unknown.is_unlogged || now < self.unknown_due(unknown.listed.launch, unknown.first_seen)
        {
            return None;
        }
        let provider = self
            .config()?
            .pools
            .iter()
            .map(|pool| &pool.provider)
            .find(|kind| kind.as_str() == provider)?;
        Some(Effect::TerminateUnknown { instance: instance.clone(), provider: provider.clone() })
    }

    /// When an instance that no living node is bound to is ended: at once when its node is known
    /// to be gone, else after the grace.
    pub(crate) fn unknown_due(&self, launch: LaunchId, first_seen: Timestamp) -> Timestamp {
        let first = NodeId { launch, index: 0 };
        let last = NodeId { launch, index: u32::MAX };
        if self.nodes.range(first..=last).next().is_some() {
            return first_seen;
        }
        let grace = self.config().map(|config| config.head.orphan_grace_ms).unwrap_or_default();
        first_seen + grace
    }
}

/// What the user of a run that is to end is told.
fn why_ended(run: &Run) -> EndWhy {
    let gone = run.parts.iter().any(|part| matches!(part.end, Some(PartEnd::NodeGone { .. })));
    match &run.then {
        _ if gone => EndWhy::NodeFailed,
        Some(Then::Requeue { .. } | Then::Preempt { .. }) => EndWhy::Requeue,
        Some(Then::Finish(_)) | None => EndWhy::Ended,
    }
}
