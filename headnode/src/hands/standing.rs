//! What stands whether or not there is work, asked of each provider at the start and now and then.
//!
//! Invariant: a provider that does not answer changes nothing. Deliberately absent: what it comes to (the core).
use crate::clock::Clock;
use crate::inbox::InboxHandle;
use crate::limits;
use pcluster_core::standing::{Standing, StandingKind};
use pcluster_core::{Input, ProviderSaid};
use pcluster_model::DurationMs;
use pcluster_model::config::ProviderKind;
use pcluster_providers as providers;
use std::sync::Arc;

/// Asks one provider until the head ends. What an earlier head left is known to be gone after the second time.
pub(super) async fn keep_asking(
    provider: Arc<dyn providers::Provider>,
    clock: Clock,
    inbox: InboxHandle,
) {
    let kind = provider.kind();
    let mut pause = limits::STANDING_SECOND;
    loop {
        let asked_at = clock.now();
        match provider.standing().await {
            Ok(found) => {
                let found = found.into_iter().map(|one| told(one, &kind)).collect();
                let said = ProviderSaid::Standing { provider: kind.clone(), asked_at, found };
                if inbox.tell(Input::ProviderSaid(said)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let provider = kind.as_str();
                tracing::warn!(provider, %error, "what stands cannot be read; the bill goes on with what is known");
            }
        }
        tokio::time::sleep(pause).await;
        pause = limits::STANDING_EVERY;
    }
}

fn told(one: providers::Standing, provider: &ProviderKind) -> Standing {
    Standing {
        reference: one.reference,
        kind: match one.kind {
            providers::StandingKind::Head => StandingKind::Head,
            providers::StandingKind::Storage => StandingKind::Storage,
        },
        label: one.label,
        provider: provider.clone(),
        price: one.price,
        minimum_billing_ms: DurationMs(one.minimum_billing_ms),
        since: one.since,
        until: one.until,
        estimated: one.estimated,
    }
}
