//! Calls with their failures as the head's classes.
//!
//! Invariant: a caller makes only the calls that its policy has (`Action::is_of`).
use super::classes::{classify, is_server};
use crate::provider::{ErrorClass, ProviderError, now};
use pcluster_ec2::{Action, Caller, Client, Element, Failure, Params};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Who runs `up` or `down` waits so long before the same call is made again, and begins none later than `WITHIN`.
const PAUSES_MS: [u64; 5] = [300, 700, 1500, 3000, 6000];
const WITHIN: Duration = Duration::from_secs(60);

/// The API of one region; `Err` inside: the environment's settings are of no use, which every call says.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Result<Client, String>,
    region: String,
    caller: Caller,
}

impl Api {
    /// A running head's: a call is made once, and core decides when it is made again.
    pub fn new(region: &str, environment: Option<BTreeMap<String, String>>) -> Self {
        let settings = pcluster_ec2::Settings { region: region.to_owned(), environment };
        Self { client: Client::new(settings), region: region.to_owned(), caller: Caller::Head }
    }

    /// Of who makes and removes a head's machine. There is nobody who would ask later: a call of which nobody
    /// knows whether it was done, or that came too often, is made again; all of them may be.
    pub fn of_place(region: &str, environment: Option<BTreeMap<String, String>>) -> Self {
        Self { caller: Caller::Place, ..Self::new(region, environment) }
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// As EC2 says it.
    pub async fn ask(&self, action: Action, params: &Params) -> Result<Element, Failure> {
        let client = self.client(action).map_err(Failure::NoCredentials)?;
        let mut turns = Turns::of(self.caller);
        loop {
            match client.call(action, params).await {
                Err(failure) if turns.is_another(action, &failure).await => {}
                answer => return answer,
            }
        }
    }

    pub async fn call(&self, action: Action, params: &Params) -> Result<Element, ProviderError> {
        self.ask(action, params).await.map_err(|failure| self.told(action, &failure))
    }

    pub async fn pages(
        &self,
        action: Action,
        params: &Params,
    ) -> Result<Vec<Element>, ProviderError> {
        let client = self.client(action);
        let client = client.map_err(|why| ProviderError::new(ErrorClass::BadConfig, why))?;
        let mut turns = Turns::of(self.caller);
        loop {
            match client.pages(action, params).await {
                Err(failure) if turns.is_another(action, &failure).await => {}
                Err(failure) => return Err(self.told(action, &failure)),
                Ok(pages) => return Ok(pages),
            }
        }
    }

    fn client(&self, action: Action) -> Result<&Client, String> {
        debug_assert!(
            action.is_of(self.caller),
            "{action:?} is not in the policy of {:?}",
            self.caller
        );
        self.client.as_ref().map_err(Clone::clone)
    }

    pub fn told(&self, action: Action, failure: &Failure) -> ProviderError {
        let rest_ms = self.client.as_ref().map_or(0, |client| client.rest_ms(action));
        classify((action, self.caller), failure, now(), rest_ms)
    }
}

/// When the same call is made again.
struct Turns {
    began: Instant,
    pauses: &'static [u64],
}

impl Turns {
    fn of(caller: Caller) -> Self {
        let pauses: &[u64] = if caller == Caller::Place { &PAUSES_MS } else { &[] };
        Self { began: Instant::now(), pauses }
    }

    /// Waits for the next turn; false where there is none.
    async fn is_another(&mut self, action: Action, failure: &Failure) -> bool {
        let Some((pause, rest)) = self.pauses.split_first() else { return false };
        if !is_worth_another(action, failure) || self.began.elapsed() >= WITHIN {
            return false;
        }
        self.pauses = rest;
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        true
    }
}

/// The same call may fare better in a moment.
fn is_worth_another(action: Action, failure: &Failure) -> bool {
    match failure {
        Failure::Lost(_) | Failure::TooOften { .. } => true,
        Failure::NoCredentials(_) => false,
        Failure::Said { status, code, .. } => {
            let made_just_now = code == "InvalidGroup.NotFound"
                && matches!(
                    action,
                    Action::AuthorizeSecurityGroupEgress
                        | Action::AuthorizeSecurityGroupIngress
                        | Action::RunInstances
                );
            failure.is_throttling() || is_server(*status, code) || made_just_now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_done_again_and_a_no_is_a_no() {
        let said = |status, code: &str| Failure::Said {
            status,
            code: code.into(),
            message: String::new(),
        };
        let again = |failure: &Failure| is_worth_another(Action::RunInstances, failure);
        assert!(again(&Failure::Lost("torn".into())) && again(&said(500, "InternalError")));
        assert!(
            again(&said(503, "RequestLimitExceeded")) && again(&said(400, "InvalidGroup.NotFound"))
        );
        assert!(!again(&said(500, "InsufficientInstanceCapacity")));
        assert!(
            !again(&said(403, "UnauthorizedOperation"))
                && !again(&said(400, "InvalidAMIID.NotFound"))
        );
        assert!(!is_worth_another(
            Action::DeleteSecurityGroup,
            &said(400, "InvalidGroup.NotFound")
        ));
    }
}
