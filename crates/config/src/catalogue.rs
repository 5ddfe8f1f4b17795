//! The bundled catalogue: types, sizes and list prices of one region for each provider.
//!
//! Invariant: facts only, with their source in `catalogue/SOURCES.md`; a file's own `price` and
//! `[shapes.NAME]` always win. Deliberately absent: prices of the day.
use pcluster_model::config::{Config, ProviderKind};
use pcluster_model::{Price, STORAGE_GB_MONTH, units};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The region of the EC2 part, and the default of `ec2.region`.
pub const EC2_REGION: &str = "us-east-1";
/// The region of the Google part, which no provider of this version reads.
pub const GCP_REGION: &str = "us-central1";

/// A month for prices that are given by the month.
const HOURS_PER_MONTH: u64 = 730;

const GIB: u64 = 1 << 30;

/// One machine type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub name: String,
    /// Hardware threads.
    pub cpus: u32,
    pub threads_per_core: u32,
    pub memory_bytes: u64,
    pub arch: String,
    pub gpus: u32,
    pub gpu_type: String,
    pub price: Option<Price>,
    pub spot_price: Option<Price>,
}

/// `0.0832` dollars, exactly.
fn price(text: &str) -> Option<Price> {
    units::parse_price(&format!("${text}/h")).ok()
}

fn read(text: &str) -> Vec<Offer> {
    let row = |line: &str| -> Option<Offer> {
        let mut fields = line.split(',');
        let mut next = || fields.next();
        Some(Offer {
            name: next()?.to_string(),
            cpus: next()?.parse().ok()?,
            threads_per_core: next()?.parse().ok()?,
            memory_bytes: next()?.parse::<u64>().ok()?.checked_mul(GIB)?,
            arch: next()?.to_string(),
            gpus: next()?.parse().ok()?,
            gpu_type: next()?.to_string(),
            price: price(next()?),
            spot_price: price(next()?),
        })
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// The types of EC2.
#[must_use]
pub fn ec2() -> &'static [Offer] {
    static EC2: LazyLock<Vec<Offer>> =
        LazyLock::new(|| read(include_str!("../catalogue/aws-us-east-1.csv")));
    &EC2
}

/// The types of Google's Compute Engine.
#[must_use]
pub fn gcp() -> &'static [Offer] {
    static GCP: LazyLock<Vec<Offer>> =
        LazyLock::new(|| read(include_str!("../catalogue/gcp-us-central1.csv")));
    &GCP
}

/// The EC2 type of that name.
#[must_use]
pub fn ec2_type(name: &str) -> Option<&'static Offer> {
    ec2().iter().find(|offer| offer.name == name)
}

/// The price per hour of that much block storage, rounded up to the next micro-dollar.
#[must_use]
pub fn storage_price(bytes: u64) -> Price {
    let month = u128::from(bytes) * u128::from(STORAGE_GB_MONTH.0.unsigned_abs());
    let hour = month.div_ceil(u128::from(GIB) * u128::from(HOURS_PER_MONTH));
    Price(i64::try_from(hour).unwrap_or(i64::MAX))
}

/// What a type costs an hour on demand, as far as the file or the catalogue of its region says.
#[must_use]
pub fn type_prices(config: &Config) -> BTreeMap<String, Price> {
    let listed = ec2().iter().filter(|_| config.ec2.region == EC2_REGION);
    let listed = listed.map(|offer| (&offer.name, offer.price));
    let shapes = config.pools.iter().filter(|pool| pool.provider == ProviderKind::Ec2);
    let shapes = shapes.flat_map(|pool| &pool.shapes).map(|shape| (&shape.name, shape.price));
    let fixed = config.fixed_costs.iter().map(|cost| (&cost.label, cost.price));
    let all = listed.chain(shapes).chain(fixed);
    all.filter_map(|(name, price)| Some((name.clone(), price?))).collect()
}

/// How block storage of a region is priced; `None` where nobody knows it.
#[must_use]
pub fn storage_price_in(region: &str) -> Option<fn(u64) -> Price> {
    (region == EC2_REGION).then_some(storage_price as fn(u64) -> Price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let lines = |text: &str| text.lines().count() - 1;
        assert_eq!(ec2().len(), lines(include_str!("../catalogue/aws-us-east-1.csv")));
        assert_eq!(gcp().len(), lines(include_str!("../catalogue/gcp-us-central1.csv")));
        for offer in ec2().iter().chain(gcp()) {
            assert!(offer.price.is_some_and(|price| price.0 > 0), "{}", offer.name);
            assert!(["x86_64", "aarch64"].contains(&offer.arch.as_str()), "{}", offer.name);
            assert_eq!(offer.gpus > 0, !offer.gpu_type.is_empty(), "{}", offer.name);
        }
    }

    #[test]
    fn prices_are_exact() {
        let t3 = ec2_type("t3.large").expect("in the catalogue");
        assert_eq!(t3.price, Some(Price(83_200)));
        assert_eq!(t3.memory_bytes, 8 * GIB);
        assert_eq!(ec2_type("hpc7g.4xlarge").expect("in the catalogue").spot_price, None);
        assert_eq!(storage_price(500 * GIB), Price(54_795));
    }
}
