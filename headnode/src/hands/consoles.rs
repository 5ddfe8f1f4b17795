//! Consoles of machines that live, for people who look.
//!
//! Deliberately absent: consoles of failed boots, which are kept (`bundles`).
use crate::bundles::CONSOLE_HEADING;
use crate::limits;
use pcluster_model::InstanceRef;
use pcluster_model::config::ProviderKind;
use pcluster_providers::Provider;
use std::sync::Arc;

/// The providers that show consoles. Cheap to clone.
#[derive(Clone, Default)]
pub struct Consoles {
    providers: Vec<Arc<dyn Provider>>,
}

impl Consoles {
    /// Those whose machines say more than their agent: a process node's console is its agent's words.
    #[must_use]
    pub fn new(providers: &[Arc<dyn Provider>]) -> Self {
        let speaks = |provider: &&Arc<dyn Provider>| provider.kind() != ProviderKind::Process;
        Self { providers: providers.iter().filter(speaks).cloned().collect() }
    }

    /// The console as lines; nothing where there is none. Of a machine that `lives` it is told why it
    /// cannot be had.
    pub async fn lines(
        &self,
        kind: &ProviderKind,
        instance: &InstanceRef,
        lives: bool,
    ) -> Vec<String> {
        let provider = self.providers.iter().find(|provider| provider.kind() == *kind);
        let Some(provider) = provider else { return Vec::new() };
        let text = match ask(&**provider, instance).await {
            Ok(text) => text,
            Err(_) if !lives => return Vec::new(),
            Err(why) => format!("it cannot be had: {why}"),
        };
        let heading = CONSOLE_HEADING.to_owned();
        std::iter::once(heading).chain(text.lines().map(crate::logs::clean)).collect()
    }
}

/// The console of a machine, or why it cannot be had.
pub(super) async fn ask(provider: &dyn Provider, instance: &InstanceRef) -> Result<String, String> {
    let asked = tokio::time::timeout(limits::CONSOLE_WITHIN, provider.console(instance));
    match asked.await {
        Ok(console) => console.map_err(|error| error.message),
        Err(_) => Err("the provider did not show it in time".to_owned()),
    }
}
