//! The head's own instance and its volumes, which stand whether or not there is work.
//!
//! Invariant: only what has the cluster's tag and the role of a head; times are EC2's. A volume that is being
//! deleted is not told any more. Deliberately absent: nodes, their volumes, and making or ending anything.
use super::StandingPrices;
use super::machines::{end_time, instances, is_id, time};
use crate::provider::{Standing, StandingKind};
use pcluster_ec2::Element;
use pcluster_model::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// EC2 bills at least a minute of what it makes, in milliseconds.
const MINIMUM_MS: u64 = 60_000;
const GIB: u64 = 1 << 30;

/// The head's machines of a reply, ended ones for as long as EC2 lists them.
pub(super) fn heads(reply: &Element, prices: &StandingPrices) -> Vec<Standing> {
    instances(reply).into_iter().filter_map(|one| head(one, prices)).collect()
}

fn head(instance: &Element, prices: &StandingPrices) -> Option<Standing> {
    let reference = instance.text_at("instanceId").filter(|id| is_id(id))?;
    let label = instance.text_at("instanceType").unwrap_or_default();
    let over = matches!(instance.text_at("instanceState/name"), Some("stopped" | "terminated"));
    let spot = instance.text_at("instanceLifecycle") == Some("spot");
    let reason = instance.text_at("reason").filter(|_| over);
    let until = reason.and_then(end_time);
    Some(Standing {
        reference: reference.to_owned(),
        kind: StandingKind::Head,
        label: label.to_owned(),
        price: prices.types.get(label).copied().filter(|_| !spot),
        minimum_billing_ms: MINIMUM_MS,
        since: time(instance.text_at("launchTime")?)?,
        until,
        estimated: over && until.is_none(),
    })
}

/// The head's volumes of a reply.
pub(super) fn volumes(reply: &Element, prices: &StandingPrices) -> Vec<Standing> {
    reply.items("volumeSet").filter_map(|one| volume(one, prices)).collect()
}

fn volume(volume: &Element, prices: &StandingPrices) -> Option<Standing> {
    let reference = volume.text_at("volumeId")?;
    if !reference.starts_with("vol-") || is_going(volume.text_at("status")) {
        return None;
    }
    let bytes = volume.text_at("size")?.parse::<u64>().ok()?.saturating_mul(GIB);
    let kind = volume.text_at("volumeType").unwrap_or_default();
    Some(Standing {
        reference: reference.to_owned(),
        kind: StandingKind::Storage,
        label: format!("{} {kind}", pcluster_model::units::format_size(bytes)),
        price: prices.gp3.filter(|_| kind == "gp3").map(|price| price(bytes)),
        minimum_billing_ms: MINIMUM_MS,
        since: time(volume.text_at("createTime")?)?,
        until: None,
        estimated: false,
    })
}

fn is_going(status: Option<&str>) -> bool {
    matches!(status, Some("deleting" | "deleted"))
}

/// When ends were first seen that EC2 gives no time for.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<BTreeMap<String, Timestamp>>);

impl Ends {
    /// Gives every end a time.
    pub fn settle(&self, found: &mut [Standing], now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|reference, _| found.iter().any(|one| one.reference == *reference));
        for one in found.iter_mut().filter(|one| one.estimated) {
            let seen = known.entry(one.reference.clone()).or_insert(now);
            one.until = Some((*seen).max(one.since));
        }
    }
}

#[cfg(test)]
mod tests;
