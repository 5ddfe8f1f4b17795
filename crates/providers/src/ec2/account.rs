//! What a cluster has in an account beside its machines: a security group in each VPC, placement groups.
//!
//! Invariant: each is named and tagged by the cluster's id, made once and found again, so two clusters of one
//! account never touch each other's. Members of the group reach each other, nothing reaches them from outside.
//! The head's own machine, where it lives on one, is never touched from here. Deliberately absent: roles, networks
//! and addresses, which are never made.
use super::api::Api;
use super::machines::{CLUSTER_TAG, HEAD, LAUNCH_TAG, NAME_TAG, ROLE_TAG, instances};
use crate::provider::{ErrorClass, ProviderError};
use pcluster_ec2::{Action, Params};
use pcluster_model::{ClusterId, LaunchId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Mutex;

/// A machine that has ended holds its network card, and with it the group, a little longer.
const RELEASE_TRIES: u32 = 20;
const RELEASE_PAUSE: Duration = Duration::from_secs(3);
/// A group that somebody made a moment ago may not be listed yet.
const LIST_TRIES: u32 = 5;
const LIST_PAUSE: Duration = Duration::from_secs(1);

/// Groups by VPC; the empty one is the default.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<BTreeMap<String, String>>);

pub(super) fn name(cluster: &ClusterId) -> String {
    format!("pcluster-{cluster}")
}

fn placement_name(cluster: &ClusterId, launch: LaunchId) -> String {
    format!("pcluster-{cluster}-{launch}")
}

impl Groups {
    /// The security group of the cluster in a VPC.
    ///
    /// # Errors
    /// As the calls.
    pub async fn of(
        &self,
        api: &Api,
        owner: &Owner<'_>,
        vpc: &str,
    ) -> Result<String, ProviderError> {
        // Held while it is made: two launches at once make one.
        let mut known = self.0.lock().await;
        if let Some(id) = known.get(vpc) {
            return Ok(id.clone());
        }
        let group = SecurityGroup {
            name: name(owner.cluster),
            description: format!("Nodes of pcluster {}", owner.cluster_name),
            role: None,
        };
        let id = group.of(api, owner, vpc).await?;
        open_inside(api, &id).await?;
        known.insert(vpc.to_owned(), id.clone());
        Ok(id)
    }

    /// Somebody has deleted one.
    pub async fn forget(&self) {
        self.0.lock().await.clear();
    }
}

/// Whose things they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub cluster: &'a ClusterId,
    pub cluster_name: &'a str,
}

impl Owner<'_> {
    pub fn tagged(&self, params: Params, resource: &str, more: &[(&str, &str)]) -> Params {
        let id = self.cluster.to_string();
        let own = [(CLUSTER_TAG, id.as_str()), (NAME_TAG, self.cluster_name)];
        params.tags(resource, own.into_iter().chain(more.iter().copied()))
    }

    /// Only what has this cluster's tag.
    pub fn only(&self) -> Params {
        Params::new().filter(&format!("tag:{CLUSTER_TAG}"), [self.cluster.to_string()])
    }
}

/// A security group as it is to be.
#[derive(Debug)]
pub(super) struct SecurityGroup {
    /// By which it is found again in its VPC.
    pub name: String,
    pub description: String,
    /// `pcluster:role`, where it has one.
    pub role: Option<&'static str>,
}

impl SecurityGroup {
    /// Its id in a VPC, made where it is not there.
    pub async fn of(
        &self,
        api: &Api,
        owner: &Owner<'_>,
        vpc: &str,
    ) -> Result<String, ProviderError> {
        match self.found(api, vpc).await? {
            Some(id) => Ok(id),
            None => self.made(api, owner, vpc).await,
        }
    }

    async fn found(&self, api: &Api, vpc: &str) -> Result<Option<String>, ProviderError> {
        let mut params = Params::new().filter("group-name", [&self.name]);
        if !vpc.is_empty() {
            params = params.filter("vpc-id", [vpc]);
        }
        let pages = api.pages(Action::DescribeSecurityGroups, &params).await?;
        let all = pages.iter().flat_map(|page| page.items("securityGroupInfo"));
        Ok(all.filter_map(|group| group.text_at("groupId")).next().map(str::to_owned))
    }

