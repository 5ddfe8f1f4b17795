//! The head's way in from outside: SSH, from the networks that are named, and nothing else.
//!
//! Invariant: networks that are not wanted any more are shut out at the next `up`; rules for other ports, which
//! somebody else made, are left alone.
use super::Say;
use crate::ec2::account::{Owner, SecurityGroup, name};
use crate::ec2::api::Api;
use crate::ec2::machines::HEAD;
use crate::provider::ProviderError;
use pcluster_ec2::{Action, Element, Params};
use std::collections::BTreeSet;

const SSH: &str = "22";

/// The id of the head's own group in a VPC, open for these networks.
///
/// # Errors
/// As the calls.
pub(super) async fn open(
    api: &Api,
    owner: &Owner<'_>,
    vpc: &str,
    networks: &BTreeSet<String>,
    say: Say<'_>,
) -> Result<String, ProviderError> {
    let group = SecurityGroup {
        name: format!("{}-head", name(owner.cluster)),
        description: format!("SSH to the head of pcluster {}", owner.cluster_name),
        role: Some(HEAD),
    };
    let id = group.of(api, owner, vpc).await?;
    let pages =
        api.pages(Action::DescribeSecurityGroups, &Params::new().filter("group-id", [&id])).await?;
    let now: BTreeSet<String> = pages
        .iter()
        .flat_map(|page| page.items("securityGroupInfo"))
        .flat_map(|group| group.items("ipPermissions").flat_map(networks_of))
        .collect();
    for network in networks.difference(&now) {
        say(&format!("letting {network} in to SSH"));
        changed(api, Action::AuthorizeSecurityGroupIngress, &id, network).await?;
    }
    for network in now.difference(networks) {
        say(&format!("shutting {network} out"));
        changed(api, Action::RevokeSecurityGroupIngress, &id, network).await?;
    }
    Ok(id)
}

/// Networks that a rule lets in to SSH, and to nothing else.
fn networks_of(rule: &Element) -> Vec<String> {
    let is = |name: &str, value: &str| rule.text_at(name) == Some(value);
    if !is("ipProtocol", "tcp") || !is("fromPort", SSH) || !is("toPort", SSH) {
        return Vec::new();
    }
    let v4 = rule.items("ipRanges").filter_map(|one| one.text_at("cidrIp"));
    let v6 = rule.items("ipv6Ranges").filter_map(|one| one.text_at("cidrIpv6"));
    v4.chain(v6).map(str::to_owned).collect()
}

async fn changed(
    api: &Api,
    action: Action,
    group: &str,
    network: &str,
) -> Result<(), ProviderError> {
    let range = if network.contains(':') { "Ipv6Ranges.1.CidrIpv6" } else { "IpRanges.1.CidrIp" };
    let params = Params::new()
        .with("GroupId", group)
        .with("IpPermissions.1.IpProtocol", "tcp")
        .with("IpPermissions.1.FromPort", SSH)
        .with("IpPermissions.1.ToPort", SSH)
        .with(format!("IpPermissions.1.{range}"), network);
    match api.ask(action, &params).await {
        Ok(_) => Ok(()),
        // The same call was made before, and its answer was lost.
        Err(failure)
            if ["InvalidPermission.Duplicate", "InvalidPermission.NotFound"]
                .contains(&failure.code()) =>
        {
            Ok(())
        }
        Err(failure) => Err(api.told(action, &failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_ssh_are_told_from_others() {
        let text = br#"<g><ipPermissions>
            <item><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort>
              <ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges>
              <ipv6Ranges><item><cidrIpv6>2001:db8::/32</cidrIpv6></item></ipv6Ranges></item>
            <item><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>80</toPort>
              <ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item>
            <item><ipProtocol>-1</ipProtocol><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item>
            </ipPermissions></g>"#;
        let group = Element::parse(text).unwrap();
        let found: Vec<String> = group.items("ipPermissions").flat_map(networks_of).collect();
        assert_eq!(found, ["10.0.0.0/8", "2001:db8::/32"]);
    }
}
