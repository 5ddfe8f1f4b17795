//! From EC2's codes to the classes that core acts on, with words for people.
//!
//! Invariant: a code that is not known here is `Unknown`, which only waits. Deliberately absent: what is done
//! about a class. Codes: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
use crate::provider::{ErrorClass, ProviderError};
use pcluster_ec2::{Action, Caller, Failure, PASS_ROLE, permission_of};
use pcluster_model::Timestamp;

/// What nobody has, now or at this price.
const NO_CAPACITY: [&str; 9] = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacityOnOutpost",
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
];
/// What the account may not have at the moment.
const QUOTA: [&str; 8] = [
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "VolumeLimitExceeded",
    "MaxIOPSLimitExceeded",
    "ResourceCountExceeded",
    "AddressLimitExceeded",
    "NetworkInterfaceLimitExceeded",
];
/// Who asks may not, or is nobody.
const DENIED: [&str; 15] = [
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "Blocked",
    "ExpiredToken",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "PendingVerification",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "IncompleteSignature",
];
/// What this machine type, place or combination never has.
const NEVER_FITS: [&str; 3] = ["Unsupported", "UnsupportedOperation", "InstanceTypeNotSupported"];
/// Families of codes whose cause stands in `cluster.toml` or in the account.
const BAD_CONFIG: [&str; 9] = [
    "Invalid",
    "Missing",
    "Unknown",
    "Malformed",
    "DefaultSubnet",
    "VPCIdNotSpecified",
    "NoDefault",
    "PlacementGroupLimitExceeded",
    "SecurityGroupLimitExceeded",
];

/// The service is at fault, and whether it did what it was asked to, nobody knows.
pub(super) fn is_server(status: u16, code: &str) -> bool {
    let says_no = NO_CAPACITY.contains(&code) || QUOTA.contains(&code);
    let known = ["InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "Server"];
    !says_no && (status >= 500 || known.iter().any(|known| code.starts_with(known)))
}

/// The class of a caller's failed call, and its words.
pub(super) fn classify(
    (action, caller): (Action, Caller),
    failure: &Failure,
    now: Timestamp,
    rest_ms: u64,
) -> ProviderError {
    let told =
        |class, words: String| ProviderError::new(class, format!("{}: {words}", action.name()));
    if failure.is_throttling() {
        let wait = match failure {
            Failure::TooOften { wait_ms, .. } => *wait_ms,
            _ => rest_ms,
        };
        let retry_at =
            Timestamp(now.0.saturating_add(i64::try_from(wait.max(500)).unwrap_or(i64::MAX)));
        let words = format!("EC2 is asked too often: {failure}");
        return told(ErrorClass::RateLimited { retry_at }, words);
    }
    let (status, code, message) = match failure {
        Failure::NoCredentials(words) => return told(ErrorClass::Denied, words.clone()),
        Failure::Lost(words) => return told(ErrorClass::Unknown, words.clone()),
        Failure::TooOften { .. } => return told(ErrorClass::Unknown, failure.to_string()),
        Failure::Said { status, code, message } => (*status, code.as_str(), message.as_str()),
    };
    let words = format!("{} ({code})", plain(message));
    if NO_CAPACITY.contains(&code) {
        return told(ErrorClass::NoCapacity, words);
    }
    if QUOTA.contains(&code) {
        let (limit, used) = quota(code, message);
        return told(ErrorClass::Quota { limit, used }, words);
    }
    if DENIED.contains(&code) {
        return told(
            ErrorClass::Denied,
            format!("{words}; {}", remedy(action, caller, code, message)),
        );
    }
    if NEVER_FITS.contains(&code) {
        return told(ErrorClass::NeverFits, words);
    }
    // The same id again with other words: what it made is found by its tags, later.
    if is_server(status, code)
        || code.starts_with("Idempotent")
        || code.starts_with("InvalidInstanceID")
    {
        return told(ErrorClass::Unknown, words);
    }
    if BAD_CONFIG.iter().any(|family| code.starts_with(family)) {
        return told(ErrorClass::BadConfig, words);
    }
    told(ErrorClass::Unknown, words)
}

/// Of a message, in letters: some name all that there might have been instead.
const MOST: usize = 400;

/// Without the part that only EC2 can read, and without a tail that nobody reads.
fn plain(message: &str) -> String {
    let (start, _) =
        message.split_once("Encoded authorization failure message").unwrap_or((message, ""));
    let start = start.trim().trim_end_matches('.');
    match start.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &start[..end]),
        None => start.to_owned(),
    }
}

/// What helps somebody who may not.
fn remedy(action: Action, caller: Caller, code: &str, message: &str) -> String {
    match code {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            let needed = if message.contains(PASS_ROLE.name) { PASS_ROLE.name.to_owned() } else { permission_of(action) };
            match caller {
                Caller::Head => format!("the head's role or user needs {needed} (docs/ec2.md has the whole policy)"),
                Caller::Place => format!("who runs this needs {needed} (`pcluster provider policy --place` writes the whole policy)"),
            }
        }
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => {
            "the account has never had spot machines: aws iam create-service-linked-role --aws-service-name \
             spot.amazonaws.com"
                .to_owned()
        }
        "ExpiredToken" | "RequestExpired" => {
            "the credentials have ended, or this machine's clock is wrong".to_owned()
        }
        "OptInRequired" | "PendingVerification" | "Blocked" => {
            "the account must be cleared for this region or service first".to_owned()
        }
        _ => "EC2 does not know these credentials: check AWS_PROFILE, ~/.aws or the machine's role".to_owned(),
    }
}

