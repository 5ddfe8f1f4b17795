//! An order as parameters of RunInstances.
//!
//! Invariant: the same order and the same facts of the account give the same parameters, because EC2 compares
//! them with those of the token's first use. Deliberately absent: calls.
use super::machines::names_tag;
use super::scratch::Scratch;
use super::types::TypeFacts;
use crate::provider::{ErrorClass, LaunchOrder, ProviderError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pcluster_ec2::Params;

/// No image has its root there.
const SCRATCH_DEVICE: &str = "/dev/sdf";

/// What an order needs to know of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub image: String,
    pub root_device: String,
    /// Of the image, in GiB.
    pub root_gib: u64,
    pub group: String,
    pub placement_group: Option<String>,
    /// Where the order asks for what depends on it.
    pub facts: Option<TypeFacts>,
}

/// EC2 answers the same token with the same machines.
pub(super) fn token(order: &LaunchOrder) -> String {
    format!("{}-{}", order.cluster, order.launch)
}

/// All tags of all machines and volumes of a launch.
pub(super) fn tags(order: &LaunchOrder) -> Vec<(String, String)> {
    let mut tags: Vec<(String, String)> =
        order.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let named = names_tag(&order.names);
    let first = order.names.first().map_or("", String::as_str);
    let shown = named.as_ref().map_or(first, |(_, names)| names);
    tags.push((
        "Name".into(),
        format!("{} {shown}", order.cluster_name).chars().take(256).collect(),
    ));
    tags.extend(named);
    tags.sort();
    tags
}

/// RunInstances.
pub(super) fn params(
    order: &LaunchOrder,
    place: &Place,
    user_data: &[u8],
) -> Result<Params, ProviderError> {
    let tags = tags(order);
    let pairs = || tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut params = Params::new()
        .with("ImageId", &place.image)
        .with("InstanceType", &order.shape.name)
        .with("MinCount", "1")
        .with("MaxCount", order.count.to_string())
        .with("ClientToken", token(order))
        .with("UserData", BASE64.encode(user_data))
        .with("InstanceInitiatedShutdownBehavior", "terminate")
        .with("MetadataOptions.HttpTokens", "required")
        .with("MetadataOptions.HttpEndpoint", "enabled")
        // One hop: the machine itself, and no container of a job.
        .with("MetadataOptions.HttpPutResponseHopLimit", "1")
        .tags("instance", pairs())
        .tags("volume", pairs());
    disks(&mut params, order, place);
    if order.spot {
        params.push("InstanceMarketOptions.MarketType", "spot");
        params.push("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time");
        params.push("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate");
    }
    if let Some(group) = &place.placement_group {
        params.push("Placement.GroupName", group);
    }
    if let Some(reservation) = &order.ec2.reservation {
        let key =
            "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
        params.push(key, reservation);
    }
    if let (Some(facts), false) = (&place.facts, order.ec2.smt)
        && facts.threads_per_core > 1
    {
        params.push("CpuOptions.CoreCount", facts.cores.to_string());
        params.push("CpuOptions.ThreadsPerCore", "1");
    }
    network(&mut params, order, place)?;
    Ok(params)
}

/// The root volume, as large as the image's; and one for scratch, where the type has no disks for it.
fn disks(params: &mut Params, order: &LaunchOrder, place: &Place) {
    let scratch = match Scratch::of(order, place.facts.as_ref()) {
        Scratch::Volume { gib } => gib,
        Scratch::Root | Scratch::Store => 0,
    };
    let volumes = [(place.root_device.as_str(), place.root_gib), (SCRATCH_DEVICE, scratch)];
    // Of a root whose size nobody knows, the image says all.
    for ((device, gib), number) in volumes.iter().filter(|(_, gib)| *gib > 0).zip(1..) {
        let at = |key: &str| format!("BlockDeviceMapping.{number}.{key}");
        params.push(at("DeviceName"), *device);
        params.push(at("Ebs.DeleteOnTermination"), "true");
        params.push(at("Ebs.VolumeType"), "gp3");
        params.push(at("Ebs.VolumeSize"), gib.to_string());
    }
}

