//! What jobs ask of nodes by name of a feature, looked at when a job is taken or changed.
//!
//! Invariant: a job that is taken can be held by a shape of its pool. Deliberately absent: which
//! node it gets (`plan`).
use super::control::refuse;
use crate::Cluster;
use crate::plan::{cheapest_shape, has_spot};
use crate::reply::Rejection;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use pcluster_model::JobSpec;
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::job::SpotAsk;

impl Cluster {
    /// Nodes that must all be by the same of several choices: which one is settled now, by the least
    /// price, so that no plan ever waits for nodes of two kinds.
    pub(super) fn settle_choice(&self, spec: &mut JobSpec) {
        if !spec.same_choice || spec.nodes < 2 {
            return;
        }
        let Ok(pool) = self.choose_pool(spec) else { return };
        let by = |choice: &Vec<_>| JobSpec {
            features: spec.features.iter().chain(choice).cloned().collect(),
            feature_choices: Vec::new(),
            same_choice: false,
            ..spec.clone()
        };
        let priced = spec.feature_choices.iter().map(by).filter_map(|one| {
            let price = cheapest_shape(pool, &one)?.price.map_or(i64::MAX, |price| price.0);
            Some((price, one))
        });
        if let Some((_, one)) = priced.min_by_key(|(price, _)| *price) {
            *spec = one;
        }
    }
}

/// The pool has machines that are bought as the job allows.
pub(super) fn check_spot(pool: &Pool, spec: &JobSpec) -> Result<(), Rejection> {
    let (name, provider) = (&pool.name, pool.provider.as_str());
    match spec.spot {
        SpotAsk::No if pool.spot == SpotUse::Only => {
            Err(refuse(format!("pool {name} has spot machines only, and --spot=no takes none"))
                .word("spot_only")
                .hint("another --pool, or --spot=yes"))
        }
        SpotAsk::Only if !has_spot(pool) => {
            Err(refuse(format!("pool {name} has no spot machines: provider {provider} sells none"))
                .word("no_spot")
                .hint("another --pool, or --spot=yes, which takes what there is"))
        }
        SpotAsk::AsPool | SpotAsk::Yes | SpotAsk::No | SpotAsk::Only => Ok(()),
    }
}

/// Every name is one of the pool, and some shape has what is asked for together.
pub(super) fn check(pool: &Pool, spec: &JobSpec) -> Result<(), Rejection> {
    let has =
        |name: &str| pool.shapes.iter().any(|shape| pool.features_of(shape).any(|f| f == name));
    let asked = || spec.features.iter().chain(spec.feature_choices.iter().flatten());
    let missing = asked().find(|name| !has(name));
    let together = pool.shapes.iter().any(|shape| spec.wants_of(pool.features_of(shape)));
    let words = match missing {
        Some(name) => format!("no node of pool {} has the feature {name}", pool.name),
        None if together => return Ok(()),
        None => format!("no node of pool {} has these features together", pool.name),
    };
    let mut known: Vec<&str> =
        pool.shapes.iter().flat_map(|shape| pool.features_of(shape)).collect();
    known.sort_unstable();
    known.dedup();
    let refusal = refuse(words).word("no_feature");
    let refusal = match missing {
        Some(_) => refusal,
        None => {
            refusal.fact("asked", asked().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    Err(refusal.fact("features", known.join(", ")))
}
