use super::super::found;
use super::super::wish::HeadWish;
use super::super::wish::tests::wish;
use super::*;
use crate::ec2::Ec2Head;
use pcluster_model::{InstanceRef, Timestamp};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn image() -> ImageFacts {
    ImageFacts {
        id: "ami-1".into(),
        arch: "x86_64".into(),
        root_device: "/dev/xvda".into(),
        root_gib: 8,
        created: String::new(),
    }
}

fn subnet(id: &str, vpc: &str, zone: &str) -> Subnet {
    Subnet { id: id.into(), facts: SubnetFacts { vpc: vpc.into(), zone: zone.into() } }
}

fn volume(zone: &str) -> HeadVolume {
    HeadVolume {
        id: "vol-1".into(),
        gib: 100,
        zone: zone.into(),
        state: "available".into(),
        instance: None,
        attachment: String::new(),
        created_at: Timestamp(0),
    }
}

#[test]
fn what_the_machine_is_asked_for_with() {
    let head = Ec2Head::new(wish());
    let groups = InGroups { nodes: "sg-1".into(), door: "sg-2".into() };
    let of =
        |generation| head.params(&subnet("subnet-1", "vpc-1", "a"), &groups, &image(), generation);
    let params = of(1);
    for (key, value) in [
        ("ClientToken", "00ff-head-sg-2-1"),
        ("IamInstanceProfile.Name", "pcluster-head"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("SecurityGroupId.1", "sg-1"),
        ("SecurityGroupId.2", "sg-2"),
        ("SubnetId", "subnet-1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Value", "00ff"),
        ("TagSpecification.1.Tag.4.Key", "pcluster:role"),
        ("TagSpecification.2.ResourceType", "volume"),
    ] {
        assert_eq!(params.get(key), Some(value), "{key}");
    }
    assert_eq!(
        params.get("TagSpecification.2.Tag.4.Key"),
        None,
        "its root is not the head's volume"
    );
    assert_eq!(of(2).get("ClientToken"), Some("00ff-head-sg-2-2"));
}

#[test]
fn the_machine_is_where_its_volume_is() {
    let all =
        || vec![subnet("s-1", "v-1", "a"), subnet("s-2", "v-1", "b"), subnet("s-3", "v-2", "c")];
    let ids = |volume: Option<&HeadVolume>| {
        let found = fitting(all(), volume, false);
        found.map(|all| all.into_iter().map(|one| one.id).collect::<Vec<_>>())
    };
    assert_eq!(ids(None).unwrap(), ["s-1", "s-2"], "groups are of one VPC");
    assert_eq!(ids(Some(&volume("c"))).unwrap(), ["s-3"]);
    let none = ids(Some(&volume("d"))).unwrap_err();
    assert!(none.message.contains("vol-1") && none.message.contains("lies in d"), "{none}");
    assert!(fitting(Vec::new(), None, true).unwrap_err().message.contains("no default subnet"));
}

#[test]
fn the_key_is_read_when_it_is_whole() {
    let line = format!("[   12.5] cloud-init[601]: pcluster host key: {KEY}\r\n");
    assert_eq!(key_of(&line), Some(KEY.to_owned()));
    let cut = &KEY[..KEY.len() - 8];
    let mixed =
        format!("pcluster host key: {cut}\npcluster host key: ssh-ed25519 AAAA[ 13.1] usb\n");
    assert_eq!(key_of(&mixed), None);
    let other = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=";
    let said = format!("pcluster host key: {other}\n");
    assert_eq!(key_of(&said), None, "the better one may come");
    assert_eq!(key_of(&format!("{said}{READY_LINE}\n")), Some(other.to_owned()));
    assert_eq!(key_of(&format!("{said}{line}{READY_LINE}")), Some(KEY.to_owned()));
    let failed = format!("[ 1.0] {FAILURE_LINE}the image has no sudo\n");
    assert_eq!(after(&failed, FAILURE_LINE), Some("the image has no sudo"));
    assert!(
        SCRIPT.contains(KEY_LINE) && SCRIPT.contains(FAILURE_LINE) && SCRIPT.contains(READY_LINE)
    );
}

#[test]
fn user_data_name_the_account_and_hold_no_word_of_a_shell() {
    let data = Ec2Head::new(wish()).user_data();
    assert!(data.contains("account='ana'\nkey='ssh-ed25519 AAAAC3Nz anas laptop'\n"), "{data}");
    assert!(data.contains("of cluster lab\""), "{data}");
    assert!(!data.contains("@ACCOUNT@") && !data.contains("@KEY@") && !data.contains("@NAME@"));
}

#[test]
fn one_machine_and_one_volume_are_chosen_and_more_are_named() {
    let machine = |id: &str, state: &str, at: i64| HeadInstance {
        instance: InstanceRef::from(id),
        state: state.into(),
        machine_type: "t3.small".into(),
        zone: "a".into(),
        address: "10.0.0.1".into(),
        launched_at: Timestamp(at),
        subnet: "s-1".into(),
        reason: String::new(),
    };
    let attached = HeadVolume { instance: Some(InstanceRef::from("i-2")), ..volume("a") };
    let other = HeadVolume { id: "vol-0".into(), ..volume("a") };
    let heads = vec![
        machine("i-0", "terminated", 0),
        machine("i-1", "running", 1),
        machine("i-2", "running", 2),
        machine("i-3", "shutting-down", 3),
    ];
    let there = found::there(heads, vec![other, attached], Vec::new(), Vec::new());
    assert_eq!(there.instance.as_ref().unwrap().instance.as_str(), "i-2");
    assert_eq!(there.volume.as_ref().unwrap().id, "vol-1");
    assert_eq!(
        there.heads.iter().map(InstanceRef::as_str).collect::<Vec<_>>(),
        ["i-1", "i-2", "i-3"]
    );
    let said = there.oddities(&HeadWish { volume_bytes: 200 << 30, ..wish() });
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[2].contains("t3.small, and t3.large") && said[3].contains("100 GB, and 200"),
        "{said:?}"
    );
}
