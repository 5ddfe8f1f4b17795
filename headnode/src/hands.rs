//! The hands: what the cluster wants done is done here, and what came of it goes back as inputs.
//!
//! Invariant: effects are level-triggered. One that is already in hand is dropped, one that is lost
//! comes again; the keys of what is in hand live here only. Deliberately absent: back-off and every
//! other choice (core says again what it still wants).
pub mod cleaning;
pub mod consoles;
mod ends;
pub mod orders;
mod prices;
pub mod providers;
mod standing;
pub mod starts;

use crate::agents::Hub;
use crate::inbox::LinkId;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::outlet::Outlet;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::reply::Reply;
use pcluster_core::{AgentSaid, Cluster, Effect};
use pcluster_model::{NodeId, RunId, SignalScope};
use providers::ProviderHands;

/// Everything that acts for the loop.
#[derive(Clone)]
pub struct Hands {
    pub hub: Hub,
    pub providers: ProviderHands,
    pub metrics: Metrics,
    pub mirror: Mirror,
}

impl Hands {
    /// A machine that is gone before its boot was over: nobody ends it, so nobody else looks.
    fn keep_what_failed(&self, node: NodeId) {
        let machine = {
            let cluster = self.mirror.read();
            let known = cluster.nodes.get(&node);
            known.and_then(|known| {
                let pool = cluster.pool(&known.offering.pool)?;
                Some((pool.provider.clone(), known.instance.clone()?))
            })
        };
        if let Some((provider, instance)) = machine {
            self.providers.keep_what_failed(node, provider, instance);
        }
    }
}

impl Outlet for Hands {
    fn admits(&self, link: LinkId, node: NodeId, said: &AgentSaid) -> bool {
        self.hub.admits(link, node, said)
    }

    fn answer(&self, link: LinkId, reply: Reply) {
        self.hub.answer(link, reply);
    }

    fn signal(&self, runs: &[(NodeId, RunId)], signal: i32, scope: SignalScope) {
        for (node, run) in runs {
            self.hub.signal(*node, *run, signal, scope);
        }
    }

    fn take(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell { node, order, .. } => self.hub.order(node, order),
                Effect::Launch(_) | Effect::Terminate { .. } | Effect::TerminateUnknown { .. } => {
                    self.providers.take(effect);
                }
            }
        }
    }

    fn committed(&self, events: &[Stamped]) {
        self.metrics.count(events);
        for stamped in events {
            tell_story(stamped);
            if let Event::NodeGone { node } = &stamped.event {
                self.keep_what_failed(*node);
            }
        }
    }

    fn settled(&self, cluster: &Cluster) {
        self.providers.pace(cluster);
    }

    fn is_clean(&self) -> bool {
        self.providers.is_clean()
    }
}

/// One structured line for each event: the log is the story.
fn tell_story(stamped: &Stamped) {
    let event = &stamped.event;
    let body = match event {
        // The whole configuration is in the event log; here it would hide the rest.
        Event::ConfigChanged { .. } => String::new(),
        _ => serde_json::to_string(event).unwrap_or_default(),
    };
    tracing::info!(
        seq = stamped.seq,
        at = stamped.at.0,
        kind = event.kind(),
        subject = event.subject(),
        body,
        "event"
    );
}