/// The limit by its name, and what EC2 says of its use.
fn quota(code: &str, message: &str) -> (String, String) {
    let name = match code {
        "VcpuLimitExceeded" => "vCPUs of this family on demand",
        "MaxSpotInstanceCountExceeded" => "vCPUs of this family on spot",
        "InstanceLimitExceeded" => "instances of this type",
        "VolumeLimitExceeded" => "storage of volumes",
        other => other,
    };
    // "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket …"
    let number = |after: &str| {
        let rest = message.split_once(after)?.1.trim_start();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    let limit = number("limit of").or_else(|| number("quota of")).or_else(|| number("limit ("));
    let used = number("requested more instances (").or_else(|| number("currently using"));
    let limit = limit.map_or_else(|| name.to_owned(), |most| format!("{most} {name}"));
    (limit, used.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(action: Action, status: u16, code: &str, message: &str) -> ErrorClass {
        let failure = Failure::Said { status, code: code.into(), message: message.into() };
        classify((action, Caller::Head), &failure, Timestamp(1_000_000), 2_000).class
    }

    #[test]
    fn words_without_end_are_cut() {
        assert_eq!(plain("No such type. "), "No such type");
        let long = plain(&"é, ".repeat(1000));
        assert!(long.ends_with('…') && long.chars().count() == MOST + 2, "{long}");
    }

    #[test]
    fn codes_have_their_classes() {
        let run = |code| class(Action::RunInstances, 400, code, "words");
        for code in NO_CAPACITY {
            assert_eq!(run(code), ErrorClass::NoCapacity, "{code}");
        }
        for code in DENIED {
            assert_eq!(run(code), ErrorClass::Denied, "{code}");
        }
        for code in NEVER_FITS {
            assert_eq!(run(code), ErrorClass::NeverFits, "{code}");
        }
        for code in [
            "InvalidAMIID.NotFound",
            "InvalidAMIID.Malformed",
            "InvalidAMIID.Unavailable",
            "InvalidSubnetID.NotFound",
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "InvalidGroup.NotFound",
            "InvalidBlockDeviceMapping",
            "MissingParameter",
            "UnknownParameter",
            "VPCIdNotSpecified",
            "InvalidCapacityReservationId.NotFound",
        ] {
            assert_eq!(run(code), ErrorClass::BadConfig, "{code}");
        }
        for code in [
            "InternalError",
            "ServiceUnavailable",
            "Server.InternalError",
            "IdempotentParameterMismatch",
            "SomethingNew",
            "InvalidInstanceID.NotFound",
        ] {
            assert_eq!(run(code), ErrorClass::Unknown, "{code}");
        }
        assert_eq!(class(Action::RunInstances, 503, "InvalidWhatever", ""), ErrorClass::Unknown);
        // EC2 says that there is no capacity with the status of a broken server.
        assert_eq!(
            class(Action::RunInstances, 500, "InsufficientInstanceCapacity", ""),
            ErrorClass::NoCapacity
        );
        for code in ["RequestLimitExceeded", "Throttling"] {
            let retry_at = Timestamp(1_002_000);
            assert_eq!(run(code), ErrorClass::RateLimited { retry_at }, "{code}");
        }
        let own = Failure::TooOften { action: "RunInstances", wait_ms: 700 };
        let own = classify((Action::RunInstances, Caller::Head), &own, Timestamp(0), 0);
        assert_eq!(own.class, ErrorClass::RateLimited { retry_at: Timestamp(700) });
    }

    #[test]
    fn a_quota_names_limit_and_use() {
        let message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the \
                       instance bucket that the specified instance type belongs to.";
        assert_eq!(
            class(Action::RunInstances, 400, "VcpuLimitExceeded", message),
            ErrorClass::Quota {
                limit: "32 vCPUs of this family on demand".into(),
                used: String::new()
            }
        );
        let message =
            "You have requested more instances (41) than your current instance limit of 40 allows";
        assert_eq!(
            class(Action::RunInstances, 400, "InstanceLimitExceeded", message),
            ErrorClass::Quota { limit: "40 instances of this type".into(), used: "41".into() }
        );
        assert_eq!(
            class(
                Action::RunInstances,
                400,
                "MaxSpotInstanceCountExceeded",
                "Max spot instance count exceeded"
            ),
            ErrorClass::Quota { limit: "vCPUs of this family on spot".into(), used: String::new() }
        );
    }

    #[test]
    fn who_may_not_is_told_what_is_missing() {
        let failure = Failure::Said {
            status: 403,
            code: "UnauthorizedOperation".into(),
            message: "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized \
                      to perform: ec2:RunInstances. Encoded authorization failure message: 6fUOw3Zz"
                .into(),
        };
        let head = (Action::RunInstances, Caller::Head);
        let told = classify(head, &failure, Timestamp(0), 0).message;
        assert!(!told.contains("6fUOw"), "{told}");
        assert!(told.starts_with("RunInstances: You are not authorized"), "{told}");
        assert!(
            told.ends_with("needs ec2:RunInstances (docs/ec2.md has the whole policy)"),
            "{told}"
        );
        let role = Failure::Said {
            status: 403,
            code: "UnauthorizedOperation".into(),
            message: "User: x is not authorized to perform: iam:PassRole on resource: y".into(),
        };
        let place = (Action::RunInstances, Caller::Place);
        let told = classify(place, &role, Timestamp(0), 0).message;
        assert!(told.contains("needs iam:PassRole (`pcluster provider policy --place`"), "{told}");
        let lost = classify(
            (Action::DescribeInstances, Caller::Head),
            &Failure::Lost("h: refused".into()),
            Timestamp(0),
            0,
        );
        assert_eq!(
            (lost.class, lost.message.as_str()),
            (ErrorClass::Unknown, "DescribeInstances: h: refused")
        );
    }
}