    /// One that is there for sure, as soon as lists have it.
    async fn listed(&self, api: &Api, vpc: &str) -> Result<Option<String>, ProviderError> {
        for _ in 0..LIST_TRIES {
            if let Some(id) = self.found(api, vpc).await? {
                return Ok(Some(id));
            }
            tokio::time::sleep(LIST_PAUSE).await;
        }
        Ok(None)
    }

    async fn made(&self, api: &Api, owner: &Owner<'_>, vpc: &str) -> Result<String, ProviderError> {
        let mut params =
            Params::new().with("GroupName", &self.name).with("GroupDescription", &self.description);
        if !vpc.is_empty() {
            params.push("VpcId", vpc);
        }
        let mut more = vec![("Name", self.name.as_str())];
        more.extend(self.role.map(|role| (ROLE_TAG, role)));
        let params = owner.tagged(params, "security-group", &more);
        match api.ask(Action::CreateSecurityGroup, &params).await {
            Ok(reply) => Ok(reply.text_at("groupId").unwrap_or_default().to_owned()),
            // Another head, or a reply that was lost.
            Err(failure) if failure.code() == "InvalidGroup.Duplicate" => {
                self.listed(api, vpc).await?.ok_or_else(|| {
                    let told = api.told(Action::CreateSecurityGroup, &failure);
                    ProviderError::new(ErrorClass::Unknown, told.message)
                })
            }
            Err(failure) => Err(api.told(Action::CreateSecurityGroup, &failure)),
        }
    }
}

/// Members talk to each other freely; EFA wants that said in both directions.
async fn open_inside(api: &Api, group: &str) -> Result<(), ProviderError> {
    for action in [Action::AuthorizeSecurityGroupIngress, Action::AuthorizeSecurityGroupEgress] {
        let params = Params::new()
            .with("GroupId", group)
            .with("IpPermissions.1.IpProtocol", "-1")
            .with("IpPermissions.1.Groups.1.GroupId", group);
        match api.ask(action, &params).await {
            Ok(_) => {}
            Err(failure) if failure.code() == "InvalidPermission.Duplicate" => {}
            Err(failure) => return Err(api.told(action, &failure)),
        }
    }
    Ok(())
}

/// The placement group of a launch: one rack, one zone.
pub(super) async fn placement_group(
    api: &Api,
    owner: &Owner<'_>,
    launch: LaunchId,
) -> Result<String, ProviderError> {
    let name = placement_name(owner.cluster, launch);
    let params = Params::new().with("GroupName", &name).with("Strategy", "cluster");
    let params = owner.tagged(params, "placement-group", &[(LAUNCH_TAG, &launch.to_string())]);
    match api.ask(Action::CreatePlacementGroup, &params).await {
        Ok(_) => Ok(name),
        Err(failure) if failure.code() == "InvalidPlacementGroup.Duplicate" => Ok(name),
        Err(failure) => Err(api.told(Action::CreatePlacementGroup, &failure)),
    }
}

