//! Keeping what is exported in step with the machines that live.
use crate::file::{self, Addresses, is_of_one};
use crate::server::{System, Trouble, lacks, mounted};
use pcluster_model::InstanceRef;
use pcluster_model::config::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// Between two changes at the least: a launch of a thousand machines is not a thousand changes.
const PAUSE: Duration = Duration::from_millis(200);
/// What is as it should be is looked at again after this.
const EVERY: Duration = Duration::from_secs(60);
/// And what is not, after this.
const SOON: Duration = Duration::from_secs(5);
/// A machine that has been named may become one of the state's so much later.
const UNBOUND: Duration = Duration::from_secs(600);

/// What is to be exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub paths: BTreeSet<String>,
    /// Instances of nodes that are not gone.
    pub nodes: BTreeSet<InstanceRef>,
}

/// Addresses of machines, and how exporting to them goes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Exports(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// With the moment when a provider named it last.
    known: Mutex<BTreeMap<InstanceRef, (IpAddr, Instant)>>,
    trouble: Mutex<Option<Trouble>>,
    news: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exports {
    /// A provider has named addresses of machines.
    pub fn learn(&self, machines: impl Iterator<Item = (InstanceRef, IpAddr)>) {
        let (mut known, now) = (lock(&self.0.known), Instant::now());
        let mut is_new = false;
        for (instance, address) in machines.filter(|(_, address)| is_of_one(address)) {
            let before = known.insert(instance, (address, now));
            is_new |= before.is_none_or(|(before, _)| before != address);
        }
        if is_new {
            self.0.news.notify_one();
        }
    }

    /// Why nodes of a pool could not mount the head's folders now.
    #[must_use]
    pub fn refusal(&self, pool: &Pool) -> Option<String> {
        let paths: Vec<&str> = pool.folders_of_head().collect();
        let Trouble { what, help } = lock(&self.0.trouble).clone().filter(|_| !paths.is_empty())?;
        Some(format!("nodes could not mount {} of the head: {what} ({help})", paths.join(" and ")))
    }

    fn addresses(&self, nodes: &BTreeSet<InstanceRef>) -> Addresses {
        let known = lock(&self.0.known);
        let of = |node: &InstanceRef| Some((node.clone(), known.get(node)?.0));
        nodes.iter().filter_map(of).collect()
    }

    fn forget_all_but(&self, nodes: &BTreeSet<InstanceRef>) {
        let fresh = |at: &Instant| at.elapsed() < UNBOUND;
        lock(&self.0.known).retain(|node, (_, at)| nodes.contains(node) || fresh(at));
    }

    fn tell(&self, trouble: Option<Trouble>) {
        let before = std::mem::replace(&mut *lock(&self.0.trouble), trouble.clone());
        match trouble {
            Some(Trouble { what, help }) if before.as_ref().is_none_or(|it| it.what != what) => {
                tracing::warn!(what, help, "the head's folders are not exported as they should be");
            }
            None if before.is_some() => tracing::info!("the head's folders are exported again"),
            Some(_) | None => {}
        }
    }

    /// One turn; whether all is as it should be.
    async fn turn(&self, system: &System, wanted: &Wanted, again: bool) -> bool {
        let addresses = self.addresses(&wanted.nodes);
        let text = file::text(&system.cluster, &wanted.paths, &mounted(), &addresses);
        let made = match lacks().filter(|_| !wanted.paths.is_empty()) {
            Some(lack) => Err(lack),
            None if wanted.paths.is_empty() => system.make(&text, again).await,
            None => match system.make(&text, again).await {
                Ok(()) => system.answers().await,
                Err(trouble) => Err(trouble),
            },
        };
        let trouble = made.err();
        let is_well = trouble.is_none();
        self.tell(trouble);
        is_well
    }
}

/// Follows what is wanted until nobody changes it any more.
pub async fn keep(
    exports: Exports,
    system: System,
    wanted: impl Fn() -> Wanted,
    mut changes: watch::Receiver<u64>,
) {
    // An earlier head wrote it; its nodes live on.
    exports.learn(file::nodes_of(&system.read()).into_iter());
    let (mut before, mut well, mut at) = (None::<(Wanted, Addresses)>, false, Instant::now());
    loop {
        let wants = wanted();
        let addresses = exports.addresses(&wants.nodes);
        let same = before.as_ref().is_some_and(|(last, to)| *last == wants && *to == addresses);
        let pause = if well { EVERY } else { SOON };
        if !same || at.elapsed() >= pause {
            well = exports.turn(&system, &wants, before.is_none() || !well).await;
            at = Instant::now();
            exports.forget_all_but(&wants.nodes);
            before = Some((wants, addresses));
        }
        sleep(PAUSE).await;
        let news = async {
            tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = exports.0.news.notified() => true,
            }
        };
        if timeout(if well { EVERY } else { SOON }, news).await == Ok(false) {
            return;
        }
    }
}

/// Takes back all that a cluster exports: it is down.
pub async fn clear(system: &System) {
    if let Err(Trouble { what, help }) = system.make("", false).await {
        tracing::warn!(what, help, "the head's folders may still be exported");
    }
}
