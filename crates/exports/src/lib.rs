//! Folders of the head's machine that nodes on other machines mount: exported by the kernel's NFS server, to the
//! addresses of living nodes and to nobody else.
//!
//! Invariant: what is exported follows from what is wanted and from one file of this cluster's own
//! ([`file`]), which is replaced as a whole and read again after a restart; nobody else's export is
//! written. An address leaves only when its machine is gone for good: a list that lacks it for a while takes no
//! node's home away. Deliberately absent: which machines live (the cluster's state), the security group, and
//! an NFS server of our own.
pub mod file;
mod keep;
mod server;

pub use keep::{Exports, Wanted, clear, keep};
pub use server::{System, Trouble, lacks};

use pcluster_core::{Cluster, Node};
use pcluster_model::config::{Config, Pool, ProviderKind};
use std::collections::BTreeSet;

/// The folders that any pool's nodes mount.
#[must_use]
pub fn paths(config: &Config) -> BTreeSet<String> {
    config.pools.iter().flat_map(Pool::folders_of_head).map(str::to_owned).collect()
}

/// Why a head must not start here with this file, and what helps: none of its nodes would ever be ready.
#[must_use]
pub fn refused(config: &Config) -> Option<(String, String)> {
    let paths: Vec<String> = paths(config).into_iter().collect();
    let Trouble { what, help } = lacks().filter(|_| !paths.is_empty())?;
    let what = format!("nodes in EC2 mount {} from the head, and {what}", paths.join(" and "));
    let other = "or storage = { from = \"nfs:HOST:/PATH\", home = \"local\" }";
    Some((what, format!("{help}    {other}")))
}

/// What a cluster wants exported now.
#[must_use]
pub fn wanted(cluster: &Cluster) -> Wanted {
    let in_ec2 =
        |node: &&Node| node.state.is_alive() && node.provider.as_ref() == Some(&ProviderKind::Ec2);
    let nodes = cluster.nodes.values().filter(in_ec2);
    Wanted {
        paths: cluster.config().map(paths).unwrap_or_default(),
        nodes: nodes.filter_map(|node| node.instance.clone()).collect(),
    }
}
