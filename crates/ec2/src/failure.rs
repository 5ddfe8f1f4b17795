//! How a call failed, in EC2's own words.
use crate::xml::Element;

/// A call without a good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// EC2 said no.
    #[error("{message} ({code})")]
    Said { status: u16, code: String, message: String },
    /// Whether EC2 did it, nobody knows.
    #[error("{0}")]
    Lost(String),
    /// Not asked at all: too often for the account.
    #[error("calls of {action} are used up for {wait_ms} ms")]
    TooOften { action: &'static str, wait_ms: u64 },
    /// Not asked at all: nothing to sign with.
    #[error("{0}")]
    NoCredentials(String),
}

impl Failure {
    /// The code of EC2's answer.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Said { code, .. } => code,
            Self::Lost(_) | Self::TooOften { .. } | Self::NoCredentials(_) => "",
        }
    }

    /// True where EC2 asks to be called less often.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        matches!(
            self.code(),
            "RequestLimitExceeded"
                | "Throttling"
                | "ThrottlingException"
                | "RequestThrottled"
                | "TooManyRequestsException"
                | "SlowDown"
                | "EC2ThrottledException"
        ) || matches!(self, Self::TooOften { .. })
    }

    /// From a reply that is no success.
    pub(crate) fn of_reply(status: u16, body: &[u8]) -> Self {
        let tree = Element::parse(body);
        let error = tree.as_ref().ok().and_then(|reply| {
            // EC2: Response/Errors/Error; others: ErrorResponse/Error.
            reply.child("Errors").unwrap_or(reply).child("Error")
        });
        let text = |name| error.and_then(|error| error.text_at(name)).map(str::to_owned);
        match (text("Code"), text("Message")) {
            (Some(code), message) => {
                Self::Said { status, code, message: message.unwrap_or_default() }
            }
            (None, _) => {
                let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
                let words = start.split_whitespace().collect::<Vec<_>>().join(" ");
                Self::Lost(format!(
                    "EC2 answers {status} and says nothing that is understood: {words}"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_say_why() {
        let ec2 =
            b"<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidAMIID.NotFound</Code>\
            <Message>The image id '[ami-1]' does not exist</Message></Error></Errors></Response>";
        let failure = Failure::of_reply(400, ec2);
        assert_eq!(
            failure.to_string(),
            "The image id '[ami-1]' does not exist (InvalidAMIID.NotFound)"
        );
        let other =
            b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message>\
            </Error></ErrorResponse>";
        assert!(Failure::of_reply(400, other).is_throttling());
        let odd = Failure::of_reply(502, b"<html>\n Bad   gateway");
        assert_eq!(
            odd,
            Failure::Lost(
                "EC2 answers 502 and says nothing that is understood: <html> Bad gateway".into()
            )
        );
    }
}
