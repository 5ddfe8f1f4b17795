//! Facts of an account's region that do not change while a head runs: images, types, subnets.
//!
//! Invariant: what was found is asked for once; a failure is not kept. Deliberately absent: prices.
use super::api::Api;
use crate::provider::{ErrorClass, LaunchImage, ProviderError};
use pcluster_ec2::{Action, Element, Params};
use pcluster_model::Shape;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Debian's own account (<https://wiki.debian.org/Cloud/AmazonEC2Image>).
const DEBIAN: &str = "136693071363";

/// An image of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageFacts {
    pub id: String,
    /// As pcluster calls it: `x86_64`, `aarch64`.
    pub arch: String,
    pub root_device: String,
    pub root_gib: u64,
    pub created: String,
}

/// What the launch of a type depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TypeFacts {
    /// As pcluster calls it: `x86_64`, `aarch64`.
    pub arch: String,
    pub cores: u32,
    pub threads_per_core: u32,
    /// Network cards that do EFA, one interface on each.
    pub efa_cards: u32,
    /// The largest disk of the machine's own that is there without being asked for (NVMe), in bytes; 0 without one.
    pub store_bytes: u64,
}

/// A subnet of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubnetFacts {
    pub vpc: String,
    pub zone: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Known {
    images: Mutex<BTreeMap<String, ImageFacts>>,
    types: Mutex<BTreeMap<String, TypeFacts>>,
    subnets: Mutex<BTreeMap<String, SubnetFacts>>,
}

fn kept<T: Clone>(map: &Mutex<BTreeMap<String, T>>, key: &str) -> Option<T> {
    map.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
}

fn keep<T: Clone>(map: &Mutex<BTreeMap<String, T>>, key: &str, value: &T) {
    map.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value.clone());
}

fn bad(words: String) -> ProviderError {
    ProviderError::new(ErrorClass::BadConfig, words)
}

impl Known {
    /// The image that a shape boots.
    ///
    /// # Errors
    /// `BadConfig` where there is none, or none for the shape.
    pub async fn image(
        &self,
        api: &Api,
        image: &LaunchImage,
        shape: &Shape,
    ) -> Result<ImageFacts, ProviderError> {
        self.image_for(api, image, &shape.name, &shape.arch).await
    }

    /// The image that a type of this architecture boots.
    pub async fn image_for(
        &self,
        api: &Api,
        image: &LaunchImage,
        machine_type: &str,
        arch: &str,
    ) -> Result<ImageFacts, ProviderError> {
        let public = image.reference.is_empty();
        let key = if public { format!("{}/{arch}", image.name) } else { image.reference.clone() };
        let found = match kept(&self.images, &key) {
            Some(found) => found,
            None if public => debian(api, image, arch).await?,
            None => {
                let params = Params::new().list("ImageId", [&image.reference]);
                let reply = api.call(Action::DescribeImages, &params).await?;
                let missing = || {
                    bad(format!(
                        "image {} ({}) is not in {}",
                        image.name,
                        image.reference,
                        api.region()
                    ))
                };
                reply.items("imagesSet").find_map(image_facts).ok_or_else(missing)?
            }
        };
        if found.arch != arch {
            let (name, id) = (&image.name, &found.id);
            let words =
                format!("image {name} ({id}) is for {}, and {machine_type} is {arch}", found.arch);
            return Err(bad(words));
        }
        keep(&self.images, &key, &found);
        Ok(found)
    }

    /// What EC2 says of a type.
    ///
    /// # Errors
    /// `BadConfig` where the region has no such type.
    pub async fn type_of(&self, api: &Api, name: &str) -> Result<TypeFacts, ProviderError> {
        if let Some(found) = kept(&self.types, name) {
            return Ok(found);
        }
        let params = Params::new().list("InstanceType", [name]);
        let reply = api.call(Action::DescribeInstanceTypes, &params).await?;
        let found = reply.items("instanceTypeSet").next().map(type_facts);
        let found = found.ok_or_else(|| bad(format!("{} has no type {name}", api.region())))?;
        keep(&self.types, name, &found);
        Ok(found)
    }

