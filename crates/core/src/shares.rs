//! Shared paths, as nodes prove them.
//!
//! Invariant: nothing is placed on a node one of whose shared paths is bad or not proved yet. What an
//! agent says of them is volatile, as its connection is: running jobs go on, and a path that is well
//! again brings the node back. Every shared path but `/` is proved, whoever provides the node: `/` is
//! what nodes that are processes of the head's machine see anyway.
use crate::Cluster;
use crate::node::Node;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::{NodeId, PoolName};

/// How a node stands to its shared paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shares {
    /// There are none, or all are as they should be.
    Well,
    /// The first that its agent has said nothing of yet.
    Unproved { path: String },
    /// The first that is bad, and what is wrong: `is read-only`.
    Bad { path: String, trouble: String },
}

impl Shares {
    /// What is wrong, as a sentence: `/shared is read-only`.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Bad { path, trouble } => Some(format!("{path} {trouble}")),
            Self::Well | Self::Unproved { .. } => None,
        }
    }
}

/// The shared paths that nodes of this pool prove.
pub fn proved_paths(pool: &Pool) -> impl Iterator<Item = &str> {
    pool.shares.iter().map(|share| share.path.as_str()).filter(|path| *path != "/")
}

impl Cluster {
    /// The paths that a node of this pool is asked to prove.
    pub(crate) fn asked_shares(&self, pool: &PoolName) -> Vec<String> {
        self.pool(pool).map_or_else(Vec::new, |pool| proved_paths(pool).map(String::from).collect())
    }

    /// How a node stands to the paths that it was asked to prove.
    #[must_use]
    pub fn shares_of(&self, node: NodeId) -> Shares {
        let Some(link) = self.volatile.links.get(&node) else { return Shares::Well };
        let mut found = Shares::Well;
        for path in &link.asked_shares {
            match link.shares.iter().find(|proof| proof.path == *path) {
                None if found == Shares::Well => {
                    found = Shares::Unproved { path: path.clone() };
                }
                None => {}
                Some(proof) => {
                    if let Some(trouble) = &proof.trouble {
                        return Shares::Bad { path: path.clone(), trouble: trouble.clone() };
                    }
                }
            }
        }
        found
    }

    /// A job that is placed there now starts there now: its agent is heard and its shared paths are
    /// well.
    #[must_use]
    pub fn takes_jobs(&self, node: &Node) -> bool {
        node.is_ready() && self.is_connected(node.id) && self.shares_of(node.id) == Shares::Well
    }

    /// What is wrong with a shared path of a node that would take jobs without that.
    #[must_use]
    pub fn share_trouble(&self, node: &Node) -> Option<String> {
        let counts = node.is_ready() && self.is_connected(node.id);
        counts.then(|| self.shares_of(node.id).trouble()).flatten()
    }
}
