//! What providers say: answers to calls, and lists of what exists.
use super::Decision;
use crate::Cluster;
use crate::event::{Event, LaunchErrorClass, OfferingKey};
use crate::input::{LaunchError, LaunchedInstance, ListedInstance, ProviderSaid};
use crate::ledger::{Bucket, Reading, Span, bill, day_of};
use crate::limits::{REST_FIRST, RETRY_FIRST};
use crate::node::{Node, NodeState};
use crate::timers::doubled;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::{DurationMs, LaunchId, NodeId, Timestamp};
use pcluster_wire::NoticeKind;

/// How a machine ended.
struct End {
    /// The provider's time.
    at: Timestamp,
    estimated: bool,
    reclaimed: bool,
}

impl Cluster {
    pub(super) fn decide_provider(&self, now: Timestamp, said: ProviderSaid) -> Decision {
        match said {
            ProviderSaid::Launched { launch, answer } => match answer {
                Ok(answers) => self.decide_launched(now, launch, answers),
                Err(error) => self.decide_launch_failed(now, launch, &error),
            },
            ProviderSaid::Listed { provider, asked_at, instances } => {
                self.decide_listed(now, &provider, asked_at, &instances)
            }
            ProviderSaid::Standing { provider, asked_at, found } => {
                self.decide_standing(now, &provider, asked_at, &found)
            }
            // Volatile: `note` has taken them in.
            ProviderSaid::Terminated { .. }
            | ProviderSaid::TerminatedUnknown { .. }
            | ProviderSaid::ListFailed { .. }
            | ProviderSaid::SpotPrices { .. } => Decision::nothing(),
        }
    }

    fn decide_launched(
        &self,
        now: Timestamp,
        launch: LaunchId,
        answers: Vec<Result<LaunchedInstance, (u32, LaunchError)>>,
    ) -> Decision {
        let mut events = Vec::new();
        let mut worst: Option<(OfferingKey, LaunchError)> = None;
        for answer in answers {
            let index = match &answer {
                Ok(instance) => instance.index,
                Err((index, _)) => *index,
            };
            let Some(node) = self.nodes.get(&NodeId { launch, index }) else { continue };
            match answer {
                Ok(seen) => {
                    events.extend(self.seen_events(now, node, seen.instance, seen.launched_at))
                }
                Err((_, error)) => {
                    // An answer nobody understands proves nothing: the machine may exist.
                    let open = node.state.is_alive() && node.instance.is_none();
                    if error.class == LaunchErrorClass::Unknown || !open {
                        continue;
                    }
                    events.push(Event::LaunchRefused {
                        node: node.id,
                        class: error.class.clone(),
                        message: error.message.clone(),
                    });
                    worst.get_or_insert((node.offering.clone(), error));
                }
            }
        }
        if let Some((offering, error)) = worst {
            events.push(self.rest(now, offering, &error));
        }
        Decision::events(events)
    }

    fn decide_launch_failed(
        &self,
        now: Timestamp,
        launch: LaunchId,
        error: &LaunchError,
    ) -> Decision {
        let waiting: Vec<&Node> = self
            .nodes
            .values()
            .filter(|node| node.launch() == launch && node.instance.is_none())
            .filter(|node| matches!(node.state, NodeState::Wanted | NodeState::Stopping { .. }))
            .collect();
        // The same call is made again with the same token: `note` has set when.
        let unclear =
            matches!(error.class, LaunchErrorClass::Unknown | LaunchErrorClass::RateLimited { .. });
        let Some(first) = waiting.first().filter(|_| !unclear) else {
            return Decision::nothing();
        };
        let offering = first.offering.clone();
        let mut events: Vec<Event> = waiting
            .iter()
            .map(|node| Event::LaunchRefused {
                node: node.id,
                class: error.class.clone(),
                message: error.message.clone(),
            })
            .collect();
        events.push(self.rest(now, offering, error));
        Decision::events(events)
    }

    fn rest(&self, now: Timestamp, offering: OfferingKey, error: &LaunchError) -> Event {
        let rests = self.health(&offering).rests;
        let until = match &error.class {
            LaunchErrorClass::RateLimited { retry_at } => *retry_at,
            LaunchErrorClass::NoCapacity | LaunchErrorClass::Quota { .. } => {
                now + doubled(REST_FIRST, rests)
            }
            // Only a new configuration helps; it clears all rests.
            LaunchErrorClass::Denied
            | LaunchErrorClass::BadConfig
            | LaunchErrorClass::NeverFits => now + DurationMs::from_hours(24 * 365),
            LaunchErrorClass::Unknown => now + doubled(RETRY_FIRST, rests),
        };
        let (class, message) = (error.class.clone(), error.message.clone());
        Event::OfferingRested { offering, until, class, message }
    }

    /// A machine of ours exists: it bills from the provider's time on. Its agent may have spoken
    /// before the provider's answer came.
    fn seen_events(
        &self,
        now: Timestamp,
        node: &Node,
        instance: pcluster_model::InstanceRef,
        launched_at: Timestamp,
    ) -> Vec<Event> {
        if node.instance.is_some() || !node.state.is_alive() {
            return Vec::new();
        }
        let mut events = vec![Event::InstanceSeen { node: node.id, instance, launched_at }];
        if matches!(node.state, NodeState::Wanted) && node.key.is_some() {
            let facts = self.volatile.links.get(&node.id).and_then(|link| link.facts.as_ref());
            if let Some(facts) = facts {
                events.extend(self.fitness_events(now, node, facts));
            }
        }
        events
    }

