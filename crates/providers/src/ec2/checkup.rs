//! What `doctor` is told of EC2: credentials and rights, images of pools, their subnets, types that are to be had.
use super::Ec2Provider;
use super::rights::Right;
use crate::checkup::{Asked, attention};
use crate::provider::ProviderError;
use pcluster_api::{Finding, Topic};
use pcluster_model::config::{Pool, ProviderKind};
use std::collections::BTreeSet;

const KIND: ProviderKind = ProviderKind::Ec2;

impl Ec2Provider {
    pub(super) async fn look(&self, asked: &Asked<'_>) -> Vec<Finding> {
        (asked.progress)("asking EC2 what may be done");
        let region = self.api.region();
        // Who cannot even list has no use for the rest.
        if let Err(error) = self.described(&self.only()).await {
            return vec![told(
                Topic::Provider,
                &format!("EC2 in {region} cannot be asked"),
                &error,
            )];
        }
        let is_placing = self.settings.placing.is_some();
        let who = if is_placing { "whoever runs `pcluster up` here" } else { "this head" };
        let mut found = rights(region, who, self.rights().await);
        for place in &self.settings.pools {
            for shape in &place.shapes {
                let name = &place.image.name;
                found.push(match self.known.image(&self.api, &place.image, shape).await {
                    Ok(image) => Finding::ok(
                        Topic::Image,
                        format!("image {name} is {} in {region}, for {}", image.id, image.arch),
                    ),
                    Err(error) => {
                        told(Topic::Image, &format!("no machine boots image {name}"), &error)
                    }
                });
            }
        }
        for pool in asked.pools(&KIND) {
            found.extend(self.subnets(pool).await);
        }
        // Whoever places a head need not be allowed to read prices.
        if !is_placing {
            found.extend(self.places(asked).await);
        }
        found
    }

    async fn subnets(&self, pool: &Pool) -> Vec<Finding> {
        let mut found = Vec::new();
        for subnet in &pool.subnets {
            if let Err(error) = self.known.subnet(&self.api, subnet).await {
                let what = format!("pool {} has no use of subnet {subnet}", pool.name);
                found.push(told(Topic::Network, &what, &error));
            }
        }
        found
    }

    /// Types that none of a pool's zones has.
    async fn places(&self, asked: &Asked<'_>) -> Vec<Finding> {
        let offerings =
            match super::prices::offerings(&self.api, &self.known, &self.settings.pools).await {
                Ok(offerings) => offerings,
                Err(error) => {
                    return vec![told(Topic::Provider, "what EC2 has cannot be read", &error)];
                }
            };
        let had: BTreeSet<&str> = offerings.iter().map(|one| one.shape.name.as_str()).collect();
        let mut found = Vec::new();
        for pool in asked.pools(&KIND) {
            let missing = pool.shapes.iter().filter(|shape| !had.contains(shape.name.as_str()));
            found.extend(missing.map(|shape| {
                let what = format!("{} is in no zone of pool {}", shape.name, pool.name);
                Finding::attention(Topic::Provider, what)
                    .why("EC2 has this type in some zones only")
                    .hint(format!(
                        "take it out of the types of [pools.{}], or add a subnet",
                        pool.name
                    ))
            }));
        }
        if found.is_empty() {
            found.push(Finding::ok(
                Topic::Provider,
                format!("EC2 has {} of the pools' types", had.len()),
            ));
        }
        found
    }
}

fn told(topic: Topic, what: &str, error: &ProviderError) -> Finding {
    attention(topic, &format!("{what}\n{error}"))
}

fn rights(region: &str, who: &str, rights: Vec<Right>) -> Vec<Finding> {
    let count = rights.len();
    let missing: Vec<Finding> = rights
        .into_iter()
        .filter(|right| !right.granted)
        .map(|right| {
            let what = format!("{who} may not do {}", right.permission);
            let finding = Finding::attention(Topic::Provider, what).why(right.words);
            if right.hint.is_empty() { finding } else { finding.hint(right.hint) }
        })
        .collect();
    if missing.is_empty() {
        let what =
            format!("EC2 in {region} lets {who} do all that it takes ({count} rights tried)");
        return vec![Finding::ok(Topic::Provider, what)];
    }
    missing
}
