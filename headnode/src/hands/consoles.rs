//! Consoles of machines that live, for people who look.
//!
//! Deliberately absent: consoles of failed boots, which are kept (`bundles`).
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
        let asked = tokio::time::timeout(limits::CONSOLE_WITHIN, provider.console(instance));
        let text = match asked.await {
            Ok(Ok(text)) => text,
            _ if !lives => return Vec::new(),
            Ok(Err(error)) => format!("it cannot be had: {error}"),
            Err(_) => "the provider does not show it in time".to_owned(),
        };
        let heading = "--- the console of its machine".to_owned();
        std::iter::once(heading).chain(text.lines().map(crate::logs::clean)).collect()
    }
}
