//! Launch orders: the plan of the cluster and what only the head knows (addresses, keys, folders).
//!
//! Invariant: the same plan gives the same order, byte for byte, in every process of one version of the head.
use crate::agents::programs::{NodePrograms, are_offered};
use crate::agents::token::ClusterSecret;
use crate::mirror::Mirror;
use pcluster_core::effect::LaunchPlan;
use pcluster_core::input::Tags;
use pcluster_model::config::{
    Config, Image, ImageSource, ProviderKind, Share, ShareSource, VmNetwork,
};
use pcluster_model::{ClusterId, InstanceRef, NodeId, PoolName, Price};
use pcluster_providers::ec2::domain;
use pcluster_providers::vm::USER_HEAD;
use pcluster_providers::{ErrorClass, LaunchImage, LaunchOrder, Listed, ProviderError};
use pcluster_wire::{Accounts, JoinOrder, Mount, MountSource, OnOrphan};
use std::collections::BTreeMap;
use std::path::PathBuf;

const POOL_TAG: &str = "pcluster:pool";
const SHAPE_TAG: &str = "pcluster:shape";
/// Per hour, in micro-dollars.
const PRICE_TAG: &str = "pcluster:price";

/// What the tags of a machine say of its launch.
#[must_use]
pub fn tags_of(listed: &Listed) -> Tags {
    let tag = |name: &str| listed.tags.get(name).cloned();
    Tags {
        name: Some(listed.name.clone()).filter(|name| !name.is_empty()),
        pool: tag(POOL_TAG).map(|pool| PoolName::from(pool.as_str())),
        shape: tag(SHAPE_TAG),
        price: tag(PRICE_TAG).and_then(|price| price.parse().ok()).map(Price),
    }
}

/// What every launch order of this head has in common.
#[derive(Clone)]
pub struct Orders {
    pub mirror: Mirror,
    pub cluster: ClusterId,
    pub secret: ClusterSecret,
    /// What nodes dial where their provider has no place of its own for the head: `HOST:PORT`.
    pub dialled: String,
    pub port: u16,
    pub head_key_sha256: String,
    pub state_dir: PathBuf,
    pub programs: NodePrograms,
}

impl Orders {
    /// The order for a plan.
    ///
    /// # Errors
    /// `BadConfig` when the image is not in the configuration any more.
    pub fn launch(&self, plan: &LaunchPlan) -> Result<LaunchOrder, ProviderError> {
        let bad = |words: String| ProviderError::new(ErrorClass::BadConfig, words);
        let config = self.mirror.read().config().cloned();
        let config = config.ok_or_else(|| bad("there is no configuration yet".into()))?;
        let image = image(&config, &plan.provider, &plan.image).map_err(bad)?;
        let joins = (0..).zip(&plan.names);
        let joins: Result<Vec<String>, _> = joins
            .map(|(index, name)| {
                let node = NodeId { launch: plan.launch, index };
                serde_json::to_string(&self.join(plan, &config, &image, node, name))
            })
            .collect();
        Ok(LaunchOrder {
            cluster: self.cluster.clone(),
            cluster_name: config.name.clone(),
            launch: plan.launch,
            count: u32::try_from(plan.names.len()).unwrap_or(u32::MAX),
            shape: plan.shape.clone(),
            image,
            spot: plan.offering.spot,
            subnet: plan.offering.subnet.clone(),
            ec2: config.pool(&plan.offering.pool).map(|pool| pool.ec2.clone()).unwrap_or_default(),
            names: plan.names.clone(),
            joins: joins.map_err(|error| bad(error.to_string()))?,
            tags: self.tags(plan, &config),
        })
    }

    fn tags(&self, plan: &LaunchPlan, config: &Config) -> BTreeMap<String, String> {
        let tag = |name: &str, value: String| (name.to_owned(), value);
        let price = plan.price.map(|price| tag(PRICE_TAG, price.0.to_string()));
        BTreeMap::from_iter(price.into_iter().chain([
            tag("pcluster:cluster", self.cluster.to_string()),
            tag("pcluster:cluster-name", config.name.clone()),
            tag("pcluster:launch", plan.launch.to_string()),
            tag(POOL_TAG, plan.offering.pool.to_string()),
            tag(SHAPE_TAG, plan.shape.name.clone()),
        ]))
    }