/// Placement groups of launches that are over.
pub(super) async fn drop_placement_groups(
    api: &Api,
    owner: &Owner<'_>,
    launches: &[LaunchId],
) -> Result<(), ProviderError> {
    for launch in launches {
        let params = Params::new().with("GroupName", placement_name(owner.cluster, *launch));
        let deleted = api.ask(Action::DeletePlacementGroup, &params).await;
        match deleted {
            Err(failure) if failure.code() != "InvalidPlacementGroup.Unknown" => {
                return Err(api.told(Action::DeletePlacementGroup, &failure));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Removes all of it but the head's own; what was removed, and what stays and why. What the head's machine is
/// made of goes with that machine.
///
/// # Errors
/// When it cannot even be listed.
pub(super) async fn clean_up(api: &Api, owner: &Owner<'_>) -> Result<Vec<String>, ProviderError> {
    let mut said = drop_all_placement_groups(api, owner).await?;
    let lives_here = heads_groups(api, owner).await?;
    for group in security_groups(api, owner).await? {
        if let Some((_, machine)) = lives_here.iter().find(|(id, _)| *id == group) {
            said.push(format!("security group {group} stays: the head's machine {machine} is in it, and it goes with that"));
            continue;
        }
        said.push(drop_security_group(api, &group).await);
    }
    let volumes = api.pages(Action::DescribeVolumes, &owner.only()).await?;
    for volume in volumes.iter().flat_map(|page| page.items("volumeSet")) {
        let of = volume.items("attachmentSet").find_map(|one| one.text_at("instanceId"));
        let is_its_root = lives_here.iter().any(|(_, machine)| Some(machine.as_str()) == of);
        let is_its_state = volume.tags().any(|tag| tag == (ROLE_TAG, HEAD));
        if is_its_root || (is_its_state && !lives_here.is_empty()) {
            continue;
        }
        let text = |name: &str| volume.text_at(name).unwrap_or("?");
        said.push(format!(
            "volume {} stays: {} GB, {}",
            text("volumeId"),
            text("size"),
            text("status")
        ));
    }
    Ok(said)
}

/// Groups that the head's own machine is in, with that machine; none where the head lives elsewhere.
async fn heads_groups(
    api: &Api,
    owner: &Owner<'_>,
) -> Result<Vec<(String, String)>, ProviderError> {
    let params = owner.only().filter(&format!("tag:{ROLE_TAG}"), [HEAD]).filter(
        "instance-state-name",
        ["pending", "running", "shutting-down", "stopping", "stopped"],
    );
    let pages = api.pages(Action::DescribeInstances, &params).await?;
    let machines = pages.iter().flat_map(instances);
    let pairs = machines.flat_map(|one| {
        let id = one.text_at("instanceId").unwrap_or_default().to_owned();
        let groups = one.items("groupSet").filter_map(|group| group.text_at("groupId"));
        groups.map(|group| (group.to_owned(), id.clone())).collect::<Vec<_>>()
    });
    Ok(pairs.collect())
}

/// Removes every placement group of the cluster; a line for each.
pub(super) async fn drop_all_placement_groups(
    api: &Api,
    owner: &Owner<'_>,
) -> Result<Vec<String>, ProviderError> {
    let mut said = Vec::new();
    let groups = api.pages(Action::DescribePlacementGroups, &owner.only()).await?;
    for group in groups.iter().flat_map(|page| page.items("placementGroupSet")) {
        let Some(name) = group.text_at("groupName") else { continue };
        let params = Params::new().with("GroupName", name);
        let removed = removed(api, Action::DeletePlacementGroup, &params, "placement group", name);
        said.push(removed.await);
    }
    Ok(said)
}

/// Every security group of the cluster.
pub(super) async fn security_groups(
    api: &Api,
    owner: &Owner<'_>,
) -> Result<Vec<String>, ProviderError> {
    let pages = api.pages(Action::DescribeSecurityGroups, &owner.only()).await?;
    let groups = pages.iter().flat_map(|page| page.items("securityGroupInfo"));
    Ok(groups.filter_map(|group| group.text_at("groupId").map(str::to_owned)).collect())
}

/// Removes it once nobody is in it any more; a line about that.
pub(super) async fn drop_security_group(api: &Api, id: &str) -> String {
    let params = Params::new().with("GroupId", id);
    removed(api, Action::DeleteSecurityGroup, &params, "security group", id).await
}

async fn removed(api: &Api, action: Action, params: &Params, what: &str, name: &str) -> String {
    let mut turn = 0;
    loop {
        match api.ask(action, params).await {
            Ok(_) => return format!("{what} {name} removed"),
            Err(failure)
                if failure.code().ends_with(".NotFound")
                    || failure.code().ends_with(".Unknown") =>
            {
                return format!("{what} {name} was gone");
            }
            Err(failure)
                if matches!(
                    failure.code(),
                    "DependencyViolation" | "InvalidPlacementGroup.InUse" | "InvalidGroup.InUse"
                ) && turn < RELEASE_TRIES =>
            {
                turn += 1;
                tokio::time::sleep(RELEASE_PAUSE).await;
            }
            Err(failure) => return format!("{what} {name} stays: {}", api.told(action, &failure)),
        }
    }
}
