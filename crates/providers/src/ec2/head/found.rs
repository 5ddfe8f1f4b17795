//! What an account holds of a head, read from EC2's replies.
//!
//! Deliberately absent: calls.
use super::wish::HeadWish;
use crate::ec2::machines::{CLUSTER_TAG, HEAD, ROLE_TAG, is_id, time};
use crate::provider::Listed;
use pcluster_ec2::Element;
use pcluster_model::{ClusterId, InstanceRef, Timestamp};
use std::collections::BTreeMap;

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadThere {
    /// The head's machine, if there is one that has not ended.
    pub instance: Option<HeadInstance>,
    /// The volume of its state.
    pub volume: Option<HeadVolume>,
    /// Machines of the cluster's nodes that have not ended.
    pub machines: Vec<Listed>,
    /// Other clusters of this name whose head has a machine or a volume in this account and region.
    pub namesakes: Vec<Namesake>,
    /// All machines of the head that have not ended, also those that are about to.
    pub(super) heads: Vec<InstanceRef>,
    /// More of the head than there should be.
    pub(super) doubled: Vec<String>,
}

/// The head's machine as EC2 lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadInstance {
    pub instance: InstanceRef,
    /// EC2's word: `pending`, `running`, `stopping`, `stopped`.
    pub state: String,
    pub machine_type: String,
    pub zone: String,
    /// Public if it has one, else private; empty while it has none.
    pub address: String,
    pub launched_at: Timestamp,
    pub(super) subnet: String,
    /// Why it ended, in EC2's words.
    pub(super) reason: String,
}

/// The volume of the head's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadVolume {
    pub id: String,
    pub gib: u64,
    pub zone: String,
    /// EC2's word: `creating`, `available`, `in-use`.
    pub state: String,
    /// The instance that it is attached to.
    pub instance: Option<InstanceRef>,
    /// EC2's word for that: `attaching`, `attached`, `detaching`.
    pub attachment: String,
    pub(super) created_at: Timestamp,
}

/// Another cluster of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesake {
    pub cluster: ClusterId,
    /// Ids of its head's machines and volumes.
    pub things: Vec<String>,
}

impl HeadInstance {
    pub(super) fn has_ended(&self) -> bool {
        ["shutting-down", "terminated"].contains(&self.state.as_str())
    }
}

impl HeadThere {
    /// What is there and is not as it was wished.
    pub(super) fn oddities(&self, wish: &HeadWish) -> Vec<String> {
        let mut said = self.doubled.clone();
        if let Some(one) =
            self.instance.as_ref().filter(|one| one.machine_type != wish.machine_type)
        {
            said.push(format!(
                "{} is a {}, and {} is asked for: `pcluster down` and `pcluster up` change it",
                one.instance, one.machine_type, wish.machine_type
            ));
        }
        if let Some(one) = self.volume.as_ref().filter(|one| one.gib < wish.gib()) {
            said.push(format!(
                "volume {} has {} GB, and {} are asked for: it stays as it is (aws ec2 modify-volume makes it larger)",
                one.id,
                one.gib,
                wish.gib()
            ));
        }
        said
    }
}

fn text(item: &Element, path: &str) -> String {
    item.text_at(path).unwrap_or_default().to_owned()
}

fn is_the_heads(item: &Element) -> bool {
    item.tags().any(|tag| tag == (ROLE_TAG, HEAD))
}

/// The head's machine, ended or not; `None` for every other one.
pub(super) fn instance(item: &Element) -> Option<HeadInstance> {
    let id = item.text_at("instanceId").filter(|id| is_id(id) && is_the_heads(item))?;
    let public = text(item, "ipAddress");
    Some(HeadInstance {
        instance: InstanceRef::from(id),
        state: text(item, "instanceState/name"),
        machine_type: text(item, "instanceType"),
        zone: text(item, "placement/availabilityZone"),
        address: if public.is_empty() { text(item, "privateIpAddress") } else { public },
        launched_at: time(item.text_at("launchTime").unwrap_or_default())?,
        subnet: text(item, "subnetId"),
        reason: text(item, "stateReason/message"),
    })
}

/// A volume that is of use; `None` for one that goes or is broken.
pub(super) fn volume(item: &Element) -> Option<HeadVolume> {
    let state = text(item, "status");
    if !["creating", "available", "in-use"].contains(&state.as_str()) {
        return None;
    }
    let attached = item.items("attachmentSet").next();
    Some(HeadVolume {
        id: item.text_at("volumeId")?.to_owned(),
        gib: item.text_at("size")?.parse().ok()?,
        zone: text(item, "availabilityZone"),
        state,
        instance: attached.and_then(|one| one.text_at("instanceId")).map(InstanceRef::from),
        attachment: attached.map(|one| text(one, "status")).unwrap_or_default(),
        created_at: time(item.text_at("createTime").unwrap_or_default()).unwrap_or(Timestamp(0)),
    })
}

/// One machine and one volume of what is listed: those that belong together, else the oldest.
pub(super) fn there(
    mut heads: Vec<HeadInstance>,
    mut volumes: Vec<HeadVolume>,
    machines: Vec<Listed>,
    namesakes: Vec<Namesake>,
) -> HeadThere {
    heads.retain(|one| one.state != "terminated");
    let all = heads.iter().map(|one| one.instance.clone()).collect();
    heads.retain(|one| !one.has_ended());
    let lives = |volume: &HeadVolume| {
        volume.instance.as_ref().is_some_and(|id| heads.iter().any(|one| one.instance == *id))
    };
    volumes.sort_by_key(|one| (!lives(one), one.created_at, one.id.clone()));
    let mut volumes = volumes.into_iter();
    let volume = volumes.next();
    let own = volume.as_ref().and_then(|one| one.instance.clone());
    heads.sort_by_key(|one| {
        (Some(&one.instance) != own.as_ref(), one.launched_at, one.instance.clone())
    });
    let mut heads = heads.into_iter();
    let instance = heads.next();
    let mut doubled: Vec<String> = Vec::new();
    doubled.extend(heads.map(|one| {
        format!("{} is a second machine of this head: it is left alone, and billed", one.instance)
    }));
    doubled.extend(volumes.map(|one| {
        format!("{} is a second volume of this head: it is left alone, and billed", one.id)
    }));
    HeadThere { instance, volume, machines, namesakes, heads: all, doubled }
}

/// Clusters other than `own` among machines and volumes of heads.
pub(super) fn namesakes<'a>(
    things: impl Iterator<Item = &'a Element>,
    own: &ClusterId,
) -> Vec<Namesake> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in things {
        let tag = item.tags().find(|(key, _)| *key == CLUSTER_TAG);
        let Some((_, cluster)) = tag.filter(|(_, id)| *id != own.to_string()) else { continue };
        let (machine, volume) = (instance(item), volume(item));
        let id = match (machine, volume) {
            (Some(machine), _) if !machine.has_ended() => machine.instance.to_string(),
            (None, Some(volume)) => volume.id,
            _ => continue,
        };
        found.entry(cluster.to_owned()).or_default().push(id);
    }
    let named = |(id, things): (String, Vec<String>)| Namesake {
        cluster: ClusterId::from(id.as_str()),
        things,
    };
    found.into_iter().map(named).collect()
}
