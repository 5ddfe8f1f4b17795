//! `note`: the volatile part of what an input means. Nothing here is truth; a crash forgets it.
use crate::Cluster;
use crate::effect::{Effect, EffectKey, Told};
use crate::event::LaunchErrorClass;
use crate::input::{AgentSaid, Input, LaunchError, ListedInstance, ProviderSaid, Request};
use crate::job::Job;
use crate::limits::CALL_AGAIN;
use crate::node::{Node, NodeState};
use crate::volatile::{Link, ListState, UnknownInstance, Volatile};
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use pcluster_model::config::ProviderKind;
use pcluster_model::{DurationMs, InstanceRef, LaunchId, NodeId, RunId, Timestamp};
use pcluster_wire::{RunEnd, RunReport};

impl Cluster {
    /// Takes in what an input tells about connections, progress and calls. Call it once for each
    /// input, before `decide`; a mirror calls it too.
    pub fn note(&mut self, now: Timestamp, input: &Input) {
        match input {
            Input::Started { config, .. } => self.note_started(now, config.head.settle_ms),
            Input::AgentSaid { node, said } => self.note_agent(now, *node, said),
            Input::ProviderSaid(said) => self.note_provider(now, said),
            Input::Stalled { .. } => {
                // Nobody was heard while nobody listened: silence starts anew.
                for link in self.volatile.links.values_mut() {
                    link.last_word = link.last_word.max(now);
                    link.phase_since = link.phase_since.max(now);
                }
                self.volatile.leases_from = self.volatile.leases_from.max(now);
            }
            Input::Request { principal, request: Request::Renew(target) } => {
                let owned = |job: &Job| principal.admin || principal.uid == job.owner.uid;
                if self.jobs.get(&target.job).is_some_and(owned) {
                    self.volatile.renewed.insert(target.job, now);
                }
            }
            Input::Request { .. }
            | Input::ConfigChanged { .. }
            | Input::ClockStepped { .. }
            | Input::Tick => {}
        }
    }

    fn note_started(&mut self, now: Timestamp, settle: DurationMs) {
        let loaded = !self.runs.is_empty() || self.nodes.values().any(|n| n.state.is_alive());
        let settle_until = if loaded { now + settle } else { now };
        self.volatile = Volatile {
            started_at: now,
            last_before: self.last_at,
            is_new: self.log_length() == 0,
            settle_until,
            leases_from: settle_until,
            ..Volatile::default()
        };
        self.volatile.marked_nodes.extend(self.nodes.keys().copied());
        self.volatile.marked_launches.extend(self.nodes.keys().map(|id| id.launch));
    }

    fn note_agent(&mut self, now: Timestamp, id: NodeId, said: &AgentSaid) {
        if let AgentSaid::Hello { key, token_valid, facts, runs, .. } = said {
            self.note_hello(now, id, key, *token_valid, facts, runs);
            return;
        }
        let Some(link) = self.volatile.links.get_mut(&id) else { return };
        link.last_word = now;
        match said {
            AgentSaid::Phase { phase } => {
                if link.phase != *phase {
                    link.phase.clone_from(phase);
                }
                link.phase_since = now;
            }
            AgentSaid::RunStarted { run, started_at } => {
                self.note_run_start(*run, id, *started_at);
            }
            AgentSaid::Refuses(users) => {
                if let Some(facts) = &mut link.facts {
                    facts.refuses.clone_from(users);
                }
            }
            AgentSaid::Disconnected => {
                link.connected = false;
                link.told.clear();
                self.volatile.marked_nodes.insert(id);
            }
            AgentSaid::RunEnded(RunEnd { run, .. }) | AgentSaid::NotStarted { run, .. } => {
                link.unknown_runs.remove(run);
            }
            AgentSaid::Shares { shares } => link.shares.clone_from(shares),
            AgentSaid::Hello { .. }
            | AgentSaid::Heartbeat
            | AgentSaid::Notice { .. }
            | AgentSaid::Leaving { .. } => {}
        }
    }