/// One card, or as many for EFA as the type has.
fn network(params: &mut Params, order: &LaunchOrder, place: &Place) -> Result<(), ProviderError> {
    if !order.ec2.efa {
        params.push("SecurityGroupId.1", &place.group);
        if !order.subnet.is_empty() {
            params.push("SubnetId", &order.subnet);
        }
        return Ok(());
    }
    let cards = place.facts.as_ref().map_or(0, |facts| facts.efa_cards);
    if cards == 0 {
        let words = format!("{} has no EFA; take efa = true out of its pool", order.shape.name);
        return Err(ProviderError::new(ErrorClass::NeverFits, words));
    }
    for card in 0..cards {
        let at = |key: &str| format!("NetworkInterface.{}.{key}", card + 1);
        params.push(at("DeviceIndex"), if card == 0 { "0" } else { "1" });
        params.push(at("NetworkCardIndex"), card.to_string());
        params.push(at("InterfaceType"), "efa");
        params.push(at("SecurityGroupId.1"), &place.group);
        params.push(at("DeleteOnTermination"), "true");
        if !order.subnet.is_empty() {
            params.push(at("SubnetId"), &order.subnet);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::tests::order;
    use pcluster_model::config::Ec2Pool;

    fn place() -> Place {
        Place {
            image: "ami-1".into(),
            root_device: "/dev/xvda".into(),
            root_gib: 8,
            group: "sg-1".into(),
            placement_group: None,
            facts: Some(TypeFacts {
                arch: "x86_64".into(),
                cores: 64,
                threads_per_core: 2,
                efa_cards: 2,
                ..TypeFacts::default()
            }),
        }
    }

    #[test]
    fn what_every_machine_has() {
        let order = order(7, 3);
        let params = params(&order, &place(), b"data").unwrap();
        for (key, value) in [
            ("MinCount", "1"),
            ("MaxCount", "3"),
            ("ClientToken", "00ff-7"),
            ("UserData", "ZGF0YQ=="),
            ("InstanceInitiatedShutdownBehavior", "terminate"),
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "1"),
            ("SecurityGroupId.1", "sg-1"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.2.ResourceType", "volume"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
        ] {
            assert_eq!(params.get(key), Some(value), "{key}");
        }
        for absent in [
            "SubnetId",
            "InstanceMarketOptions.MarketType",
            "CpuOptions.CoreCount",
            "Placement.GroupName",
            "NetworkInterface.1.DeviceIndex",
            "BlockDeviceMapping.2.DeviceName",
        ] {
            assert_eq!(params.get(absent), None, "{absent}");
        }
        let tags = tags(&order);
        let has = |key: &str, value: &str| tags.contains(&(key.to_owned(), value.to_owned()));
        assert!(has("pcluster:launch", "7") && has("pcluster:names", "compute-0..2"), "{tags:?}");
        assert!(has("Name", "lab compute-0..2"), "{tags:?}");
    }

    #[test]
    fn what_a_pool_asks_for() {
        let mut order = order(7, 2);
        order.spot = true;
        order.subnet = "subnet-1".into();
        order.shape.total.tmp_bytes = 200 << 30;
        order.ec2 =
            Ec2Pool { together: true, efa: true, smt: false, reservation: Some("cr-1".into()) };
        let place = Place { placement_group: Some("pg".into()), ..place() };
        let params = params(&order, &place, b"").unwrap();
        for (key, value) in [
            ("InstanceMarketOptions.MarketType", "spot"),
            ("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "204"),
            ("BlockDeviceMapping.2.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "true"),
            ("Placement.GroupName", "pg"),
            ("CpuOptions.CoreCount", "64"),
            ("CpuOptions.ThreadsPerCore", "1"),
            ("NetworkInterface.1.InterfaceType", "efa"),
            ("NetworkInterface.1.SubnetId", "subnet-1"),
            ("NetworkInterface.2.NetworkCardIndex", "1"),
            ("NetworkInterface.2.DeviceIndex", "1"),
            (
                "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId",
                "cr-1",
            ),
        ] {
            assert_eq!(params.get(key), Some(value), "{key}");
        }
        assert_eq!((params.get("SubnetId"), params.get("SecurityGroupId.1")), (None, None));
        // A type with so much of its own needs none.
        let mut own = place.clone();
        own.facts.as_mut().unwrap().store_bytes = 300 << 30;
        let params = super::params(&order, &own, b"").unwrap();
        assert_eq!(params.get("BlockDeviceMapping.2.DeviceName"), None);
        assert_eq!(params.get("BlockDeviceMapping.1.Ebs.VolumeSize"), Some("8"));
        let none = Place {
            facts: Some(TypeFacts { efa_cards: 0, ..place.facts.clone().unwrap() }),
            ..place
        };
        let refused = super::params(&order, &none, b"").unwrap_err();
        assert_eq!(refused.class, ErrorClass::NeverFits);
    }
}
