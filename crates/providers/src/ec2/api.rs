//! Calls with their failures as the head's classes.
use super::classes::classify;
use crate::provider::{ErrorClass, ProviderError, now};
use pcluster_ec2::{Action, Client, Element, Failure, Params};
use std::collections::BTreeMap;

/// The API of one region; `Err` inside: the environment's settings are of no use, which every call says.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Result<Client, String>,
    region: String,
}

impl Api {
    pub fn new(region: &str, environment: Option<BTreeMap<String, String>>) -> Self {
        let settings = pcluster_ec2::Settings { region: region.to_owned(), environment };
        Self { client: Client::new(settings), region: region.to_owned() }
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// As EC2 says it.
    pub async fn ask(&self, action: Action, params: &Params) -> Result<Element, Failure> {
        match &self.client {
            Ok(client) => client.call(action, params).await,
            Err(why) => Err(Failure::NoCredentials(why.clone())),
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
        match &self.client {
            Ok(client) => {
                let pages = client.pages(action, params).await;
                pages.map_err(|failure| self.told(action, &failure))
            }
            Err(why) => Err(ProviderError::new(ErrorClass::BadConfig, why.clone())),
        }
    }

    pub fn told(&self, action: Action, failure: &Failure) -> ProviderError {
        let rest_ms = self.client.as_ref().map_or(0, |client| client.rest_ms(action));
        classify(action, failure, now(), rest_ms)
    }
}
