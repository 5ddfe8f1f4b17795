//! Calls that nodes and the head's machine have in common: lists, ends, consoles.
use super::api::Api;
use super::machines::is_id;
use crate::provider::{ErrorClass, ProviderError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pcluster_ec2::{Action, Element, Params};
use pcluster_model::InstanceRef;

/// A call ends at most so many machines.
const TERMINATE_AT_ONCE: usize = 500;
/// How often a call is made again without machines that EC2 does not know.
const UNKNOWN_ROUNDS: usize = 20;
const CONSOLE_BYTES: usize = 64 << 10;

/// All pages of a list of instances.
pub(super) async fn instances(api: &Api, params: &Params) -> Result<Vec<Element>, ProviderError> {
    api.pages(Action::DescribeInstances, &params.clone().with("MaxResults", "1000")).await
}

/// Ends machines by their ids; those that EC2 does not know are gone already.
pub(super) async fn end_all(api: &Api, ids: Vec<String>) -> Result<(), ProviderError> {
    for some in ids.chunks(TERMINATE_AT_ONCE) {
        end(api, some.to_vec()).await?;
    }
    Ok(())
}

async fn end(api: &Api, mut ids: Vec<String>) -> Result<(), ProviderError> {
    for _ in 0..UNKNOWN_ROUNDS {
        if ids.is_empty() {
            return Ok(());
        }
        let params = Params::new().list("InstanceId", &ids);
        let Err(failure) = api.ask(Action::TerminateInstances, &params).await else {
            return Ok(());
        };
        if !failure.code().starts_with("InvalidInstanceID") {
            return Err(api.told(Action::TerminateInstances, &failure));
        }
        let words = failure.to_string();
        let before = ids.len();
        ids.retain(|id| !words.contains(id.as_str()));
        if ids.len() == before {
            return Err(api.told(Action::TerminateInstances, &failure));
        }
    }
    Err(ProviderError::new(
        ErrorClass::Unknown,
        "TerminateInstances: EC2 names ever more unknown machines",
    ))
}

/// The newest of what a machine said on its console; nothing of one that EC2 does not know.
pub(super) async fn console(api: &Api, instance: &InstanceRef) -> Result<String, ProviderError> {
    if !is_id(instance.as_str()) {
        return Ok(String::new());
    }
    let params = Params::new().with("InstanceId", instance.as_str());
    let action = Action::GetConsoleOutput;
    let reply = match api.ask(action, &params.clone().with("Latest", "true")).await {
        // Types before Nitro keep only what was said at the last start or stop.
        Err(failure) if failure.code().starts_with("Unsupported") => {
            api.call(action, &params).await?
        }
        Err(failure) if failure.code().starts_with("InvalidInstanceID") => Element::default(),
        Err(failure) => return Err(api.told(action, &failure)),
        Ok(reply) => reply,
    };
    let text: String = reply.text_at("output").unwrap_or_default().split_whitespace().collect();
    let bytes = BASE64.decode(text).map_err(|error| {
        ProviderError::new(ErrorClass::Unknown, format!("GetConsoleOutput: {error}"))
    })?;
    Ok(String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..]).into_owned())
}
