//! What an account has of a cluster whose head lives on a machine made for it: what the head's program tells
//! `pcluster up` and `down` when it has looked or worked there.
use serde::{Deserialize, Serialize};

/// The machine of a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadMachineView {
    /// The provider's id of it.
    pub instance: String,
    /// Where it is reached from outside.
    pub address: String,
    /// Its SSH host key as its console says it, in OpenSSH's form; nothing once the console has forgotten.
    pub host_key: Option<String>,
    /// The volume with the state and the shared folders.
    pub volume: String,
    pub zone: String,
}

/// A volume of a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadVolumeView {
    pub volume: String,
    pub bytes: u64,
    pub zone: String,
}

/// What is there of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeadThereView {
    /// The head's machine, if one lives.
    pub instance: Option<String>,
    pub volume: Option<HeadVolumeView>,
    /// Machines beside the head's that live.
    pub nodes: u32,
    /// Heads of other clusters of this name in the account: their machines.
    pub namesakes: Vec<String>,
}

/// The end of a head's machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeadRemovedView {
    /// What went and what stays, a line each.
    pub lines: Vec<String>,
    /// The volume that stays.
    pub volume: Option<HeadVolumeView>,
}
