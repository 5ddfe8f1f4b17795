//! What can be had where, and for how much.
use super::PoolPlaces;
use super::api::Api;
use super::types::Known;
use crate::provider::{Offering, ProviderError};
use pcluster_ec2::{Action, Params};
use pcluster_model::{Price, units};
use std::collections::{BTreeMap, BTreeSet};

/// Offerings of all pools: for each shape and subnet (or zone) one on demand, and one on spot where EC2 names a
/// price.
///
/// # Errors
/// As the calls.
pub(super) async fn offerings(
    api: &Api,
    known: &Known,
    pools: &[PoolPlaces],
) -> Result<Vec<Offering>, ProviderError> {
    let types: BTreeSet<&str> =
        pools.iter().flat_map(|pool| &pool.shapes).map(|shape| shape.name.as_str()).collect();
    if types.is_empty() {
        return Ok(Vec::new());
    }
    let (zones, spot) = (zones(api, &types).await?, spot_prices(api, &types).await?);
    let mut offerings: Vec<Offering> = Vec::new();
    for pool in pools {
        let mut places = Vec::new();
        for subnet in &pool.subnets {
            places.push((subnet.clone(), known.subnet(api, subnet).await?.zone));
        }
        for shape in &pool.shapes {
            let anywhere = || {
                zones
                    .iter()
                    .filter(|(name, _)| name == &shape.name)
                    .map(|(_, zone)| (String::new(), zone.clone()))
            };
            let here: Vec<_> =
                if places.is_empty() { anywhere().collect() } else { places.clone() };
            for (subnet, zone) in here {
                if !zones.contains(&(shape.name.clone(), zone.clone())) {
                    continue;
                }
                let offering = |spot, price| Offering {
                    shape: shape.clone(),
                    zone: zone.clone(),
                    subnet: subnet.clone(),
                    spot,
                    price,
                };
                let price = spot.get(&(shape.name.clone(), zone.clone())).copied();
                let both = [
                    Some(offering(false, shape.price)),
                    price.map(|price| offering(true, Some(price))),
                ];
                offerings.extend(
                    both.into_iter()
                        .flatten()
                        .filter(|one| !offerings.contains(one))
                        .collect::<Vec<_>>(),
                );
            }
        }
    }
    Ok(offerings)
}

/// Types and the zones that have them.
async fn zones(
    api: &Api,
    types: &BTreeSet<&str>,
) -> Result<BTreeSet<(String, String)>, ProviderError> {
    let params =
        Params::new().with("LocationType", "availability-zone").filter("instance-type", types);
    let pages = api.pages(Action::DescribeInstanceTypeOfferings, &params).await?;
    let items = pages.iter().flat_map(|page| page.items("instanceTypeOfferingSet"));
    let pairs =
        items.filter_map(|item| Some((item.text_at("instanceType")?, item.text_at("location")?)));
    Ok(pairs.map(|(name, zone)| (name.to_owned(), zone.to_owned())).collect())
}

/// The latest price of each type in each zone.
async fn spot_prices(
    api: &Api,
    types: &BTreeSet<&str>,
) -> Result<BTreeMap<(String, String), Price>, ProviderError> {
    // A start that is now: only the prices in force.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let params = Params::new()
        .with("StartTime", now)
        .list("InstanceType", types)
        .list("ProductDescription", ["Linux/UNIX"]);
    let pages = api.pages(Action::DescribeSpotPriceHistory, &params).await?;
    let mut latest: BTreeMap<(String, String), (String, Price)> = BTreeMap::new();
    for item in pages.iter().flat_map(|page| page.items("spotPriceHistorySet")) {
        let text = |name: &str| item.text_at(name).map(str::to_owned);
        let (Some(name), Some(zone)) = (text("instanceType"), text("availabilityZone")) else {
            continue;
        };
        let price =
            text("spotPrice").and_then(|price| units::parse_price(&format!("${price}/h")).ok());
        let (Some(price), Some(at)) = (price, text("timestamp")) else { continue };
        let entry = latest.entry((name, zone)).or_insert_with(|| (at.clone(), price));
        if at >= entry.0 {
            *entry = (at, price);
        }
    }
    Ok(latest.into_iter().map(|(place, (_, price))| (place, price)).collect())
}