    fn decide_listed(
        &self,
        now: Timestamp,
        provider: &ProviderKind,
        asked_at: Timestamp,
        instances: &[ListedInstance],
    ) -> Decision {
        let mut events = self.skip_for_launches(instances);
        let listed = self.bind(instances);
        for node in self.nodes.values().filter(|node| node.state.is_alive()) {
            if self.provider_of(node) != Some(provider) {
                continue;
            }
            events.extend(self.listed_events(now, asked_at, node, listed.get(&node.id)));
        }
        Decision::events(events)
    }

    /// Listed machines by node: by the provider's index, or else by name, or else in list order.
    fn bind<'a>(&self, instances: &'a [ListedInstance]) -> BTreeMap<NodeId, &'a ListedInstance> {
        let mut bound: BTreeMap<NodeId, &ListedInstance> = BTreeMap::new();
        let by_instance: BTreeMap<_, _> = self
            .nodes
            .values()
            .filter_map(|node| node.instance.as_ref().map(|instance| (instance, node.id)))
            .collect();
        let mut loose = Vec::new();
        for instance in instances {
            if let Some(node) = by_instance.get(&instance.instance) {
                bound.insert(*node, instance);
            } else if let Some(index) = instance.index {
                bound.insert(NodeId { launch: instance.launch, index }, instance);
            } else {
                loose.push(instance);
            }
        }
        for instance in loose {
            let free = self.nodes.values().find(|node| {
                node.launch() == instance.launch
                    && node.instance.is_none()
                    && !bound.contains_key(&node.id)
            });
            if let Some(node) = free {
                bound.insert(node.id, instance);
            }
        }
        bound
    }

    fn listed_events(
        &self,
        now: Timestamp,
        asked_at: Timestamp,
        node: &Node,
        listed: Option<&&ListedInstance>,
    ) -> Vec<Event> {
        match listed {
            Some(instance) => {
                let mut events = Vec::new();
                if node.instance.is_none() {
                    events.extend(self.seen_events(
                        now,
                        node,
                        instance.instance.clone(),
                        instance.launched_at,
                    ));
                }
                if let Some(ended_at) = instance.ended_at {
                    let launched_at = node.launched_at.unwrap_or(instance.launched_at);
                    let end = End {
                        at: ended_at,
                        estimated: instance.ended_estimated,
                        reclaimed: instance.reclaimed,
                    };
                    events.extend(self.gone_events(now, node, launched_at, end));
                } else if instance.notice_at.is_some() && node.instance.is_some() {
                    let (kind, until) = (NoticeKind::Reclaim, instance.notice_at);
                    events.extend(self.notice_events(now, node, kind, until));
                }
                events
            }
            None => self.missing_events(now, asked_at, node),
        }
    }

    /// Not in the list: gone, unless the list may still be wrong about it.
    fn missing_events(&self, now: Timestamp, asked_at: Timestamp, node: &Node) -> Vec<Event> {
        let Some(provider) = self.provider_of(node) else { return Vec::new() };
        let window = self.consistency_window(provider);
        let stopping = matches!(node.state, NodeState::Stopping { .. });
        let last_call = match (node.seen_at, stopping) {
            // Its launch was never answered: only an accepted termination proves anything.
            (None, false) => return Vec::new(),
            (None, true) => match self.volatile.ending_accepted.get(&node.id) {
                Some(at) => *at,
                None => return Vec::new(),
            },
            (Some(seen), false) => seen,
            (Some(seen), true) => {
                self.volatile.ending_accepted.get(&node.id).map_or(seen, |at| (*at).max(seen))
            }
        };
        // Steady time may have jumped at the head's start, so calls before it count from there.
        if asked_at <= last_call.max(self.volatile.started_at) + window {
            return Vec::new();
        }
        match node.launched_at {
            Some(launched_at) => {
                let end = End { at: now, estimated: true, reclaimed: false };
                self.gone_events(now, node, launched_at, end)
            }
            None => vec![Event::NodeGone { node: node.id }],
        }
    }

    fn gone_events(
        &self,
        now: Timestamp,
        node: &Node,
        launched_at: Timestamp,
        end: End,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(cause) = self.end_cause(node, end.reclaimed) {
            events.push(Event::NodeStopping { node: node.id, cause });
        }
        events.push(Event::NodeGone { node: node.id });
        let span = self.span_of(now, node, launched_at, end.at.max(launched_at), end.estimated);
        events.push(Event::SpanClosed { span: Box::new(span) });
        events
    }

    fn span_of(
        &self,
        _now: Timestamp,
        node: &Node,
        launched_at: Timestamp,
        ended_at: Timestamp,
        estimated: bool,
    ) -> Span {
        let zone = self.zone_offset_ms();
        let minimum = node.minimum_billing_ms;
        let (billed_ms, total) = bill(launched_at, ended_at, minimum, node.price);
        let mut meter = node.meter.clone();
        meter.advance(ended_at, zone);
        if meter.readings.is_empty() {
            // It ended before anything was counted; what the provider bills is drain.
            meter.readings.push(Reading(day_of(launched_at, zone), Bucket::Drain, 1));
        }
        Span {
            node: node.id,
            name: node.name.clone(),
            pool: node.offering.pool.clone(),
            shape: node.shape.name.clone(),
            launched_at,
            ended_at,
            estimated,
            price: node.price,
            total,
            charges: meter.priced(total),
            billed_ms,
        }
    }

    /// The provider of a node; in logs that did not say, that of its pool.
    pub(crate) fn provider_of<'a>(&'a self, node: &'a Node) -> Option<&'a ProviderKind> {
        if node.provider.is_some() {
            return node.provider.as_ref();
        }
        let config = self.config()?;
        config
            .pool(&node.offering.pool)
            .or_else(|| config.default_pool())
            .map(|pool| &pool.provider)
    }
}
