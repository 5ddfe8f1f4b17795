//! Offerings that may be launched for a job: shapes × subnets × purchase modes, by price.
//!
//! Spot comes before on demand where the pool prefers it; then what a task costs, then the order of the
//! lists. Deliberately absent: whether an offering rests or what the pool may still have (`scale`).
use super::suits::{fits, spot_use};
use crate::Cluster;
use crate::event::OfferingKey;
use alloc::vec::Vec;
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::{JobSpec, PoolName, Price, Shape};

/// One way to get a machine.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub shape: &'a Shape,
    /// Empty: the provider's choice.
    pub subnet: &'a str,
    pub spot: bool,
    /// Per hour now; `None` when nobody knows it.
    pub price: Option<Price>,
}

impl Offer<'_> {
    pub(super) fn key(&self, pool: &PoolName) -> OfferingKey {
        OfferingKey {
            pool: pool.clone(),
            shape: self.shape.name.clone(),
            spot: self.spot,
            subnet: self.subnet.into(),
        }
    }

    /// The highest price that it may come to: a spot machine never costs more than one on demand.
    pub(super) fn most(&self) -> Option<Price> {
        self.price.max(self.shape.price)
    }
}

/// How machines for a job are bought; without a job, for the pool's minimum.
pub(super) fn use_of(pool: &Pool, spec: Option<&JobSpec>) -> SpotUse {
    spec.map_or(pool.spot, |spec| spot_use(pool, spec))
}

/// Ways to buy, the preferred first. A pool of spot machines only has none for a job that takes no spot.
const fn modes(pool: SpotUse, wanted: SpotUse) -> &'static [bool] {
    match (pool, wanted) {
        (SpotUse::Only, SpotUse::Never) => &[],
        (_, SpotUse::Never) => &[false],
        (_, SpotUse::Only) | (SpotUse::Only, _) => &[true],
        (_, SpotUse::Prefer) => &[true, false],
    }
}

/// Every offering of the pool that could hold a job, by what a task costs on it: `packed` says
/// how many tasks share a machine of a shape.
pub(super) fn offers<'a>(
    cluster: &Cluster,
    pool: &'a Pool,
    spec: Option<&JobSpec>,
    packed: impl Fn(&Shape) -> usize,
) -> Vec<Offer<'a>> {
    let everywhere = [""];
    let subnets = pool.subnets.iter().map(alloc::string::String::as_str);
    let subnets: Vec<&str> =
        if pool.subnets.is_empty() { everywhere.to_vec() } else { subnets.collect() };
    let mut found = Vec::new();
    let wanted = use_of(pool, spec);
    for (at, shape) in pool.shapes.iter().enumerate() {
        if spec.is_some_and(|spec| !fits(pool, shape, spec)) {
            continue;
        }
        let tasks = packed(shape).max(1) as u128;
        for (place, subnet) in subnets.iter().copied().enumerate() {
            for spot in modes(pool.spot, wanted).iter().copied() {
                let price =
                    if spot { cluster.spot_price(pool, shape, subnet) } else { shape.price };
                let offer = Offer { shape, subnet, spot, price };
                if is_for_nothing(wanted, &offer) {
                    continue;
                }
                let cost = price.map_or(u128::from(u64::MAX), |price| price.0.max(0) as u128);
                found.push(((!spot, cost * 1_000 / tasks, at, place), offer));
            }
        }
    }
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// A spot machine that costs more than the same one on demand, which would come too.
fn is_for_nothing(wanted: SpotUse, offer: &Offer<'_>) -> bool {
    offer.spot
        && wanted == SpotUse::Prefer
        && offer.price.zip(offer.shape.price).is_some_and(|(spot, demand)| spot > demand)
}

/// What makes an offering dearer than the pool allows: its price, and the most that is allowed.
pub(super) fn dear(pool: &Pool, offer: &Offer<'_>) -> Option<(Price, Price)> {
    offer.price.zip(pool.max_price).filter(|(price, most)| price > most)
}

impl Cluster {
    /// What a spot machine costs now: as the provider last told, else as the catalogue has it, else the
    /// price on demand, which it does not pass.
    #[must_use]
    pub fn spot_price(&self, pool: &Pool, shape: &Shape, subnet: &str) -> Option<Price> {
        let told = self.volatile.spot_prices.get(pool.provider.as_str());
        let told = told.and_then(|told| told.get(&(shape.name.clone(), subnet.into())));
        told.copied().or(shape.spot_price).or(shape.price)
    }
}
