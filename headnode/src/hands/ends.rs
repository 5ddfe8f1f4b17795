//! Ends of machines, many in one call: whatever is to end while a call is under way, or within a moment, goes with
//! the next one.
//!
//! Invariant: everybody who asks is answered once. Where a call for several fails, each of them is tried alone the
//! next time: one that cannot be ended keeps none of the others. Deliberately absent: asking again (core).
use crate::limits;
use pcluster_model::InstanceRef;
use pcluster_providers::{Provider, Target};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A machine to end, and who wants to know.
struct Ask {
    instance: InstanceRef,
    answer: oneshot::Sender<Result<(), String>>,
}

/// Ends machines of one provider. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ends(mpsc::UnboundedSender<Ask>);

impl Ends {
    /// What waits is bounded by the effects in hand: one for each machine.
    pub fn of(provider: Arc<dyn Provider>) -> Self {
        let (sender, asks) = mpsc::unbounded_channel();
        tokio::spawn(keep_ending(provider, asks));
        Self(sender)
    }

    /// Ends this machine.
    ///
    /// # Errors
    /// The provider's words.
    pub async fn end(&self, instance: InstanceRef) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = "the head ends";
        self.0.send(Ask { instance, answer }).map_err(|_| gone)?;
        answered.await.map_err(|_| gone)?
    }
}

/// Machines that were not ended together with others.
#[derive(Clone, Default)]
struct Alone(Arc<Mutex<BTreeSet<InstanceRef>>>);

impl Alone {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<InstanceRef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_ending(provider: Arc<dyn Provider>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let places = Arc::new(Semaphore::new(limits::PROVIDER_CALLS));
    let alone = Alone::default();
    while let Some(first) = asks.recv().await {
        tokio::time::sleep(limits::ENDS_GATHER).await;
        let mut all = vec![first];
        // Whatever waits for a place goes with those who have it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while all.len() < limits::ENDS_AT_ONCE
            && let Ok(more) = asks.try_recv()
        {
            all.push(more);
        }
        let (provider, alone) = (Arc::clone(&provider), alone.clone());
        tokio::spawn(async move {
            end(&*provider, &alone, all).await;
            drop(place);
        });
    }
}

async fn end(provider: &dyn Provider, alone: &Alone, all: Vec<Ask>) {
    let (single, together): (Vec<Ask>, Vec<Ask>) = {
        let known = alone.lock();
        all.into_iter().partition(|ask| known.contains(&ask.instance))
    };
    if !together.is_empty() {
        let several = together.len() > 1;
        let failed = call(provider, together).await;
        alone.lock().extend(failed.into_iter().filter(|_| several));
    }
    for ask in single {
        alone.lock().remove(&ask.instance);
        let failed = call(provider, vec![ask]).await;
        alone.lock().extend(failed);
    }
    // What was ended in another way asks no more.
    let mut known = alone.lock();
    if known.len() > limits::ENDS_ALONE {
        known.clear();
    }
}

/// Ends these in one call and answers; those that failed.
async fn call(provider: &dyn Provider, asks: Vec<Ask>) -> Vec<InstanceRef> {
    let targets: Vec<Target> =
        asks.iter().map(|ask| Target::Instance(ask.instance.clone())).collect();
    let done = provider.terminate(&targets).await.map_err(|error| error.message);
    let mut failed = Vec::new();
    for Ask { instance, answer } in asks {
        // Nobody may wait any more.
        let _ = answer.send(done.clone());
        failed.extend(done.is_err().then_some(instance));
    }
    failed
}

#[cfg(test)]
mod tests;
