//! Names of nodes: which address each has, told to all nodes, and in the hosts file of this machine.
//!
//! Invariant: an address that two living nodes claim names neither. The list follows the state: it is made
//! anew after every change, and what nodes and file have is brought in line with it. A node that has not
//! been heard since the head started keeps what it was.
use super::Hub;
use crate::app::AppState;
use crate::limits;
use pcluster_core::Cluster;
use pcluster_etc::hosts::{self, Names};
use pcluster_model::ClusterId;
use pcluster_wire::NodeName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What a node says of its address, as far as it is one for others: not where it came through a relay on
/// this machine (a guest behind user-mode networking has an address that only it knows).
#[must_use]
pub(super) fn believed(said: &str, from: IpAddr) -> String {
    let address = said.parse::<IpAddr>().map(|address| address.to_canonical());
    let is_of_many = |address: &IpAddr| {
        address.is_loopback() || address.is_unspecified() || address.is_multicast()
    };
    match address {
        Ok(address) if !is_of_many(&address) && !from.to_canonical().is_loopback() => {
            address.to_string()
        }
        Ok(_) | Err(_) => String::new(),
    }
}

/// The names that living nodes have now; `before` is what they had.
fn list(cluster: &Cluster, before: &Names) -> Names {
    let alive = cluster.nodes.values().filter(|node| node.state.is_alive());
    let claims = alive.filter_map(|node| {
        let link = cluster.volatile.links.get(&node.id);
        let address = match link.and_then(|link| link.facts.as_ref()) {
            Some(facts) => facts.address.parse().ok()?,
            None => before.iter().find(|(_, name)| *name == node.name)?.0,
        };
        Some((address, node.name.clone()))
    });
    single(claims)
}

/// Addresses that one node only claims.
fn single(claims: impl Iterator<Item = (IpAddr, String)>) -> Names {
    let mut by_address: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for (address, name) in claims {
        by_address.entry(address).or_default().push(name);
    }
    let single = by_address.into_iter().filter(|(_, names)| names.len() == 1);
    single.flat_map(|(address, names)| names.into_iter().map(move |name| (address, name))).collect()
}

/// As it is said to nodes.
fn told(names: &Names) -> Vec<NodeName> {
    let one = |(address, name): &(IpAddr, String)| NodeName {
        name: name.clone(),
        address: address.to_string(),
    };
    names.iter().map(one).collect()
}

/// The hosts file of this machine, where the head may write it.
pub(crate) struct HostsFile {
    folder: PathBuf,
    file: String,
    cluster: ClusterId,
}

impl HostsFile {
    /// The one of the configuration; `None` without root, or where it names none.
    pub(crate) fn of(path: Option<&str>, uid: u32, cluster: &ClusterId) -> Option<Self> {
        let path = Path::new(path.filter(|_| uid == 0)?);
        Some(Self {
            folder: path.parent()?.to_path_buf(),
            file: path.file_name()?.to_str()?.to_owned(),
            cluster: cluster.clone(),
        })
    }

    fn names(&self) -> Names {
        hosts::read(&self.folder, &self.file, self.cluster.as_str())
    }

    /// Trouble is said; what cannot be written now is tried again with the next change.
    fn put(&self, names: &Names) {
        let put = hosts::put(&self.folder, &self.file, self.cluster.as_str(), names);
        match put {
            Ok(true) => tracing::info!(names = names.len(), "the hosts file has the nodes' names"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "names of nodes do not resolve on this machine"),
        }
    }

    /// The cluster is down: nothing of it stays.
    pub(crate) fn clear(&self) {
        self.put(&Names::new());
    }
}

/// Follows the state until the head ends.
pub(crate) async fn keep(app: AppState, hub: Hub, file: Option<std::sync::Arc<HostsFile>>) {
    let mut names = file.as_ref().map(|file| file.names()).unwrap_or_default();
    let mut changes = app.changes.clone();
    hub.tell_names(told(&names));
    loop {
        let now = list(&app.mirror.read(), &names);
        if now != names {
            names = now;
            hub.tell_names(told(&names));
            if let Some(file) = file.clone() {
                let names = names.clone();
                // The next list waits for this one.
                drop(tokio::task::spawn_blocking(move || file.put(&names)).await);
            }
        }
        tokio::time::sleep(limits::NAMES_PAUSE).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_two_claim_names_neither() {
        let of = |claims: &[(&str, &str)]| {
            let claims = claims
                .iter()
                .map(|(address, name)| (address.parse::<IpAddr>().unwrap(), (*name).to_owned()));
            told(&single(claims))
        };
        let name =
            |name: &str, address: &str| NodeName { name: name.into(), address: address.into() };
        let three = [("10.0.0.7", "c-1"), ("10.0.0.5", "c-2"), ("10.0.0.7", "c-3")];
        assert_eq!(of(&three), [name("c-2", "10.0.0.5")]);
        assert_eq!(of(&three[..2]), [name("c-2", "10.0.0.5"), name("c-1", "10.0.0.7")]);
    }

    #[test]
    fn an_address_behind_a_relay_or_of_every_machine_is_none() {
        let lan: IpAddr = "10.0.0.5".parse().unwrap();
        assert_eq!(believed("10.0.0.5", lan), "10.0.0.5");
        assert_eq!(believed("::ffff:10.0.0.5", lan), "10.0.0.5");
        assert_eq!(believed("fd00::5", "fd00::5".parse().unwrap()), "fd00::5");
        // Its packets come from elsewhere, which is usual between networks of one site.
        assert_eq!(believed("172.31.0.9", lan), "172.31.0.9");
        for none in ["127.0.0.1", "::1", "0.0.0.0", "", "compute-1", "224.0.0.1"] {
            assert_eq!(believed(none, lan), "", "{none}");
        }
        let relay: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(believed("10.0.2.15", relay), "");
    }
}
