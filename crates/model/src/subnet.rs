//! A network of IPv4: the part of an address that machines on one bridge share.
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// `10.87.0.0/24`. Written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    base: Ipv4Addr,
    /// Bits of the network.
    length: u8,
}

/// Bits that a network for nodes may have: from 14 nodes to 65,000.
const LENGTHS: core::ops::RangeInclusive<u8> = 16..=28;

impl Subnet {
    /// Bits of the network.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + offset)
    }

    /// The first address: the head's.
    #[must_use]
    pub fn head(self) -> Ipv4Addr {
        self.at(1)
    }

    /// The lowest address that is neither the head's nor taken.
    #[must_use]
    pub fn free(self, taken: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let hosts = (1_u32 << (32 - u32::from(self.length))) - 1;
        (2..hosts).map(|offset| self.at(offset)).find(|address| !taken.contains(address))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        format!("{subnet}")
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network such as 10.87.0.0/24");
        let (base, length) = text.split_once('/').ok_or_else(wrong)?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        if !LENGTHS.contains(&length) {
            return Err(format!("{text:?}: a network for nodes has 16 to 28 bits"));
        }
        let mask = u32::MAX << (32 - u32::from(length));
        if u32::from(base) & !mask != 0 {
            let right = Self { base: Ipv4Addr::from(u32::from(base) & mask), length };
            return Err(format!("{text:?} is an address in {right}"));
        }
        Ok(Self { base, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec::Vec;

    #[test]
    fn a_subnet_gives_the_lowest_free_address_and_never_the_heads() {
        let subnet: Subnet = "10.87.0.0/28".parse().unwrap();
        assert_eq!(subnet.head().to_string(), "10.87.0.1");
        let mut taken = Vec::new();
        while let Some(address) = subnet.free(&taken) {
            taken.push(address);
        }
        assert_eq!((taken.len(), taken[0].to_string()), (13, "10.87.0.2".to_string()));
        assert_eq!(taken[12].to_string(), "10.87.0.14");
    }

    #[test]
    fn wrong_networks_are_named() {
        let wrong = |text: &str| text.parse::<Subnet>().unwrap_err();
        assert!(wrong("10.87.0.0").contains("such as 10.87.0.0/24"));
        assert!(wrong("10.87.0.7/24").contains("is an address in 10.87.0.0/24"));
        assert!(wrong("10.0.0.0/8").contains("16 to 28"));
    }
}
