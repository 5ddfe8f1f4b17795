//! The end of what providers made beside machines (a security group), once all machines are gone.
//!
//! Invariant: it is done once, before the cluster is called closed, and in a bounded time; what stays is said.
//! Deliberately absent: what there is (the providers).
use crate::limits;
use pcluster_providers::Provider;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far it is. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cleaned(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotYet,
    Running,
    Over(Vec<String>),
}

impl Cleaned {
    /// Over, with these lines.
    #[must_use]
    pub fn with(lines: Vec<String>) -> Self {
        Self(Arc::new(Mutex::new(State::Over(lines))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for the first who asks.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.lock();
        let first = matches!(*state, State::NotYet);
        if first {
            *state = State::Running;
        }
        first
    }

    /// Asks one provider after the other.
    pub(super) async fn run<'a>(&self, providers: impl Iterator<Item = &'a dyn Provider>) {
        let mut said = Vec::new();
        for provider in providers {
            let kind = provider.kind();
            let words = kind.as_str();
            match tokio::time::timeout(limits::CLEAN_UP_WITHIN, provider.clean_up()).await {
                Ok(Ok(lines)) => said.extend(lines),
                Ok(Err(error)) => {
                    said.push(format!("{words}: what it made may still be there: {error}"))
                }
                Err(_) => said.push(format!("{words}: what it made is not removed in time")),
            }
        }
        said.iter().for_each(|line| tracing::info!(line, "cleaned up"));
        *self.lock() = State::Over(said);
    }

    /// True once nothing more comes of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(*self.lock(), State::Over(_))
    }

    /// What was removed, and what stays and why.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match &*self.lock() {
            State::Over(lines) => lines.clone(),
            State::NotYet | State::Running => Vec::new(),
        }
    }
}
