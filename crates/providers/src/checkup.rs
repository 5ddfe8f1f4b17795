//! What `doctor` asks of a provider: whether launches can succeed, found out without launching.
//!
//! Invariant: nothing is changed and nothing costs money. Each provider says in [`Finding`]s what it
//! found, the good too: who reads it wants to know what was looked at. Deliberately absent: what is the
//! same for all providers (`pcluster_checkup`).
use pcluster_api::{Finding, Topic};
use pcluster_model::config::{Config, Pool, ProviderKind};

/// What a provider is asked to look at.
pub struct Asked<'a> {
    pub config: &'a Config,
    /// Try what takes its time (a machine that is booted) also where the answer is known.
    pub thorough: bool,
    /// Hears what takes its time, before it begins.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

impl Asked<'_> {
    /// The pools of this provider.
    pub fn pools<'a>(&'a self, kind: &'a ProviderKind) -> impl Iterator<Item = &'a Pool> + Clone {
        self.config.pools.iter().filter(move |pool| pool.provider == *kind)
    }
}

/// The words of an error: what is wrong, and its `hint:` lines apart.
#[must_use]
pub fn attention(topic: Topic, words: &str) -> Finding {
    let mut lines = words.lines();
    let mut finding = Finding::attention(topic, lines.next().unwrap_or_default());
    for line in lines {
        match line.trim().strip_prefix("hint: ") {
            Some(hint) => finding.hints.push(hint.to_owned()),
            None if finding.why.is_empty() => finding.why = line.trim().to_owned(),
            None => finding.why = format!("{} {}", finding.why, line.trim()),
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_an_error_are_those_of_the_finding() {
        let found = attention(Topic::Image, "there is no image x\nit was removed\nhint: build it");
        assert_eq!(found.what, "there is no image x");
        assert_eq!(
            (found.why.as_str(), found.hints.as_slice()),
            ("it was removed", &["build it".to_owned()][..])
        );
    }
}
