//! Calls of providers, each in a task of its own, and the lists that say what really exists.
use super::cleaning::Cleaned;
use super::consoles;
use super::ends::Ends;
use super::orders::{Orders, tags_of};
use crate::bundles::Keeping;
use crate::clock::Clock;
use crate::inbox::InboxHandle;
use crate::limits;
use pcluster_core::effect::{EffectKey, LaunchPlan};
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::{LaunchError, LaunchedInstance, ListedInstance};
use pcluster_core::{Cluster, Effect, Input, ProviderSaid};
use pcluster_exports::Exports;
use pcluster_model::config::ProviderKind;
use pcluster_model::{InstanceRef, NodeId};
use pcluster_providers::{ErrorClass, Launched, Listed, Phase, Provider, ProviderError, Target};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// The hands for all providers of this head. Cheap to clone.
#[derive(Clone)]
pub struct ProviderHands {
    shared: Arc<Shared>,
}

struct Source {
    provider: Arc<dyn Provider>,
    ends: Ends,
    /// Milliseconds from one list to the next.
    pace: watch::Sender<u64>,
}

struct Shared {
    sources: Vec<Source>,
    orders: Orders,
    inbox: InboxHandle,
    clock: Clock,
    keeping: Keeping,
    in_hand: Mutex<BTreeSet<EffectKey>>,
    cleaned: Cleaned,
    exports: Exports,
    calls: Semaphore,
    /// Something was launched or ended: the list has changed.
    news: Notify,
}

