//! What spot machines cost, read again and again from the providers of pools that use them, or have
//! jobs that ask for them.
//!
//! Invariant: a provider that does not answer changes nothing; the last prices stay. Deliberately absent:
//! choosing by price (the core).
use crate::inbox::InboxHandle;
use crate::limits;
use crate::mirror::Mirror;
use pcluster_core::input::SpotPrice;
use pcluster_core::{Input, ProviderSaid};
use pcluster_model::JobSpec;
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::job::SpotAsk;
use pcluster_providers::{Offering, Provider};
use std::sync::Arc;

/// Reads the prices of one provider until the head ends.
pub(super) async fn keep_reading(provider: Arc<dyn Provider>, mirror: Mirror, inbox: InboxHandle) {
    let kind = provider.kind();
    let is_wanted = || {
        let cluster = mirror.read();
        let asked = |pool: &Pool| {
            let wants = |spec: &JobSpec| matches!(spec.spot, SpotAsk::Yes | SpotAsk::Only);
            cluster.queued_jobs().any(|job| job.pool == pool.name && wants(&job.spec))
        };
        let uses =
            |pool: &&Pool| pool.provider == kind && (pool.spot != SpotUse::Never || asked(pool));
        Some(cluster.config()?.pools.iter().find(uses).is_some())
    };
    loop {
        let wanted = is_wanted();
        if wanted == Some(true) {
            match provider.offerings().await {
                Ok(offerings) => {
                    let prices = offerings.into_iter().filter_map(spot_price).collect();
                    let said = ProviderSaid::SpotPrices { provider: kind.clone(), prices };
                    if inbox.tell(Input::ProviderSaid(said)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let provider = kind.as_str();
                    tracing::warn!(provider, %error, "spot prices cannot be read; the last ones stay");
                }
            }
        }
        // A head that has only begun has no configuration yet.
        let pause = if wanted.is_some() { limits::SPOT_PRICES_EVERY } else { limits::LIST_PAUSE };
        tokio::time::sleep(pause).await;
    }
}

fn spot_price(offering: Offering) -> Option<SpotPrice> {
    let Offering { shape, subnet, spot, price, .. } = offering;
    let price = price.filter(|_| spot)?;
    Some(SpotPrice { shape: shape.name, subnet, price })
}
