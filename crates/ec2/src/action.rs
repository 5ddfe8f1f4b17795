//! Every action that is called, with what it needs and how often it may be called.
//!
//! Invariant: there is no way to call an action that is not here, so a policy made from this table is whole.
//! The rates are below EC2's own (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>),
//! so that one head never takes all of an account's.

/// Calls that the bucket of an action holds, and how many come back in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// EC2 lets an account read 100 times at once and 20 times a second, unfiltered lists half as often.
const READ: Rate = Rate { burst: 40, per_second: 10 };
/// EC2: 50 and 5.
const WRITE: Rate = Rate { burst: 25, per_second: 4 };
/// EC2: 5 and 2.
const LAUNCH: Rate = Rate { burst: 4, per_second: 2 };
/// EC2: 100 and 10.
const TAG: Rate = Rate { burst: 40, per_second: 8 };

/// Whose rights a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A running head: it launches nodes and ends them.
    Head,
    /// Who runs `up` and `down` of a head that lives on an instance.
    Place,
}

impl Caller {
    pub const ALL: [Self; 2] = [Self::Head, Self::Place];
}

/// An action of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    AttachVolume,
    AuthorizeSecurityGroupEgress,
    AuthorizeSecurityGroupIngress,
    CreatePlacementGroup,
    CreateSecurityGroup,
    CreateVolume,
    DeletePlacementGroup,
    DeleteSecurityGroup,
    DeleteVolume,
    DescribeImages,
    DescribeInstanceTypeOfferings,
    DescribeInstanceTypes,
    DescribeInstances,
    DescribePlacementGroups,
    DescribeSecurityGroups,
    DescribeSpotPriceHistory,
    DescribeSubnets,
    DescribeVolumes,
    GetConsoleOutput,
    RevokeSecurityGroupIngress,
    RunInstances,
    TerminateInstances,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::AttachVolume,
        Self::AuthorizeSecurityGroupEgress,
        Self::AuthorizeSecurityGroupIngress,
        Self::CreatePlacementGroup,
        Self::CreateSecurityGroup,
        Self::CreateVolume,
        Self::DeletePlacementGroup,
        Self::DeleteSecurityGroup,
        Self::DeleteVolume,
        Self::DescribeImages,
        Self::DescribeInstanceTypeOfferings,
        Self::DescribeInstanceTypes,
        Self::DescribeInstances,
        Self::DescribePlacementGroups,
        Self::DescribeSecurityGroups,
        Self::DescribeSpotPriceHistory,
        Self::DescribeSubnets,
        Self::DescribeVolumes,
        Self::GetConsoleOutput,
        Self::RevokeSecurityGroupIngress,
        Self::RunInstances,
        Self::TerminateInstances,
    ];

    /// As the API calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AttachVolume => "AttachVolume",
            Self::AuthorizeSecurityGroupEgress => "AuthorizeSecurityGroupEgress",
            Self::AuthorizeSecurityGroupIngress => "AuthorizeSecurityGroupIngress",
            Self::CreatePlacementGroup => "CreatePlacementGroup",
            Self::CreateSecurityGroup => "CreateSecurityGroup",
            Self::CreateVolume => "CreateVolume",
            Self::DeletePlacementGroup => "DeletePlacementGroup",
            Self::DeleteSecurityGroup => "DeleteSecurityGroup",
            Self::DeleteVolume => "DeleteVolume",
            Self::DescribeImages => "DescribeImages",
            Self::DescribeInstanceTypeOfferings => "DescribeInstanceTypeOfferings",
            Self::DescribeInstanceTypes => "DescribeInstanceTypes",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribePlacementGroups => "DescribePlacementGroups",
            Self::DescribeSecurityGroups => "DescribeSecurityGroups",
            Self::DescribeSpotPriceHistory => "DescribeSpotPriceHistory",
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DescribeVolumes => "DescribeVolumes",
            Self::GetConsoleOutput => "GetConsoleOutput",
            Self::RevokeSecurityGroupIngress => "RevokeSecurityGroupIngress",
            Self::RunInstances => "RunInstances",
            Self::TerminateInstances => "TerminateInstances",
        }
    }

    pub(crate) const fn rate(self) -> Rate {
        match self {
            Self::RunInstances => LAUNCH,
            Self::TerminateInstances => TAG,
            Self::AttachVolume
            | Self::AuthorizeSecurityGroupEgress
            | Self::AuthorizeSecurityGroupIngress
            | Self::CreatePlacementGroup
            | Self::CreateSecurityGroup
            | Self::CreateVolume
            | Self::DeletePlacementGroup
            | Self::DeleteSecurityGroup
            | Self::DeleteVolume
            | Self::RevokeSecurityGroupIngress => WRITE,
            _ => READ,
        }
    }

    /// Whether that caller ever makes this call: its policy has it then, and only then.
    #[must_use]
    pub const fn is_of(self, caller: Caller) -> bool {
        match self {
            Self::AttachVolume
            | Self::CreateVolume
            | Self::DeleteVolume
            | Self::RevokeSecurityGroupIngress => matches!(caller, Caller::Place),
            Self::CreatePlacementGroup
            | Self::DescribeInstanceTypeOfferings
            | Self::DescribeSpotPriceHistory => matches!(caller, Caller::Head),
            _ => true,
        }
    }

    /// True where nothing of a reply is lost when the same is asked again.
    #[must_use]
    pub fn only_reads(self) -> bool {
        self.name().starts_with("Describe") || self == Self::GetConsoleOutput
    }
}

/// The permission that an action needs.
#[must_use]
pub fn permission_of(action: Action) -> String {
    format!("ec2:{}", action.name())
}

/// A permission beside those of the actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    pub name: &'static str,
    pub why: &'static str,
    pub callers: &'static [Caller],
}

/// What EC2 asks for when a call has tags.
pub const CREATE_TAGS: Permission = Permission {
    name: "ec2:CreateTags",
    why: "what is made is tagged as it is made",
    callers: &[Caller::Head, Caller::Place],
};
/// What it asks for when an account buys spot for the first time.
pub const FIRST_SPOT: Permission = Permission {
    name: "iam:CreateServiceLinkedRole",
    why: "the first spot machine of an account, and only for spot.amazonaws.com",
    callers: &[Caller::Head],
};
/// What it asks for when a machine gets a role.
pub const PASS_ROLE: Permission = Permission {
    name: "iam:PassRole",
    why: "the head's machine has the head's role, and only that one",
    callers: &[Caller::Place],
};
/// All of them.
pub const PERMISSIONS: [Permission; 3] = [CREATE_TAGS, FIRST_SPOT, PASS_ROLE];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_names_each_action_once() {
        let names: BTreeSet<_> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
        assert_eq!(permission_of(Action::RunInstances), "ec2:RunInstances");
        assert!(Action::DescribeSubnets.only_reads() && !Action::TerminateInstances.only_reads());
        for action in Action::ALL {
            assert!(action.rate().burst > 0 && action.rate().per_second > 0);
            assert!(Caller::ALL.iter().any(|caller| action.is_of(*caller)), "{action:?}");
        }
    }
}
