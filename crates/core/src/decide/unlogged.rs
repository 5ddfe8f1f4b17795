//! A log that is older than the world: it was brought back from a copy, and a head that is gone has
//! launched machines and started runs of which it says nothing.
//!
//! Invariant: no number that such a head may have given is given again; its machines are left as they
//! are, and nothing is launched beside them, until an admin says what becomes of them; a node with
//! runs that the log does not know gets no other and is not ended for being idle. Deliberately
//! absent: those runs' jobs. What was accepted after the copy was lost with the log.
use super::control::{Decided, done, refuse};
use crate::Cluster;
use crate::event::{Event, LaunchIntent, OfferingKey, StopCause};
use crate::input::{ListedInstance, Principal};
use crate::limits::{NAMES_SKIPPED, NUMBERS_SKIPPED, STOP_ALLOWANCE};
use crate::node::{Node, NodeState};
use crate::reply::{Rejection, RejectionKind};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::{InstanceRef, JobId, LaunchId, NodeId, RunId, Timestamp};
use pcluster_wire::RunReport;

impl Cluster {
    /// The event that leaves out what a lost head may have numbered: for who brings back a copy.
    #[must_use]
    pub fn skip_numbers(&self, why: &str) -> Event {
        self.skip_from(self.meta.last_launch, why)
    }

    fn skip_from(&self, launch: u64, why: &str) -> Event {
        let after = |last: u64| last.saturating_add(NUMBERS_SKIPPED);
        Event::NumbersSkipped {
            launch: LaunchId(after(launch)),
            run: RunId(after(self.meta.last_run)),
            job: JobId(after(self.meta.last_job)),
            order: after(self.meta.last_order),
            names: NAMES_SKIPPED,
            why: why.into(),
        }
    }

    /// A list shows launches above the log's highest: the log is a copy that nobody called one.
    pub(super) fn skip_for_launches(&self, instances: &[ListedInstance]) -> Vec<Event> {
        let highest = instances.iter().map(|listed| listed.launch.0).max().unwrap_or(0);
        let newer = highest > self.meta.last_launch;
        let why = "the provider's list has launches that this log has not";
        newer.then(|| self.skip_from(highest, why)).into_iter().collect()
    }

    /// A node has been given runs above the log's highest. Numbers out of reach prove nothing.
    pub(super) fn skip_for_runs(&self, runs: &[RunReport]) -> Vec<Event> {
        let last = self.meta.last_run;
        let newer = last + 1..=last.saturating_add(NUMBERS_SKIPPED);
        let found = runs.iter().any(|report| newer.contains(&report.run().0));
        let why = "a node has runs that this log has not";
        found.then(|| self.skip_numbers(why)).into_iter().collect()
    }

    /// A machine of a launch that a lost log may have made, and that nobody has taken in since.
    #[must_use]
    pub fn is_unlogged(&self, launch: LaunchId, index: Option<u32>) -> bool {
        let mut gaps = self.meta.unlogged_launches.iter();
        let may_be = launch.0 > self.meta.last_launch
            || gaps.any(|(first, last)| (*first..=*last).contains(&launch));
        may_be && !index.is_some_and(|index| self.nodes.contains_key(&NodeId { launch, index }))
    }

    /// Machines of such launches as the last lists show them, by the word of their provider.
    pub fn unlogged_instances(&self) -> impl Iterator<Item = (&str, &ListedInstance)> {
        self.volatile.lists.iter().flat_map(|(provider, list)| {
            // The list is older than what an admin has said since.
            let unlogged = list
                .unknown
                .values()
                .filter(|unknown| unknown.is_unlogged && !self.is_known(&unknown.listed));
            unlogged.map(|unknown| (provider.as_str(), &unknown.listed))
        })
    }

    /// Of the runs that a node says are alive there, those that the log does not have there.
    pub(crate) fn unknown_among(&self, node: NodeId, runs: &[RunReport]) -> BTreeSet<RunId> {
        let alive = runs.iter().filter(|report| matches!(report, RunReport::Running { .. }));
        let known =
            |run: &RunId| self.runs.get(run).is_some_and(|known| known.part(node).is_some());
        alive.map(RunReport::run).filter(|run| !known(run)).collect()
    }

    /// Runs that nobody here knows are alive on it, as far as it has said.
    #[must_use]
    pub fn runs_unknown(&self, node: &Node) -> bool {
        self.volatile.links.get(&node.id).is_some_and(|link| !link.unknown_runs.is_empty())
    }

    /// Something runs there, or may: a node of which that was once said is asked anew by each head.
    pub(crate) fn is_busy(&self, node: &Node) -> bool {
        let unheard = match &node.state {
            NodeState::Draining { cause } | NodeState::Lost { drain: Some(cause), .. } => {
                *cause == StopCause::RunsUnknown && !self.volatile.links.contains_key(&node.id)
            }
            _ => false,
        };
        !node.runs.is_empty() || unheard || self.runs_unknown(node)
    }

    pub(super) fn adopt_unlogged(
        &self,
        now: Timestamp,
        who: &Principal,
        chosen: &[InstanceRef],
    ) -> Decided {
        let events = self.take_in(now, who, chosen)?;
        let machines = words(events.len());
        let said = format!("{machines} taken in; each goes when what runs there has ended");
        done(said, events.len(), events)
    }