    fn join(
        &self,
        plan: &LaunchPlan,
        config: &Config,
        image: &LaunchImage,
        node: NodeId,
        name: &str,
    ) -> JoinOrder {
        let here = plan.provider == ProviderKind::Process;
        // What such a machine finds may be the whole of the one that it is a part of (a container).
        let divided = here || matches!(plan.provider, ProviderKind::External(_));
        JoinOrder {
            cluster: self.cluster.clone(),
            cluster_name: config.name.clone(),
            node,
            node_name: name.to_owned(),
            // Other providers name a machine once it is there; its agent asks it for the name.
            instance: match plan.provider {
                ProviderKind::Process => InstanceRef(format!("p-{node}")),
                ProviderKind::Vm => InstanceRef(format!("v-{node}")),
                _ => InstanceRef::default(),
            },
            head_addresses: vec![address(&plan.provider, config, &self.dialled, self.port)],
            head_key_sha256: self.head_key_sha256.clone(),
            token: self.secret.token(&self.cluster, node.launch),
            limit: divided.then(|| plan.shape.usable()),
            state_dir: if here {
                self.state_dir.join("nodes").join(format!("p-{node}")).display().to_string()
            } else {
                "/var/lib/pcluster-agent".to_owned()
            },
            image_dir: (here && !image.reference.is_empty()).then(|| image.reference.clone()),
            orphan_after_ms: config.head.orphan_after_ms,
            report_hold_ms: config.head.report_hold_ms,
            on_orphan: match plan.provider {
                ProviderKind::Process => OnOrphan::Exit,
                ProviderKind::Ssh => OnOrphan::Stay,
                ProviderKind::External(ref name)
                    if config.external(name).is_some_and(|external| !external.power_off) =>
                {
                    OnOrphan::Exit
                }
                ProviderKind::Vm | ProviderKind::Ec2 | ProviderKind::External(_) => {
                    OnOrphan::PowerOff
                }
            },
            accounts: Some(accounts(config, &plan.provider)),
            programs: if are_offered(&plan.provider) {
                self.programs.offered()
            } else {
                Vec::new()
            },
            local_home: config.pool(&plan.offering.pool).is_some_and(|pool| pool.local_home),
            mounts: self.mounts(plan, config),
            metadata: plan.provider == ProviderKind::Ec2,
        }
    }

    /// What a node must mount itself: the shared paths that its machine does not have.
    fn mounts(&self, plan: &LaunchPlan, config: &Config) -> Vec<Mount> {
        let shares = config.pool(&plan.offering.pool).map_or(&[][..], |pool| &pool.shares);
        let (provider, head) = (&plan.provider, host(&self.dialled));
        let mounts = shares.iter().zip(0..).filter_map(|(share, index)| {
            let from = mount_source(share, provider, (&config.ec2.region, head), index)?;
            Some(Mount { path: share.path.clone(), from })
        });
        mounts.collect()
    }
}

/// The head itself, of what nodes dial: `HOST:PORT`.
#[must_use]
pub fn host(dialled: &str) -> &str {
    dialled.rsplit_once(':').map_or(dialled, |(host, _)| host)
}

/// Where nodes of this provider find the head: `HOST:PORT`.
#[must_use]
pub fn address(provider: &ProviderKind, config: &Config, dialled: &str, port: u16) -> String {
    match (&config.head.address, provider, &config.vm.network) {
        (None, ProviderKind::Vm, VmNetwork::User) => format!("{USER_HEAD}:{port}"),
        (None, ProviderKind::Vm, VmNetwork::Bridge { subnet, .. }) => {
            format!("{}:{port}", subnet.head())
        }
        _ => dialled.to_owned(),
    }
}

/// Whose accounts the machines of a provider have.
fn accounts(config: &Config, provider: &ProviderKind) -> Accounts {
    match provider {
        ProviderKind::Process => Accounts::OfHead,
        ProviderKind::Ssh => Accounts::Own,
        ProviderKind::Vm | ProviderKind::Ec2 => Accounts::Added,
        ProviderKind::External(name) => match config.external(name) {
            Some(external) if !external.add_users => Accounts::Own,
            Some(_) | None => Accounts::Added,
        },
    }
}

