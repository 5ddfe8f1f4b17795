//! EC2's instances as the head lists machines.
//!
//! Invariant: what is listed says only what EC2 said; an end without a time has none here (`Ends` gives it the
//! moment when it was first seen). Deliberately absent: calls.
use crate::provider::{Listed, Phase};
use pcluster_ec2::Element;
use pcluster_model::{InstanceRef, LaunchId, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

pub(super) const CLUSTER_TAG: &str = "pcluster:cluster";
pub(super) const LAUNCH_TAG: &str = "pcluster:launch";
pub(super) const NAME_TAG: &str = "pcluster:cluster-name";
/// What a machine, group or volume is that belongs to no node.
pub(super) const ROLE_TAG: &str = "pcluster:role";
pub(super) const HEAD: &str = "head";
const NAMES_TAG: &str = "pcluster:names";

/// All instances of a reply that has reservations, or of one that is a reservation.
pub(super) fn instances(reply: &Element) -> Vec<&Element> {
    let reservations = reply.items("reservationSet").flat_map(|one| one.items("instancesSet"));
    reservations.chain(reply.items("instancesSet")).collect()
}

/// A machine that is a node's, or nobody's; `None` for what is no instance, and for the head's own machine.
pub(super) fn listed(instance: &Element) -> Option<Listed> {
    let id = instance.text_at("instanceId").filter(|id| is_id(id))?;
    let tags: BTreeMap<String, String> =
        instance.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let tag = |name: &str| tags.get(name).map(String::as_str);
    if tag(ROLE_TAG) == Some(HEAD) {
        return None;
    }
    let index: Option<u32> = instance.text_at("amiLaunchIndex").and_then(|text| text.parse().ok());
    let phase = match instance.text_at("instanceState/name").unwrap_or_default() {
        "pending" => Phase::Pending,
        "running" => Phase::Running,
        "terminated" => Phase::Ended,
        _ => Phase::Stopping,
    };
    let code = instance.text_at("stateReason/code").unwrap_or_default();
    let ended_at = (phase == Phase::Ended).then(|| end_time(instance.text_at("reason")?)).flatten();
    let name = tag(NAMES_TAG).zip(index).and_then(|(names, index)| name_at(names, index));
    Some(Listed {
        instance: InstanceRef::from(id),
        // Tagged with the cluster and of no launch: no node is it, and the head ends it.
        launch: LaunchId(tag(LAUNCH_TAG).and_then(|text| text.parse().ok()).unwrap_or(0)),
        index,
        phase,
        launched_at: time(instance.text_at("launchTime").unwrap_or_default())?,
        ended_at,
        ended_estimated: false,
        notice_at: None,
        reclaimed: matches!(code, "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown"),
        name: name.unwrap_or_default(),
        tags,
        address: instance.text_at("privateIpAddress").and_then(|text| text.parse().ok()),
    })
}

/// `i-0123456789abcdef0`, and nothing that a message or a path would take otherwise.
pub(super) fn is_id(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|rest| {
        (8..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// `2026-11-29T23:00:00.000Z`.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

/// `User initiated (2026-11-29 23:00:00 GMT)`: the moment from which EC2 does not bill.
pub(super) fn end_time(reason: &str) -> Option<Timestamp> {
    let (_, rest) = reason.rsplit_once('(')?;
    let moment = rest.split_once(" GMT").or_else(|| rest.split_once(" UTC"))?.0;
    time(&format!("{}Z", moment.replacen(' ', "T", 1)))
}

/// Names of all machines of a launch in the letters that tags may have: `compute-7..9 gpu-2`.
pub(super) fn names_tag(names: &[String]) -> Option<(String, String)> {
    let mut parts: Vec<(String, u64, u64)> = Vec::new();
    for name in names {
        let (start, number) = name.rsplit_once('-')?;
        let right = !number.is_empty() && (number == "0" || !number.starts_with('0'));
        let number: u64 = number.parse().ok().filter(|_| right)?;
        match parts.last_mut() {
            Some((known, _, last)) if known == start && *last + 1 == number => *last = number,
            _ => parts.push((start.to_owned(), number, number)),
        }
    }
    let part = |(start, first, last): &(String, u64, u64)| match first == last {
        true => format!("{start}-{first}"),
        false => format!("{start}-{first}..{last}"),
    };
    let text = parts.iter().map(part).collect::<Vec<_>>().join(" ");
    // The longest value that a tag may have.
    (text.len() <= 256).then(|| (NAMES_TAG.to_owned(), text))
}

fn name_at(names: &str, index: u32) -> Option<String> {
    let mut left = u64::from(index);
    for part in names.split(' ') {
        let (start, numbers) = part.rsplit_once('-')?;
        let (first, last) = numbers.split_once("..").unwrap_or((numbers, numbers));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let count = last.checked_sub(first)?.checked_add(1)?;
        if left < count {
            return Some(format!("{start}-{}", first + left));
        }
        left -= count;
    }
    None
}

/// When ends were first seen that EC2 gives no time for.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<BTreeMap<InstanceRef, Timestamp>>);

impl Ends {
    /// Gives every end a time; forgets machines that are not listed any more.
    pub fn settle(&self, list: &mut [Listed], now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = BTreeMap::new();
        for one in list.iter_mut().filter(|one| one.phase == Phase::Ended && one.ended_at.is_none())
        {
            let seen = known.remove(&one.instance).unwrap_or(now);
            kept.insert(one.instance.clone(), seen);
            one.ended_at = Some(seen);
            one.ended_estimated = true;
        }
        *known = kept;
        for one in list {
            // Clocks of EC2's parts differ by a second: an end is never before its begin.
            one.ended_at = one.ended_at.map(|at| at.max(one.launched_at));
        }
    }
}

#[cfg(test)]
mod tests;
