//! What the head must be allowed to do: the policy made from the table of actions, and trials of it.
//!
//! Invariant: a trial changes nothing (`DryRun`). Deliberately absent: roles and users, which pcluster never makes.
use super::api::Api;
use super::launch::{Place, params};
use super::machines::CLUSTER_TAG;
use crate::provider::LaunchOrder;
use pcluster_ec2::{Action, Failure, PERMISSIONS, Params, permission_of};
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
    let (reads, writes): (Vec<Action>, Vec<Action>) =
        Action::ALL.into_iter().partition(|action| action.only_reads());
    let names = |actions: Vec<Action>| actions.into_iter().map(permission_of).collect::<Vec<_>>();
    let (makes, changes): (Vec<Action>, Vec<Action>) =
        writes.into_iter().partition(|action| makes(*action).is_some());
    let made: Vec<&str> = makes.iter().filter_map(|action| self::makes(*action)).collect();
    let tags = PERMISSIONS[0].0;
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Look", "Effect": "Allow", "Action": names(reads), "Resource": "*"},
            {"Sid": "Make", "Effect": "Allow", "Action": names(makes), "Resource": "*"},
            {"Sid": "TagWhatIsMade", "Effect": "Allow", "Action": tags, "Resource": "*",
             "Condition": {"StringEquals": {"ec2:CreateAction": made}}},
            {"Sid": "ChangeAndEndItsOwn", "Effect": "Allow", "Action": names(changes), "Resource": "*",
             "Condition": {"Null": {format!("aws:ResourceTag/{CLUSTER_TAG}"): "false"}}},
            {"Sid": "FirstSpotMachine", "Effect": "Allow", "Action": PERMISSIONS[1].0,
             "Resource": "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*",
             "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}},
        ],
    })
}

/// The action's own name where it makes something new, which has no tag yet.
fn makes(action: Action) -> Option<&'static str> {
    matches!(
        action,
        Action::RunInstances | Action::CreateSecurityGroup | Action::CreatePlacementGroup
    )
    .then(|| action.name())
}

/// Asks EC2 for every right without doing anything. `sample` is a launch as the file would make it.
pub(super) async fn trial(api: &Api, sample: Option<(&LaunchOrder, &Place)>) -> Vec<Right> {
    let mut found = Vec::new();
    for action in Action::ALL {
        let Some(asked) = dry(action, sample) else { continue };
        let said = api.ask(action, &asked.with("DryRun", "true")).await;
        found.push(right(api, action, said.err()));
    }
    found
}

/// Parameters that are whole enough for EC2 to look at who asks.
fn dry(action: Action, sample: Option<(&LaunchOrder, &Place)>) -> Option<Params> {
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
        Action::AuthorizeSecurityGroupIngress | Action::AuthorizeSecurityGroupEgress => some()
            .with("GroupId", group)
            .with("IpPermissions.1.IpProtocol", "-1")
            .with("IpPermissions.1.Groups.1.GroupId", group),
        Action::DeleteSecurityGroup => some().with("GroupId", group),
        Action::DeletePlacementGroup => some().with("GroupName", "pcluster-trial"),
        Action::GetConsoleOutput => some().with("InstanceId", "i-00000000000000000"),
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
            format!("add {permission} to the head's policy")
        }
        _ => String::new(),
    };
    Right { permission, granted: false, words: told.message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_holds_every_action_and_permission_once() {
        let policy = policy();
        let mut all: Vec<String> = Vec::new();
        for statement in policy["Statement"].as_array().unwrap() {
            match &statement["Action"] {
                Value::String(one) => all.push(one.clone()),
                many => all.extend(
                    many.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()),
                ),
            }
        }
        for action in Action::ALL {
            assert_eq!(
                all.iter().filter(|one| **one == permission_of(action)).count(),
                1,
                "{action:?}"
            );
        }
        for (permission, why) in PERMISSIONS {
            assert!(all.iter().any(|one| one == permission) && !why.is_empty(), "{permission}");
        }
        assert_eq!(all.len(), Action::ALL.len() + PERMISSIONS.len());
        // Whatever ends or changes something asks for the tag.
        let own = &policy["Statement"][3];
        assert!(own["Action"].as_array().unwrap().contains(&json!("ec2:TerminateInstances")));
        assert_eq!(own["Condition"]["Null"]["aws:ResourceTag/pcluster:cluster"], "false");
    }

    #[test]
    fn the_page_shows_the_policy() {
        let page = include_str!("../../../../docs/ec2.md");
        let shown = page.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
        let shown: Value = serde_json::from_str(shown).unwrap();
        assert_eq!(shown, policy(), "docs/ec2.md has another policy:\n{:#}", policy());
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
            !no.granted && no.hint == "add ec2:TerminateInstances to the head's policy",
            "{no:?}"
        );
        assert!(!said("AuthFailure").granted);
    }
}