impl ProviderHands {
    /// Hands for these providers; nothing is called yet.
    #[must_use]
    pub fn new(
        providers: Vec<Arc<dyn Provider>>,
        orders: Orders,
        inbox: InboxHandle,
        keeping: Keeping,
    ) -> Self {
        let source = |provider: Arc<dyn Provider>| {
            let ends = Ends::of(Arc::clone(&provider));
            Source { provider, ends, pace: watch::Sender::new(0) }
        };
        let shared = Shared {
            sources: providers.into_iter().map(source).collect(),
            orders,
            inbox,
            clock: keeping.clock.clone(),
            keeping,
            in_hand: Mutex::default(),
            cleaned: Cleaned::default(),
            exports: Exports::default(),
            calls: Semaphore::new(limits::PROVIDER_CALLS),
            news: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How soon after one list the next is to be read.
    pub fn pace(&self, cluster: &Cluster) {
        for source in &self.shared.sources {
            let every_ms = cluster.list_every_ms(&source.provider.kind());
            source.pace.send_if_modified(|pace| std::mem::replace(pace, every_ms) != every_ms);
        }
    }

    /// Takes on an effect, unless it is already in hand.
    pub fn take(&self, effect: Effect) {
        let key = effect.key();
        if !self.shared.lock().insert(key.clone()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let said = shared.carry_out(effect).await;
            shared.lock().remove(&key);
            shared.news.notify_waiters();
            if let Some(said) = said {
                // At the head's end nobody hears it; the next head does it again.
                let _ = shared.inbox.tell(Input::ProviderSaid(said)).await;
            }
        });
    }

    /// Reads the lists of all providers, their spot prices and what stands, until the process ends.
    pub fn start_lists(&self) {
        for source in &self.shared.sources {
            let (shared, provider) = (Arc::clone(&self.shared), Arc::clone(&source.provider));
            let pace = source.pace.subscribe();
            tokio::spawn(async move { shared.keep_listing(&*provider, pace).await });
            let (provider, inbox) = (Arc::clone(&source.provider), self.shared.inbox.clone());
            let mirror = self.shared.orders.mirror.clone();
            tokio::spawn(super::prices::keep_reading(provider, mirror, inbox.clone()));
            let (provider, clock) = (Arc::clone(&source.provider), self.shared.clock.clone());
            tokio::spawn(super::standing::keep_asking(provider, clock, inbox));
        }
    }

    /// All machines are gone for good: what providers made beside them goes, too. True once that is over.
    pub fn is_clean(&self) -> bool {
        if self.shared.cleaned.begin() {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let providers = shared.sources.iter().map(|source| &*source.provider);
                shared.cleaned.run(providers).await;
            });
        }
        self.shared.cleaned.is_over()
    }

    /// Addresses of machines that may mount the head's folders.
    #[must_use]
    pub fn exports(&self) -> Exports {
        self.shared.exports.clone()
    }

    /// What came of it.
    #[must_use]
    pub fn cleaned(&self) -> Cleaned {
        self.shared.cleaned.clone()
    }

    /// A machine has ended by itself before it was ready: what is known of that is kept.
    pub fn keep_what_failed(&self, node: NodeId, kind: ProviderKind, instance: InstanceRef) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if let Ok(provider) = shared.provider(&kind) {
                shared.keep_what_failed(node, &**provider, Some(&instance)).await;
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<EffectKey>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, kind: &ProviderKind) -> Result<&Source, ProviderError> {
        let found = self.sources.iter().find(|source| source.provider.kind() == *kind);
        found.ok_or_else(|| {
            let words = format!("provider {} is not part of this version", kind.as_str());
            ProviderError::new(ErrorClass::BadConfig, words)
        })
    }

    fn provider(&self, kind: &ProviderKind) -> Result<&Arc<dyn Provider>, ProviderError> {
        Ok(&self.source(kind)?.provider)
    }

    async fn carry_out(&self, effect: Effect) -> Option<ProviderSaid> {
        match effect {
            Effect::Launch(plan) => {
                let _place = self.calls.acquire().await.ok()?;
                Some(self.launch(&plan).await)
            }
            Effect::Terminate { node, provider, instance } => {
                let error = self.terminate(node, &provider, instance).await.err();
                Some(ProviderSaid::Terminated { node, error })
            }
            Effect::TerminateUnknown { instance, provider } => {
                let error = match self.source(&provider) {
                    Ok(source) => source.ends.end(instance.clone()).await.err(),
                    Err(error) => Some(error.message),
                };
                Some(ProviderSaid::TerminatedUnknown { instance, error })
            }
            Effect::Tell { .. } => None,
        }
    }

    async fn launch(&self, plan: &LaunchPlan) -> ProviderSaid {
        let answer = match (self.provider(&plan.provider), self.orders.launch(plan)) {
            (Ok(provider), Ok(order)) => match self.unmountable(plan) {
                Some(words) => Err(ProviderError::new(ErrorClass::Unknown, words)),
                None => provider.launch(&order).await,
            },
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let launched = answer.iter().flatten().flatten();
        let at = |one: &Launched| Some((one.instance.clone(), one.address?));
        self.exports.learn(launched.filter_map(at));
        let answer = match answer {
            Ok(answers) => Ok(answers
                .into_iter()
                .zip(0..)
                .map(|(answer, index)| match answer {
                    Ok(launched) => Ok(LaunchedInstance {
                        index: launched.index,
                        instance: launched.instance,
                        launched_at: launched.launched_at,
                    }),
                    Err(error) => Err((index, told(error))),
                })
                .collect()),
            Err(error) => Err(told(error)),
        };
        ProviderSaid::Launched { launch: plan.launch, answer }
    }

    /// Why its machines would never be ready: nothing is asked of the provider then, and later again.
    fn unmountable(&self, plan: &LaunchPlan) -> Option<String> {
        let cluster = self.orders.mirror.read();
        cluster.pool(&plan.offering.pool).and_then(|pool| self.exports.refusal(pool))
    }

    async fn terminate(
        &self,
        node: NodeId,
        kind: &ProviderKind,
        instance: Option<InstanceRef>,
    ) -> Result<(), String> {
        let words = |error: ProviderError| error.message;
        let Source { provider, ends, .. } = self.source(kind).map_err(words)?;
        let place = self.calls.acquire().await.map_err(|_| "the head ends")?;
        // Afterwards nobody could see the console any more.
        self.keep_what_failed(node, &**provider, instance.as_ref()).await;
        let targets = match instance {
            Some(instance) => {
                // Others go with the same call.
                drop(place);
                return ends.end(instance).await;
            }
            None if self.lock().contains(&EffectKey::Launch(node.launch)) => {
                // It may yet name the machine; the cluster asks again.
                return Err("the launch has not been answered yet".into());
            }
            None => unbound(&provider.list().await.map_err(words)?, node),
        };
        provider.terminate(&targets).await.map_err(words)
    }

    async fn keep_what_failed(
        &self,
        node: NodeId,
        provider: &dyn Provider,
        instance: Option<&InstanceRef>,
    ) {
        let Some(mut bundle) = self.keeping.begin(node) else { return };
        bundle.set_console(match instance {
            Some(instance) => consoles::ask(provider, instance).await,
            None => Err("the provider never named a machine".to_owned()),
        });
        self.keeping.finish(bundle).await;
    }

    async fn keep_listing(&self, provider: &dyn Provider, mut pace: watch::Receiver<u64>) {
        loop {
            let asked_at = self.clock.now();
            let said = match provider.list().await {
                Ok(listed) => {
                    let at = |one: &Listed| Some((one.instance.clone(), one.address?));
                    self.exports.learn(listed.iter().filter_map(at));
                    let instances = listed.into_iter().map(seen).collect();
                    ProviderSaid::Listed { provider: provider.kind(), asked_at, instances }
                }
                Err(error) => {
                    ProviderSaid::ListFailed { provider: provider.kind(), message: error.message }
                }
            };
            if self.inbox.tell(Input::ProviderSaid(said)).await.is_err() {
                return;
            }
            tokio::time::sleep(limits::LIST_PAUSE).await;
            let wait = Duration::from_millis(*pace.borrow_and_update());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.news.notified() => {}
                changed = pace.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// What to end when the answer of a launch never came: the machine of this index where the list
/// shows it. If the list shows none of the launch, it must not come up later either.
fn unbound(listed: &[Listed], node: NodeId) -> Vec<Target> {
    let mut of_launch = listed.iter().filter(|one| one.launch == node.launch).peekable();
    if of_launch.peek().is_none() {
        return vec![Target::Launch(node.launch)];
    }
    of_launch
        .filter(|one| one.index == Some(node.index) && one.phase != Phase::Ended)
        .map(|one| Target::Instance(one.instance.clone()))
        .collect()
}

fn seen(listed: Listed) -> ListedInstance {
    let tags = tags_of(&listed);
    // Something that stops still bills: only an end is an end.
    ListedInstance {
        instance: listed.instance,
        launch: listed.launch,
        index: listed.index,
        ended_at: match listed.phase {
            Phase::Ended => listed.ended_at.or(Some(listed.launched_at)),
            Phase::Pending | Phase::Running | Phase::Stopping => None,
        },
        ended_estimated: listed.ended_estimated || listed.ended_at.is_none(),
        notice_at: listed.notice_at,
        reclaimed: listed.reclaimed,
        launched_at: listed.launched_at,
        tags,
    }
}

fn told(error: ProviderError) -> LaunchError {
    let class = match error.class {
        ErrorClass::NoCapacity => LaunchErrorClass::NoCapacity,
        ErrorClass::Quota { limit, used } => LaunchErrorClass::Quota { limit, used },
        ErrorClass::RateLimited { retry_at } => LaunchErrorClass::RateLimited { retry_at },
        ErrorClass::NeverFits => LaunchErrorClass::NeverFits,
        ErrorClass::Denied => LaunchErrorClass::Denied,
        ErrorClass::BadConfig => LaunchErrorClass::BadConfig,
        ErrorClass::Unknown => LaunchErrorClass::Unknown,
    };
    LaunchError { class, message: error.message }
}
