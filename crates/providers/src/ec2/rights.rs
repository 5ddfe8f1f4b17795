//! What the head, and who makes its machine, must be allowed to do: policies made from the table of actions, and
//! trials of the head's.
//!
//! Invariant: a trial changes nothing (`DryRun`). Deliberately absent: roles and users, which pcluster never makes.
use super::api::Api;
use super::launch::{Place, params};
use super::machines::CLUSTER_TAG;
use crate::provider::LaunchOrder;
use pcluster_ec2::{
    Action, CREATE_TAGS, Caller, FIRST_SPOT, Failure, PASS_ROLE, Params, permission_of,
};
use serde_json::{Value, json};

/// One permission as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// `ec2:RunInstances`.
    pub permission: String,
    pub granted: bool,
    /// EC2's own words, where it was not or nobody knows.
    pub words: String,
    /// What helps; empty where nothing is wrong.
    pub hint: String,
}

/// The smallest IAM policy of a head: it changes and ends only what has a cluster's tag.
#[must_use]
pub fn policy() -> Value {
    let spot = json!({
        "Sid": "FirstSpotMachine", "Effect": "Allow", "Action": FIRST_SPOT.name,
        "Resource": "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*",
        "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    });
    policy_of(Caller::Head, spot)
}

/// The smallest IAM policy of who runs `up` and `down` of a head that lives on an instance; `role` is what the
/// head's machine gets.
#[must_use]
pub fn place_policy(role: &str) -> Value {
    let pass = json!({
        "Sid": "RoleOfTheHead", "Effect": "Allow", "Action": PASS_ROLE.name,
        "Resource": format!("arn:aws:iam::*:role/{role}"),
        "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    });
    policy_of(Caller::Place, pass)
}

fn policy_of(caller: Caller, more: Value) -> Value {
    let (reads, writes): (Vec<Action>, Vec<Action>) = Action::ALL
        .into_iter()
        .filter(|action| action.is_of(caller))
        .partition(|action| action.only_reads());
    let names = |actions: Vec<Action>| actions.into_iter().map(permission_of).collect::<Vec<_>>();
    let (makes, changes): (Vec<Action>, Vec<Action>) =
        writes.into_iter().partition(|action| makes(*action).is_some());
    let made: Vec<&str> = makes.iter().filter_map(|action| self::makes(*action)).collect();
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Look", "Effect": "Allow", "Action": names(reads), "Resource": "*"},
            {"Sid": "Make", "Effect": "Allow", "Action": names(makes), "Resource": "*"},
            {"Sid": "TagWhatIsMade", "Effect": "Allow", "Action": CREATE_TAGS.name, "Resource": "*",
             "Condition": {"StringEquals": {"ec2:CreateAction": made}}},
            {"Sid": "ChangeAndEndItsOwn", "Effect": "Allow", "Action": names(changes), "Resource": "*",
             "Condition": {"Null": {format!("aws:ResourceTag/{CLUSTER_TAG}"): "false"}}},
            more,
        ],
    })
}

/// The action's own name where it makes something new, which has no tag yet.
fn makes(action: Action) -> Option<&'static str> {
    matches!(
        action,
        Action::RunInstances
            | Action::CreateSecurityGroup
            | Action::CreatePlacementGroup
            | Action::CreateVolume
    )
    .then(|| action.name())
}

/// Asks EC2 for every right without doing anything. `sample` is a launch as the file would make it.
/// `profile`: of a head that is placed with these rights.
pub(super) async fn trial(
    api: &Api,
    sample: Option<(&LaunchOrder, &Place)>,
    profile: Option<&str>,
) -> Vec<Right> {
    let mut found = Vec::new();
    for action in Action::ALL.into_iter().filter(|action| action.is_of(api.caller())) {
        let Some(mut asked) = dry(action, sample, api.region()) else { continue };
        if let (Action::RunInstances, Some(profile)) = (action, profile) {
            asked.push("IamInstanceProfile.Name", profile);
        }
        let said = api.ask(action, &asked.with("DryRun", "true")).await;
        found.push(right(api, action, said.err()));
    }
    found
}

