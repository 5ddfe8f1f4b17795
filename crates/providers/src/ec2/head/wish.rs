//! What a head's machine is to be.
use crate::provider::{ErrorClass, LaunchImage, ProviderError};
use pcluster_model::ClusterId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const GIB: u64 = 1 << 30;
/// Of a gp3 volume, in GiB.
const LARGEST: u64 = 16_384;

/// What a head's machine is to be.
#[derive(Debug, Clone)]
pub struct HeadWish {
    pub region: String,
    /// Instead of the environment of this process.
    pub environment: Option<BTreeMap<String, String>>,
    pub cluster: ClusterId,
    pub cluster_name: String,
    /// `t3.large`.
    pub machine_type: String,
    /// Of the programs that it will be given: `x86_64`, `aarch64`.
    pub arch: String,
    /// Where it may be, in this order; none: the default ones of the default VPC.
    pub subnets: Vec<String>,
    pub image: LaunchImage,
    /// The head's rights: name of an instance profile.
    pub instance_profile: String,
    /// Networks that may reach its SSH server: `192.0.2.0/24`, `2001:db8::/32`, or one address.
    pub allow: Vec<String>,
    /// Of the state; whole GiB are made of it. A volume that is there keeps its size.
    pub volume_bytes: u64,
    /// Who logs in and may do everything by `sudo`.
    pub account: String,
    /// One line of OpenSSH: `ssh-ed25519 AAAA… comment`.
    pub public_key: String,
}

impl HeadWish {
    /// Size of a new volume.
    pub(super) fn gib(&self) -> u64 {
        self.volume_bytes.div_ceil(GIB).clamp(1, LARGEST)
    }

    /// The networks as EC2 writes them.
    ///
    /// # Errors
    /// `BadConfig`: what would not do what it says.
    pub(super) fn check(&self) -> Result<BTreeSet<String>, ProviderError> {
        let bad = |words: String| ProviderError::new(ErrorClass::BadConfig, words);
        let account = self.account.as_str();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let starts = account.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !starts || account.len() > 32 || !account.chars().all(plain) || account == "root" {
            return Err(bad(format!("{account:?} is no name of an account on the head's machine")));
        }
        let key: Vec<&str> = self.public_key.split_whitespace().collect();
        let kinds = ["ssh-", "ecdsa-", "sk-"];
        let right = key.first().is_some_and(|kind| kinds.iter().any(|one| kind.starts_with(one)));
        let word =
            |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+/=-@._".contains(c));
        if !right || key.len() < 2 || !key[..2].iter().all(word) {
            return Err(bad(
                "the public key is none of OpenSSH: ssh-ed25519 AAAA… is wanted".into()
            ));
        }
        if self.volume_bytes.div_ceil(GIB) > LARGEST {
            return Err(bad(format!("a volume has at most {LARGEST} GiB")));
        }
        self.allow.iter().map(|text| network(text).map_err(bad)).collect()
    }
}

/// `10.1.2.3/8` is `10.0.0.0/8`; an address alone is a network of one.
fn network(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no network: 192.0.2.0/24 or 192.0.2.7 is wanted");
    let (base, length) = match text.split_once('/') {
        Some((base, length)) => (base, Some(length.parse::<u32>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    match base.parse::<IpAddr>().map_err(|_| wrong())? {
        IpAddr::V4(address) => {
            let length = length.unwrap_or(32);
            let rest = 32_u32.checked_sub(length).ok_or_else(wrong)?;
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Ok(format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(address) & mask)))
        }
        IpAddr::V6(address) => {
            let length = length.unwrap_or(128);
            let rest = 128_u32.checked_sub(length).ok_or_else(wrong)?;
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Ok(format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask)))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ec2::head) fn wish() -> HeadWish {
        HeadWish {
            region: "us-east-1".into(),
            environment: Some(BTreeMap::new()),
            cluster: ClusterId::from("00ff"),
            cluster_name: "lab".into(),
            machine_type: "t3.large".into(),
            arch: "x86_64".into(),
            subnets: Vec::new(),
            image: LaunchImage { name: "debian-12".into(), reference: String::new() },
            instance_profile: "pcluster-head".into(),
            allow: vec!["192.0.2.7".into(), "10.1.2.3/8".into(), "2001:db8:1::/32".into()],
            volume_bytes: 100 << 30,
            account: "ana".into(),
            public_key: "ssh-ed25519 AAAAC3Nz ana's laptop".into(),
        }
    }

    #[test]
    fn a_wish_is_taken_or_refused_before_anything_is_made() {
        let networks = wish().check().unwrap();
        assert_eq!(
            networks.into_iter().collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
        );
        let refused = |change: fn(&mut HeadWish)| {
            let mut wish = wish();
            change(&mut wish);
            wish.check().unwrap_err().message
        };
        assert!(refused(|wish| wish.account = "a'; rm -rf /".into()).contains("account"));
        assert!(refused(|wish| wish.account = "root".into()).contains("account"));
        assert!(refused(|wish| wish.public_key = "ssh-ed25519 AA'AA".into()).contains("OpenSSH"));
        assert!(
            refused(|wish| wish.public_key = "/home/ana/.ssh/id.pub".into()).contains("OpenSSH")
        );
        assert!(refused(|wish| wish.volume_bytes = 20_000 << 30).contains("16384"));
        for text in ["0.0.0.0/33", "here", "1.2.3/24", "::/129", "1.2.3.4/x"] {
            let wish = HeadWish { allow: vec![text.into()], ..wish() };
            assert!(wish.check().unwrap_err().message.contains("is no network"), "{text}");
        }
        assert_eq!(
            (network("0.0.0.0/0").unwrap(), network("::/0").unwrap()),
            ("0.0.0.0/0".into(), "::/0".into())
        );
        let wish = HeadWish { volume_bytes: (1 << 30) + 1, ..wish() };
        assert_eq!(wish.gib(), 2);
    }
}
