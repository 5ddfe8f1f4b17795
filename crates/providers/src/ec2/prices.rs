//! What can be had where, and for how much.
use super::PoolPlaces;
use super::api::Api;
use super::types::Known;
use crate::provider::{Offering, ProviderError};
use pcluster_ec2::{Action, Params};
use pcluster_model::{Price, Shape, units};
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
            let found = of_shape(shape, &places, &zones, &spot);
            offerings.extend(
                found.into_iter().filter(|one| !offerings.contains(one)).collect::<Vec<_>>(),
            );
        }
    }
    Ok(offerings)
}

type Zones = BTreeSet<(String, String)>;
type SpotPrices = BTreeMap<(String, String), Price>;

/// Of one shape. Without subnets EC2 chooses the zone: then spot costs as much as in the dearest one.
fn of_shape(
    shape: &Shape,
    places: &[(String, String)],
    zones: &Zones,
    spot: &SpotPrices,
) -> Vec<Offering> {
    let offering = |(subnet, zone): (&str, &str), spot, price| Offering {
        shape: shape.clone(),
        zone: zone.to_owned(),
        subnet: subnet.to_owned(),
        spot,
        price,
    };
    let price_in = |zone: &str| spot.get(&(shape.name.clone(), zone.to_owned())).copied();
    let mut found = Vec::new();
    if places.is_empty() {
        let here = zones.iter().filter(|(name, _)| *name == shape.name);
        let here: Vec<&str> = here.map(|(_, zone)| zone.as_str()).collect();
        found.extend(here.iter().map(|zone| offering(("", zone), false, shape.price)));
        let dearest = here.iter().filter_map(|zone| price_in(zone)).max();
        found.extend(dearest.map(|price| offering(("", ""), true, Some(price))));
        return found;
    }
    for (subnet, zone) in places {
        if zones.contains(&(shape.name.clone(), zone.clone())) {
            found.push(offering((subnet, zone), false, shape.price));
            found.extend(price_in(zone).map(|price| offering((subnet, zone), true, Some(price))));
        }
    }
    found
}

/// Types and the zones that have them.
async fn zones(api: &Api, types: &BTreeSet<&str>) -> Result<Zones, ProviderError> {
    let params =
        Params::new().with("LocationType", "availability-zone").filter("instance-type", types);
    let pages = api.pages(Action::DescribeInstanceTypeOfferings, &params).await?;
    let items = pages.iter().flat_map(|page| page.items("instanceTypeOfferingSet"));
    let pairs =
        items.filter_map(|item| Some((item.text_at("instanceType")?, item.text_at("location")?)));
    Ok(pairs.map(|(name, zone)| (name.to_owned(), zone.to_owned())).collect())
}

/// The latest price of each type in each zone.
async fn spot_prices(api: &Api, types: &BTreeSet<&str>) -> Result<SpotPrices, ProviderError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::tests::shape;

    #[test]
    fn a_place_has_its_own_price_and_no_place_the_dearest() {
        let key = |zone: &str| ("c6i.large".to_owned(), zone.to_owned());
        let zones = BTreeSet::from([key("a"), key("b")]);
        let spot =
            BTreeMap::from([(key("a"), Price(10)), (key("b"), Price(30)), (key("c"), Price(90))]);
        let shape = shape("c6i.large");
        let shown = |places: &[(String, String)]| {
            let found = of_shape(&shape, places, &zones, &spot);
            let found = found
                .into_iter()
                .map(|one| (one.subnet, one.zone, one.spot, one.price.map(|price| price.0)));
            found.collect::<Vec<_>>()
        };
        let of = |subnet: &str, zone: &str, spot, price| {
            (subnet.to_owned(), zone.to_owned(), spot, price)
        };
        assert_eq!(
            shown(&[]),
            [of("", "a", false, None), of("", "b", false, None), of("", "", true, Some(30))]
        );
        let place = |subnet: &str, zone: &str| (subnet.to_owned(), zone.to_owned());
        let places = [place("s-1", "a"), place("s-3", "c")];
        assert_eq!(shown(&places), [of("s-1", "a", false, None), of("s-1", "a", true, Some(10))]);
    }
}