/// From where a node mounts its `index`th shared path, if it does. File systems of AWS have names in their region:
/// <https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html>,
/// <https://docs.aws.amazon.com/fsx/latest/LustreGuide/mounting-ec2-instance.html>.
fn mount_source(
    share: &Share,
    provider: &ProviderKind,
    (region, head): (&str, &str),
    index: u32,
) -> Option<MountSource> {
    Some(match (&share.source, provider) {
        (ShareSource::Nfs(source), ProviderKind::Vm | ProviderKind::Ec2) => {
            MountSource::Nfs { source: source.clone() }
        }
        (ShareSource::Efs(id), ProviderKind::Ec2) => {
            MountSource::Nfs { source: format!("{id}.efs.{}:/", domain(region)) }
        }
        (ShareSource::Fsx(id), ProviderKind::Ec2) => {
            let (id, mount) = id.split_once('/').unwrap_or((id, "fsx"));
            MountSource::Lustre { source: format!("{id}.fsx.{}@tcp:/{mount}", domain(region)) }
        }
        // By the kernel's server there (`pcluster_exports`).
        (ShareSource::Head, ProviderKind::Ec2) => {
            MountSource::Nfs { source: format!("{head}:{}", share.path) }
        }
        (ShareSource::Head, ProviderKind::Vm) => MountSource::Virtiofs { tag: format!("s{index}") },
        _ => return None,
    })
}

pub(crate) fn image(
    config: &Config,
    provider: &ProviderKind,
    name: &str,
) -> Result<LaunchImage, String> {
    if *provider == ProviderKind::Vm {
        // Which build that is, the provider decides when the machine is made.
        let reference = match config.image(name).map(|image| &image.source) {
            Some(ImageSource::Qcow2(path)) => path.clone(),
            _ => String::new(),
        };
        return Ok(LaunchImage { name: name.to_owned(), reference });
    }
    let image = config.image(name).ok_or_else(|| format!("image {name:?} is not configured"))?;
    let reference = match &image.source {
        ImageSource::Directory(path) | ImageSource::Qcow2(path) => path.clone(),
        ImageSource::Host | ImageSource::BuiltIn => String::new(),
        ImageSource::Ami(ids) => {
            let region = &config.ec2.region;
            let here = ids.iter().find(|(known, _)| known == region).map(|(_, id)| id.clone());
            here.ok_or_else(|| {
                format!(
                    "image {name:?} has no AMI in {region}: add ami = {{ {region} = \"ami-…\" }}"
                )
            })?
        }
        ImageSource::Recipe { .. } | ImageSource::Built => {
            return Err(format!("image {name:?} has not been built"));
        }
    };
    Ok(LaunchImage { name: name.to_owned(), reference })
}

/// The file that is sourced before every job script of an image.
#[must_use]
pub fn profile(image: &Image) -> Option<String> {
    if image.profile.is_some() {
        return image.profile.clone();
    }
    let ImageSource::Directory(folder) = &image.source else { return None };
    let file = std::path::Path::new(folder).join("profile");
    file.is_file().then(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_aws_are_mounted_by_their_names_and_the_heads_from_it() {
        let from = |source, provider, region| {
            let share = Share { path: "/shared".into(), source, size_bytes: None };
            mount_source(&share, &provider, (region, "[fd00::5]"), 0)
        };
        let of = |source, region| from(source, ProviderKind::Ec2, region);
        let nfs = |source: &str| Some(MountSource::Nfs { source: source.into() });
        let lustre = |source: &str| Some(MountSource::Lustre { source: source.into() });
        let efs = ShareSource::Efs("fs-1".into());
        assert_eq!(of(efs.clone(), "eu-west-1"), nfs("fs-1.efs.eu-west-1.amazonaws.com:/"));
        assert_eq!(of(efs.clone(), "cn-north-1"), nfs("fs-1.efs.cn-north-1.amazonaws.com.cn:/"));
        let fsx = |text: &str| of(ShareSource::Fsx(text.into()), "us-east-1");
        assert_eq!(fsx("fs-1/abc2"), lustre("fs-1.fsx.us-east-1.amazonaws.com@tcp:/abc2"));
        assert_eq!(fsx("fs-1"), lustre("fs-1.fsx.us-east-1.amazonaws.com@tcp:/fsx"));
        assert_eq!(of(ShareSource::Head, "us-east-1"), nfs("[fd00::5]:/shared"));
        assert_eq!(of(ShareSource::Mounted, "us-east-1"), None);
        assert_eq!(from(efs, ProviderKind::Process, "us-east-1"), None);
        assert_eq!((host("10.0.0.5:7443"), host("[fd00::5]:7443")), ("10.0.0.5", "[fd00::5]"));
    }
}