    fn note_hello(
        &mut self,
        now: Timestamp,
        id: NodeId,
        key: &str,
        token_valid: bool,
        facts: &pcluster_wire::Facts,
        runs: &[RunReport],
    ) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.state.is_alive()) else { return };
        let welcome = node.key.as_ref().map_or(token_valid, |bound| bound == key);
        if !welcome {
            return;
        }
        let link = Link {
            connected: true,
            last_word: now,
            phase: "registered".into(),
            phase_since: now,
            facts: Some(facts.clone()),
            // An agent of before proves nothing; what it says of a path counts all the same.
            asked_shares: if facts.proves_shares {
                self.asked_shares(&node.offering.pool)
            } else {
                facts.shares.iter().map(|proof| proof.path.clone()).collect()
            },
            shares: facts.shares.clone(),
            told: alloc::collections::BTreeSet::new(),
            unknown_runs: self.unknown_among(id, runs),
        };
        self.volatile.links.insert(id, link);
        self.volatile.silences.remove(&id);
        self.volatile.marked_nodes.insert(id);
        // Starts that were issued to the connection before are orders of the new one now.
        self.volatile.issued.retain(|key| !matches!(key, EffectKey::Tell(node, _) if *node == id));
        for report in runs {
            if let RunReport::Running { run, started_at } = report {
                self.note_run_start(*run, id, *started_at);
            }
        }
    }

    fn note_run_start(&mut self, run: RunId, node: NodeId, started_at: Timestamp) {
        let Some(known) = self.runs.get(&run) else { return };
        self.volatile.run_starts.insert((run, node), started_at);
        // The first node of a gang is told to start once the others have.
        self.volatile.marked_nodes.extend(known.parts.first().map(|part| part.part.node));
    }

    fn note_provider(&mut self, now: Timestamp, said: &ProviderSaid) {
        match said {
            ProviderSaid::Launched { launch, answer } => {
                self.note_launched(now, *launch, answer.as_ref().err());
            }
            ProviderSaid::Terminated { node, error } => {
                self.volatile.issued.remove(&EffectKey::Terminate(*node));
                // Once accepted, the list decides when to ask again.
                self.again(EffectKey::Terminate(*node), now + CALL_AGAIN);
                match error {
                    None => {
                        // The first acceptance counts: calls are repeated, the window is not.
                        self.volatile.ending_accepted.entry(*node).or_insert(now);
                        self.volatile.ending_trouble.remove(node);
                    }
                    Some(words) => {
                        self.volatile.ending_trouble.insert(*node, words.clone());
                    }
                }
            }
            ProviderSaid::TerminatedUnknown { instance, .. } => {
                let key = EffectKey::TerminateUnknown(instance.clone());
                self.volatile.issued.remove(&key);
                self.again(key, now + CALL_AGAIN);
            }
            ProviderSaid::Listed { provider, asked_at, instances } => {
                self.note_listed(now, provider, *asked_at, instances);
            }
            ProviderSaid::SpotPrices { provider, prices } => {
                let told = prices.iter().map(|p| ((p.shape.clone(), p.subnet.clone()), p.price));
                let told = told.collect();
                self.volatile.spot_prices.insert(provider.as_str().to_string(), told);
            }
            ProviderSaid::Standing { found, .. } => {
                let stands = found.iter().filter(|told| told.until.is_none());
                let heard = stands.map(|told| ((told.reference.clone(), told.since), now));
                self.volatile.standing_heard.extend(heard);
            }
            ProviderSaid::ListFailed { provider, message } => {
                let list = self.list_state(provider);
                list.failure = Some(message.clone());
            }
        }
    }

    fn note_launched(&mut self, now: Timestamp, launch: LaunchId, error: Option<&LaunchError>) {
        let key = EffectKey::Launch(launch);
        self.volatile.issued.remove(&key);
        // Whatever is still unanswered for is asked for again, with the same token.
        let at = match error.map(|error| &error.class) {
            Some(LaunchErrorClass::RateLimited { retry_at }) => (*retry_at).max(now + CALL_AGAIN),
            _ => now + CALL_AGAIN,
        };
        match error {
            Some(error) => self.volatile.launch_trouble.insert(launch, (error.clone(), at)),
            None => self.volatile.launch_trouble.remove(&launch),
        };
        self.again(key, at);
    }

    /// The effect may be handed out again from `at` on.
    fn again(&mut self, key: EffectKey, at: Timestamp) {
        match &key {
            EffectKey::Launch(launch) => {
                self.volatile.marked_launches.insert(*launch);
            }
            EffectKey::Terminate(node) | EffectKey::Tell(node, _) => {
                self.volatile.marked_nodes.insert(*node);
            }
            EffectKey::TerminateUnknown(instance) => {
                self.volatile.marked_unknown.insert(instance.clone());
            }
        }
        self.volatile.retry_at.insert(key, at);
    }

    fn list_state(&mut self, provider: &ProviderKind) -> &mut ListState {
        self.volatile.lists.entry(provider.as_str().to_string()).or_default()
    }

    fn note_listed(
        &mut self,
        now: Timestamp,
        provider: &ProviderKind,
        asked_at: Timestamp,
        instances: &[ListedInstance],
    ) {
        for listed in instances.iter().filter(|listed| !listed.ended_estimated) {
            if let (Some(index), Some(ended_at)) = (listed.index, listed.ended_at) {
                let node = NodeId { launch: listed.launch, index };
                self.volatile.metered.insert(node, (listed.launched_at, ended_at));
            }
        }
        let mut unknown = alloc::collections::BTreeMap::new();
        let earlier = core::mem::take(&mut self.list_state(provider).unknown);
        let living = self.nodes.values().filter(|node| node.state.is_alive());
        let bound: BTreeSet<InstanceRef> =
            living.filter_map(|node| node.instance.clone()).collect();
        for listed in instances.iter().filter(|listed| listed.ended_at.is_none()) {
            if bound.contains(&listed.instance) || self.is_unbound(listed) {
                continue;
            }
            let first_seen = earlier.get(&listed.instance).map_or(now, |before| before.first_seen);
            let is_unlogged = self.is_unlogged(listed.launch, listed.index);
            self.volatile.marked_unknown.insert(listed.instance.clone());
            let key = EffectKey::TerminateUnknown(listed.instance.clone());
            let at = self.unknown_due(listed.launch, first_seen);
            self.volatile.retry_at.entry(key).or_insert(at);
            let seen = UnknownInstance { first_seen, is_unlogged, listed: listed.clone() };
            unknown.insert(listed.instance.clone(), seen);
        }
        let living = instances.iter().filter(|listed| listed.ended_at.is_none()).count();
        let list = self.list_state(provider);
        list.unknown = unknown;
        list.listed_at = Some(asked_at);
        list.living = u32::try_from(living).unwrap_or(u32::MAX);
        list.failure = None;
        // A node that stops and is still listed is ended again.
        let stopping = self
            .nodes
            .values()
            .filter(|node| matches!(node.state, NodeState::Stopping { .. }))
            .map(|node| node.id);
        self.volatile.marked_nodes.extend(stopping);
    }

    pub(crate) fn is_known(&self, listed: &ListedInstance) -> bool {
        let is_its = |node: &Node| node.instance.as_ref() == Some(&listed.instance);
        let mut living = self.nodes.values().filter(|node| node.state.is_alive());
        self.is_unbound(listed) || living.any(is_its)
    }

    /// It can be the machine of a node that has none yet.
    fn is_unbound(&self, listed: &ListedInstance) -> bool {
        let id = |index| NodeId { launch: listed.launch, index };
        let all = listed.index.map_or(0..=u32::MAX, |index| index..=index);
        let nodes = self.nodes.range(id(*all.start())..=id(*all.end()));
        let mut nodes = nodes.map(|(_, node)| node);
        nodes.any(|node| node.state.is_alive() && node.instance.is_none())
    }

    /// Remembers that an effect has been handed out.
    pub(crate) fn note_issued(&mut self, effect: &Effect) {
        match effect {
            Effect::Tell { node, told, .. } => self.note_told(*node, *told),
            Effect::Launch(_) | Effect::Terminate { .. } | Effect::TerminateUnknown { .. } => {
                let key = effect.key();
                self.volatile.retry_at.remove(&key);
                self.volatile.issued.insert(key);
            }
        }
    }

    fn note_told(&mut self, node: NodeId, told: Told) {
        if let Some(link) = self.volatile.links.get_mut(&node) {
            link.told.insert(told);
        }
    }

    /// Where a node's boot has got to, in words.
    pub(crate) fn boot_phase(&self, node: NodeId) -> String {
        match self.volatile.links.get(&node).map(|link| link.phase.clone()) {
            Some(phase) if !phase.is_empty() => phase,
            _ => match self.nodes.get(&node).map(|node| &node.state) {
                Some(NodeState::Wanted) => "launch asked".into(),
                _ => "boot before the agent's first word".into(),
            },
        }
    }
}