/// Parameters that are whole enough for EC2 to look at who asks.
fn dry(action: Action, sample: Option<(&LaunchOrder, &Place)>, region: &str) -> Option<Params> {
    let group = sample.map_or("sg-00000000", |(_, place)| place.group.as_str());
    let some = Params::new;
    Some(match action {
        Action::RunInstances => {
            let (order, place) = sample?;
            params(order, place, b"#!/bin/sh\n").ok()?
        }
        Action::TerminateInstances => some().list("InstanceId", ["i-00000000000000000"]),
        Action::CreateSecurityGroup => {
            some().with("GroupName", "pcluster-trial").with("GroupDescription", "a trial")
        }
        Action::CreatePlacementGroup => {
            some().with("GroupName", "pcluster-trial").with("Strategy", "cluster")
        }
        Action::AuthorizeSecurityGroupIngress
        | Action::AuthorizeSecurityGroupEgress
        | Action::RevokeSecurityGroupIngress => some()
            .with("GroupId", group)
            .with("IpPermissions.1.IpProtocol", "-1")
            .with("IpPermissions.1.Groups.1.GroupId", group),
        Action::DeleteSecurityGroup => some().with("GroupId", group),
        Action::DeletePlacementGroup => some().with("GroupName", "pcluster-trial"),
        Action::GetConsoleOutput => some().with("InstanceId", "i-00000000000000000"),
        Action::CreateVolume => some()
            .with("AvailabilityZone", format!("{region}a"))
            .with("VolumeType", "gp3")
            .with("Size", "1"),
        Action::AttachVolume => some()
            .with("VolumeId", "vol-00000000000000000")
            .with("InstanceId", "i-00000000000000000")
            .with("Device", "/dev/sdf"),
        Action::DeleteVolume => some().with("VolumeId", "vol-00000000000000000"),
        _ => some(),
    })
}

/// `DryRunOperation` is EC2's yes. What it says of things that are not there, it says to those who may ask.
fn right(api: &Api, action: Action, failure: Option<Failure>) -> Right {
    let permission = permission_of(action);
    let yes = Right {
        permission: permission.clone(),
        granted: true,
        words: String::new(),
        hint: String::new(),
    };
    let Some(failure) = failure else { return yes };
    let code = failure.code();
    let not_there =
        ["NotFound", "Unknown", "Duplicate", "Malformed"].iter().any(|end| code.ends_with(end));
    if code == "DryRunOperation" || not_there {
        return yes;
    }
    let told = api.told(action, &failure);
    let hint = match code {
        "UnauthorizedOperation" | "AccessDenied" => {
            let whose = match api.caller() {
                Caller::Head => "the head's policy: pcluster provider policy",
                Caller::Place => "your policy: pcluster provider policy --place",
            };
            format!("add {permission} to {whose}")
        }
        _ => String::new(),
    };
    Right { permission, granted: false, words: told.message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_ec2::PERMISSIONS;

    fn policies() -> [(Caller, Value); 2] {
        [(Caller::Head, policy()), (Caller::Place, place_policy("pcluster-head"))]
    }

    #[test]
    fn each_policy_holds_every_action_and_permission_of_its_caller_once() {
        for (caller, policy) in policies() {
            let mut all: Vec<String> = Vec::new();
            for statement in policy["Statement"].as_array().unwrap() {
                match &statement["Action"] {
                    Value::String(one) => all.push(one.clone()),
                    many => all.extend(
                        many.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()),
                    ),
                }
            }
            all.sort();
            let actions = Action::ALL.into_iter().filter(|action| action.is_of(caller));
            let more = PERMISSIONS.iter().filter(|one| one.callers.contains(&caller));
            let mut wanted: Vec<String> = actions.map(permission_of).collect();
            wanted.extend(more.map(|one| one.name.to_owned()));
            wanted.sort();
            assert_eq!(all, wanted, "{caller:?}");
            // Whatever ends or changes something asks for the tag.
            let own = &policy["Statement"][3];
            assert!(own["Action"].as_array().unwrap().contains(&json!("ec2:TerminateInstances")));
            assert_eq!(own["Condition"]["Null"]["aws:ResourceTag/pcluster:cluster"], "false");
        }
        let roles = &place_policy("other")["Statement"][4]["Resource"];
        assert_eq!(roles, "arn:aws:iam::*:role/other");
    }

    #[test]
    fn the_page_shows_both_policies() {
        let page = include_str!("../../../../docs/ec2.md");
        let shown = page.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
        let shown: Vec<Value> = shown.map(|text| serde_json::from_str(text).unwrap()).collect();
        for ((caller, policy), shown) in policies().iter().zip(&shown) {
            assert_eq!(shown, policy, "docs/ec2.md has another policy of {caller:?}:\n{policy:#}");
        }
        assert_eq!(shown.len(), policies().len());
    }

    #[test]
    fn answers_are_told_apart() {
        let api = Api::new("us-east-1", Some(std::collections::BTreeMap::new()));
        let said = |code: &str| {
            let failure = Failure::Said { status: 400, code: code.into(), message: "words".into() };
            right(&api, Action::TerminateInstances, Some(failure))
        };
        for code in ["DryRunOperation", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"]
        {
            assert!(said(code).granted, "{code}");
        }
        let no = said("UnauthorizedOperation");
        assert!(
            !no.granted
                && no.hint
                    == "add ec2:TerminateInstances to the head's policy: pcluster provider policy",
            "{no:?}"
        );
        assert!(!said("AuthFailure").granted);
    }
}
