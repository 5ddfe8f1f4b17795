//! What `#PCLUSTER` lines say and Slurm cannot: budget, spot, image, and dependencies in plain
//! words.
//!
//! Invariant: money and promises are kept or refused, never dropped. Deliberately absent: options
//! that both faces have by the same names (`spec`).
use super::spec::Here;
use crate::options::Words;
use crate::refusal::Refusal;
use pcluster_client::failure::Failure;
use pcluster_client::submit::words;
use pcluster_model::{DependencyKind, JobSpec};

/// Puts it into the specification.
pub(super) fn apply(words: &Words, here: &Here<'_>, spec: &mut JobSpec) -> Result<(), Refusal> {
    let refused = |name: &str, failure: &Failure| {
        let text = format!("#PCLUSTER --{name} cannot be done");
        Refusal::error(here.command, text, 1).because(failure)
    };
    if let Some(text) = words.value("max-cost") {
        spec.max_cost =
            Some(words::money("--max-cost", text).map_err(|f| refused("max-cost", &f))?);
    }
    if let Some(text) = words.value("spot") {
        spec.spot = words::spot(text).map_err(|f| refused("spot", &f))?;
    }
    if let Some(name) = words.value("image") {
        spec.image = Some(name.to_owned());
    }
    let kinds = [
        ("after", DependencyKind::AfterAny),
        ("after-ok", DependencyKind::AfterOk),
        ("after-notok", DependencyKind::AfterNotOk),
        ("after-start", DependencyKind::After),
    ];
    for (name, kind) in kinds {
        let texts = words.said.iter().filter(|said| said.option.name == name);
        let texts: Vec<String> = texts.filter_map(|said| said.value.clone()).collect();
        let option = format!("--{name}");
        let more = words::after(&option, kind, &texts).map_err(|f| refused(name, &f))?;
        spec.dependencies.extend(more);
    }
    Ok(())
}