    /// What EC2 says of a subnet.
    ///
    /// # Errors
    /// `BadConfig` where the account has no such subnet.
    pub async fn subnet(&self, api: &Api, id: &str) -> Result<SubnetFacts, ProviderError> {
        if let Some(found) = kept(&self.subnets, id) {
            return Ok(found);
        }
        let reply =
            api.call(Action::DescribeSubnets, &Params::new().list("SubnetId", [id])).await?;
        let facts = |item: &Element| {
            let text = |name: &str| item.text_at(name).map(str::to_owned);
            Some(SubnetFacts { vpc: text("vpcId")?, zone: text("availabilityZone")? })
        };
        let found = reply.items("subnetSet").find_map(facts);
        let found = found.ok_or_else(|| bad(format!("{} has no subnet {id}", api.region())))?;
        keep(&self.subnets, id, &found);
        Ok(found)
    }
}

/// The newest public image of Debian 12.
async fn debian(api: &Api, image: &LaunchImage, arch: &str) -> Result<ImageFacts, ProviderError> {
    if image.name != "debian-12" {
        return Err(bad(format!(
            "image {} has no AMI: add ami = {{ {} = \"ami-…\" }}",
            image.name,
            api.region()
        )));
    }
    let machine = if arch == "aarch64" { "arm64" } else { "amd64" };
    let params = Params::new()
        .list("Owner", [DEBIAN])
        .filter("name", [format!("debian-12-{machine}-*")])
        .filter("state", ["available"]);
    let pages = api.pages(Action::DescribeImages, &params).await?;
    let all = pages.iter().flat_map(|page| page.items("imagesSet")).filter_map(image_facts);
    let missing = || {
        bad(format!("{} has no public image of Debian 12 for {arch}: name an ami", api.region()))
    };
    all.max_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id))).ok_or_else(missing)
}

fn image_facts(item: &Element) -> Option<ImageFacts> {
    let text = |name: &str| item.text_at(name).map(str::to_owned);
    let root_device = text("rootDeviceName").filter(|name| !name.is_empty())?;
    let of_root = |one: &&Element| one.text_at("deviceName") == Some(root_device.as_str());
    let root = item.items("blockDeviceMapping").find(of_root);
    let root_gib = root.and_then(|one| one.text_at("ebs/volumeSize")?.parse().ok()).unwrap_or(0);
    let arch = arch_of(item.text_at("architecture")?);
    let created = text("creationDate").unwrap_or_default();
    Some(ImageFacts { id: text("imageId")?, arch, root_device, root_gib, created })
}

fn arch_of(word: &str) -> String {
    if word == "arm64" { "aarch64".to_owned() } else { word.to_owned() }
}

fn type_facts(item: &Element) -> TypeFacts {
    let number = |path: &str| item.text_at(path).and_then(|text| text.parse().ok());
    let efa = item.text_at("networkInfo/efaSupported") == Some("true");
    let cards = number("networkInfo/efaInfo/maximumEfaInterfaces").unwrap_or(1);
    let arches = item.child("processorInfo").and_then(|cpu| cpu.child("supportedArchitectures"));
    // Old types have the 32-bit one beside it.
    let mut arches = arches.into_iter().flat_map(|set| &set.children).map(|one| one.text.trim());
    TypeFacts {
        arch: arches.find(|arch| *arch != "i386").map_or_else(|| "x86_64".to_owned(), arch_of),
        cores: number("vCpuInfo/defaultCores").unwrap_or(1),
        threads_per_core: number("vCpuInfo/defaultThreadsPerCore").unwrap_or(1),
        efa_cards: if efa { cards.max(1) } else { 0 },
        store_bytes: store_bytes(item),
    }
}

/// Sizes are in decimal gigabytes.
fn store_bytes(item: &Element) -> u64 {
    let Some(store) = item.child("instanceStorageInfo") else { return 0 };
    if !matches!(store.text_at("nvmeSupport"), Some("supported" | "required")) {
        return 0;
    }
    let sizes = store.items("disks").filter_map(|disk| disk.text_at("sizeInGB")?.parse().ok());
    sizes.max().unwrap_or(0u64).saturating_mul(1_000_000_000)
}
