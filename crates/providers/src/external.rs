//! Provider `external`: a program of somebody else's, called once for each verb.
//!
//! Invariant: a call never takes longer than its timeout or more memory than its bounds, whatever the
//! program does, and leaves no process of its own group behind. An answer that is not understood is a
//! failed call: nothing is concluded from it. Deliberately absent: knowledge of any cloud.
//!
//! The protocol is `docs/providers.md`; [`message`] are its words.
mod call;
pub mod message;
#[cfg(test)]
mod tests;
pub mod trial;

use crate::checkup::{self, Asked};
use crate::provider::{
    ErrorClass, LaunchAnswer, LaunchOrder, Launched, Listed, Offering, Phase, Provider,
    ProviderError, Target,
};
use async_trait::async_trait;
use message::{Answer, LaunchEntry, Request, Verb};
use pcluster_api::{Finding, Topic};
use pcluster_model::config::{External, ProviderKind};
use pcluster_model::{ClusterId, InstanceRef, Shape};
use std::path::PathBuf;
use std::time::Duration;

/// What it works with.
#[derive(Debug, Clone)]
pub struct ExternalSettings {
    pub external: External,
    pub cluster: ClusterId,
    /// The agent of this version, for programs that run it on this machine or copy it.
    pub agent_binary: PathBuf,
    /// Shapes of the pools that use it.
    pub shapes: Vec<Shape>,
}

/// The provider.
#[derive(Debug)]
pub struct ExternalProvider {
    settings: ExternalSettings,
}

impl ExternalProvider {
    #[must_use]
    pub fn new(settings: ExternalSettings) -> Self {
        Self { settings }
    }

    async fn call(&self, verb: Verb<'_>) -> Result<Answer, ProviderError> {
        let External { command, timeout_ms, .. } = &self.settings.external;
        let name = verb.name();
        let request = Request {
            version: message::VERSION,
            cluster: &self.settings.cluster,
            agent: &self.settings.agent_binary,
            verb,
        };
        let text =
            serde_json::to_vec(&request).map_err(|error| failed(name, &error.to_string()))?;
        let said = call::run(command, name, text, Duration::from_millis(timeout_ms.0)).await?;
        let answer: Answer = serde_json::from_slice(&said)
            .map_err(|error| failed(name, &format!("its answer is not understood: {error}")))?;
        match answer.error {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }
}

fn failed(verb: &str, why: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Unknown, format!("{verb}: {why}"))
}

/// The answer to one index, which the program may have forgotten.
fn answered(entries: &[LaunchEntry], index: u32) -> LaunchAnswer {
    let Some(entry) = entries.iter().find(|entry| entry.index == index) else {
        return Err(failed("launch", &format!("no answer for machine {index}")));
    };
    match (&entry.instance, &entry.error, entry.launched_at) {
        (Some(instance), None, Some(launched_at)) => {
            Ok(Launched { index, instance: instance.clone(), launched_at, address: None })
        }
        (_, Some(error), _) => Err(error.clone().into()),
        _ => Err(failed("launch", &format!("machine {index} has no instance or no launched_at"))),
    }
}

#[async_trait]
impl Provider for ExternalProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::External(self.settings.external.name.clone())
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        let answer = self.call(Verb::Launch(order.into())).await?;
        let Some(entries) = answer.launched else {
            return Err(failed("launch", "its answer has no `launched`"));
        };
        Ok((0..order.count).map(|index| answered(&entries, index)).collect())
    }

    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        let mut instances = Vec::new();
        let mut launches = Vec::new();
        for target in targets {
            match target {
                Target::Instance(instance) => instances.push(instance),
                Target::Launch(launch) => launches.push(*launch),
            }
        }
        self.call(Verb::Terminate { instances, launches }).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let answer = self.call(Verb::List {}).await?;
        answer.machines.ok_or_else(|| failed("list", "its answer has no `machines`"))
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        let answer = self.call(Verb::Shapes {}).await?;
        let Some(names) = answer.shapes else {
            return Err(failed("shapes", "its answer has no `shapes`"));
        };
        let shapes = self.settings.shapes.iter();
        let offered = shapes.filter(|shape| names.is_empty() || names.contains(&shape.name));
        let offering = |shape: &Shape, spot: bool, price| Offering {
            shape: shape.clone(),
            zone: String::new(),
            subnet: String::new(),
            spot,
            price,
        };
        let prices = &answer.spot_prices;
        let both = offered.flat_map(|shape| {
            let spot = prices.get(&shape.name).map(|price| offering(shape, true, Some(*price)));
            [Some(offering(shape, false, shape.price)), spot]
        });
        Ok(both.flatten().collect())
    }

    async fn console(&self, instance: &InstanceRef) -> Result<String, ProviderError> {
        Ok(self.call(Verb::Console { instance }).await?.console.unwrap_or_default())
    }

    async fn checkup(&self, _asked: &Asked<'_>) -> Vec<Finding> {
        let External { name, command, .. } = &self.settings.external;
        let program = command.first().map_or("", String::as_str);
        let found = match self.list().await {
            Ok(machines) => {
                let living = machines.iter().filter(|one| one.phase != Phase::Ended).count();
                let what = format!("{name}: {program} answers, and lists {living} machines");
                Finding::ok(Topic::Provider, what)
            }
            Err(error) => {
                let why = format!("{name}: its machines cannot be listed by {program}");
                let found = checkup::attention(Topic::Provider, &error.message).why(why);
                found.hint(format!("pcluster provider test {}", command.join(" ")))
            }
        };
        vec![found]
    }

    fn consistency_window_ms(&self) -> u64 {
        self.settings.external.consistency_ms.0
    }
}
