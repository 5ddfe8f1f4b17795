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

/// An action of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    AuthorizeSecurityGroupEgress,
    AuthorizeSecurityGroupIngress,
    CreatePlacementGroup,
    CreateSecurityGroup,
    DeletePlacementGroup,
    DeleteSecurityGroup,
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
    RunInstances,
    TerminateInstances,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::AuthorizeSecurityGroupEgress,
        Self::AuthorizeSecurityGroupIngress,
        Self::CreatePlacementGroup,
        Self::CreateSecurityGroup,
        Self::DeletePlacementGroup,
        Self::DeleteSecurityGroup,
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
        Self::RunInstances,
        Self::TerminateInstances,
    ];

    /// As the API calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizeSecurityGroupEgress => "AuthorizeSecurityGroupEgress",
            Self::AuthorizeSecurityGroupIngress => "AuthorizeSecurityGroupIngress",
            Self::CreatePlacementGroup => "CreatePlacementGroup",
            Self::CreateSecurityGroup => "CreateSecurityGroup",
            Self::DeletePlacementGroup => "DeletePlacementGroup",
            Self::DeleteSecurityGroup => "DeleteSecurityGroup",
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
            Self::RunInstances => "RunInstances",
            Self::TerminateInstances => "TerminateInstances",
        }
    }

    pub(crate) const fn rate(self) -> Rate {
        match self {
            Self::RunInstances => LAUNCH,
            Self::TerminateInstances => TAG,
            Self::AuthorizeSecurityGroupEgress
            | Self::AuthorizeSecurityGroupIngress
            | Self::CreatePlacementGroup
            | Self::CreateSecurityGroup
            | Self::DeletePlacementGroup
            | Self::DeleteSecurityGroup => WRITE,
            _ => READ,
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

/// Permissions beside those of the actions: what EC2 asks for when a call has tags, or buys spot.
pub const PERMISSIONS: [(&str, &str); 2] = [
    (
        "ec2:CreateTags",
        "RunInstances, CreateSecurityGroup and CreatePlacementGroup tag what they make",
    ),
    (
        "iam:CreateServiceLinkedRole",
        "the first spot machine of an account, and only for spot.amazonaws.com",
    ),
];

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
        }
    }
}