    pub(super) fn end_unlogged(
        &self,
        now: Timestamp,
        who: &Principal,
        chosen: &[InstanceRef],
    ) -> Decided {
        let mut events = Vec::new();
        for adopted in self.take_in(now, who, chosen)? {
            let Event::InstanceAdopted { node, .. } = &adopted else { continue };
            let cause = StopCause::Asked { by: who.user.clone() };
            let stopping = Event::NodeStopping { node: *node, cause };
            events.extend([adopted, stopping]);
        }
        let machines = words(events.len() / 2);
        done(format!("{machines} being ended"), events.len() / 2, events)
    }

    /// Each becomes a node: what it bills is in the ledger from the provider's time on.
    fn take_in(
        &self,
        now: Timestamp,
        who: &Principal,
        chosen: &[InstanceRef],
    ) -> Result<Vec<Event>, Rejection> {
        if !who.admin {
            let words = format!(
                "only admins decide about machines that are not in the log; you are {}",
                who.user
            );
            return Err(Rejection::new(RejectionKind::NotAllowed, words));
        }
        let found: Vec<_> = self.unlogged_instances().collect();
        let known = |name: &InstanceRef| found.iter().any(|(_, listed)| listed.instance == *name);
        if let Some(other) = chosen.iter().find(|name| !known(name)) {
            let words = format!("{other} is no machine of a launch that this log does not know");
            return Err(Rejection::new(RejectionKind::NotFound, words).hint("pcluster status"));
        }
        if found.is_empty() {
            return Err(refuse("there is no machine that this log does not know")
                .hint("pcluster status: what the provider's list has"));
        }
        let mut events = Vec::new();
        let (mut taken, mut numbers) = (BTreeSet::new(), BTreeMap::new());
        let wanted =
            |listed: &ListedInstance| chosen.is_empty() || chosen.contains(&listed.instance);
        for (provider, listed) in found.into_iter().filter(|(_, listed)| wanted(listed)) {
            let intent = self.pool_of(provider, listed).and_then(|pool| {
                let before = self.meta.next_numbers.get(&pool.name).copied().unwrap_or(1);
                let number = numbers.entry(&pool.name).or_insert(before);
                self.intent_of(now, who, listed, pool, number)
            });
            let intent = Box::new(intent.ok_or_else(|| {
                refuse(format!("no pool of the configuration has provider {provider}"))
                    .hint("add one, then once more")
            })?);
            let node = self.free_place(listed, &taken);
            taken.insert(node);
            let (instance, launched_at) = (listed.instance.clone(), listed.launched_at);
            let by = who.user.clone();
            events.push(Event::InstanceAdopted { node, instance, launched_at, intent, by });
        }
        Ok(events)
    }

    /// The pool that its tags name, or else the first one of its provider.
    fn pool_of(&self, provider: &str, listed: &ListedInstance) -> Option<&Pool> {
        let mut pools = self.config()?.pools.iter().filter(|p| p.provider.as_str() == provider);
        let first = pools.clone().next();
        pools.find(|pool| listed.tags.pool.as_ref() == Some(&pool.name)).or(first)
    }

    fn free_place(&self, listed: &ListedInstance, taken: &BTreeSet<NodeId>) -> NodeId {
        let launch = listed.launch;
        let free = |id: &NodeId| !self.nodes.contains_key(id) && !taken.contains(id);
        let first = listed.index.unwrap_or(0);
        let mut places = (first..u32::MAX).map(|index| NodeId { launch, index });
        places.find(free).unwrap_or(NodeId { launch, index: first })
    }

    /// What it would have been launched by. It has a new name where nobody else knows its own.
    fn intent_of(
        &self,
        now: Timestamp,
        who: &Principal,
        listed: &ListedInstance,
        pool: &Pool,
        number: &mut u32,
    ) -> Option<LaunchIntent> {
        let tags = &listed.tags;
        let own = tags.name.as_ref().filter(|name| self.node_named(name).is_none());
        let name = own.cloned().unwrap_or_else(|| {
            *number += 1;
            format!("{}-{}", pool.name, *number - 1)
        });
        let tagged = |name: &String| pool.shapes.iter().find(|shape| shape.name == *name);
        let shape = tags.shape.as_ref().and_then(tagged).or(pool.shapes.first());
        let mut shape = shape?.clone();
        if let Some(word) = &tags.shape {
            shape.name.clone_from(word);
        }
        let (pool_name, shape_name) = (pool.name.clone(), shape.name.clone());
        Some(LaunchIntent {
            launch: listed.launch,
            offering: OfferingKey {
                pool: pool_name,
                shape: shape_name,
                spot: false,
                subnet: String::new(),
            },
            image: pool.image.clone(),
            price: tags.price.or(shape.price),
            shape,
            names: vec![name],
            next_number: *number,
            reserved_until: now + STOP_ALLOWANCE,
            why: format!("found by {}: its launch is not in this log", who.user),
            provider: Some(pool.provider.clone()),
            minimum_billing_ms: pool.minimum_billing_ms,
        })
    }
}

fn words(machines: usize) -> String {
    if machines == 1 { "1 machine is".into() } else { format!("{machines} machines are") }
}
