//! States of nodes.
//!
//! Invariant: a node that could be started, or is starting, counts as idle: clients take any other
//! word for "not to be had". Deliberately absent: power states that mean nothing to whom only wants
//! to run jobs.
use pcluster_api::PoolNode;

/// A state of a node in the order in which `sinfo` sorts, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// It does not answer.
    Down,
    Idle,
    /// On its way up; jobs may be meant for it.
    Starting,
    /// On its way down.
    Stopping,
    Allocated,
    Mixed,
    Drained,
    Draining,
}

impl NodeState {
    /// The state of a node.
    #[must_use]
    pub fn of(node: &PoolNode) -> Self {
        let busy = node.cpus_used > 0;
        match node.state.as_str() {
            "lost" => Self::Down,
            "draining" if busy => Self::Draining,
            "draining" => Self::Drained,
            "stopping" => Self::Stopping,
            _ if busy && node.cpus_used >= node.cpus => Self::Allocated,
            "busy" => Self::Mixed,
            _ if busy => Self::Mixed,
            "wanted" | "booting" => Self::Starting,
            _ => Self::Idle,
        }
    }

    /// `idle`, `mix`, `alloc`: for `%t`.
    #[must_use]
    pub const fn compact(self) -> &'static str {
        match self {
            Self::Down => "down*",
            Self::Idle => "idle",
            Self::Starting => "idle#",
            Self::Stopping => "idle%",
            Self::Allocated => "alloc",
            Self::Mixed => "mix",
            Self::Drained => "drain",
            Self::Draining => "drng",
        }
    }

    /// `idle`, `mixed`, `allocated`: for `%T`.
    #[must_use]
    pub const fn long(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Mixed => "mixed",
            Self::Drained => "drained",
            Self::Draining => "draining",
            other => other.compact(),
        }
    }

    /// `IDLE`, `MIXED+DRAIN`: for `scontrol show node`.
    #[must_use]
    pub const fn complete(self) -> &'static str {
        match self {
            Self::Down => "DOWN+NOT_RESPONDING",
            // Plain, so that who counts nodes counts it.
            Self::Idle | Self::Starting => "IDLE",
            Self::Stopping => "IDLE+POWERING_DOWN",
            Self::Allocated => "ALLOCATED",
            Self::Mixed => "MIXED",
            Self::Drained => "IDLE+DRAIN",
            Self::Draining => "MIXED+DRAIN",
        }
    }

    /// Jobs run on it.
    #[must_use]
    pub const fn is_allocated(self) -> bool {
        matches!(self, Self::Allocated | Self::Mixed | Self::Draining)
    }

    /// No job can be started on it.
    #[must_use]
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Down | Self::Drained | Self::Draining)
    }

    /// True when a word of `--states` means it; `None` for a word that is no state.
    #[must_use]
    pub fn is_meant(self, word: &str) -> Option<bool> {
        let word = word.to_ascii_lowercase();
        let means = |full: &str| word.len() >= 3 && full.starts_with(&word);
        Some(match word.as_str() {
            "all" => true,
            "drain" => matches!(self, Self::Drained | Self::Draining),
            "drng" => self == Self::Draining,
            "comp" | "completing" | "fail" | "failing" | "failg" | "future" | "maint"
            | "planned" | "plnd" | "reserved" | "resv" | "unknown" | "unk" | "reboot" | "boot"
            | "blocked" | "perfctrs" | "npc" | "error" | "invalid" | "invalid_reg"
            | "reboot_issued" | "reboot_requested" | "power_down" | "powered_down" | "cloud"
            | "inval" => false,
            "no_respond" | "not_responding" => self == Self::Down,
            "power_up" | "powering_up" | "pow_up" => self == Self::Starting,
            "powering_down" | "pow_dn" => self == Self::Stopping,
            "mix" => self == Self::Mixed,
            _ if means("down") => self == Self::Down,
            _ if means("idle") => matches!(self, Self::Idle | Self::Starting | Self::Stopping),
            _ if means("allocated") => matches!(self, Self::Allocated | Self::Draining),
            _ if means("mixed") => self == Self::Mixed,
            _ if means("drained") => self == Self::Drained,
            _ if means("draining") => self == Self::Draining,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    fn said(state: &str, used: u32) -> String {
        let node = PoolNode { cpus_used: used, state: state.into(), ..made_up::node("c1") };
        let state = NodeState::of(&node);
        format!("{} {} {}", state.compact(), state.long(), state.complete())
    }

    #[test]
    fn a_node_that_could_be_started_is_idle() {
        assert_eq!(said("none", 0), "idle idle IDLE");
        assert_eq!(said("booting", 0), "idle# idle# IDLE");
        assert_eq!(said("idle", 0), "idle idle IDLE");
        assert_eq!(said("busy", 3), "mix mixed MIXED");
        assert_eq!(said("busy", 4), "alloc allocated ALLOCATED");
        assert_eq!(said("draining", 0), "drain drained IDLE+DRAIN");
        assert_eq!(said("draining", 1), "drng draining MIXED+DRAIN");
        assert_eq!(said("lost", 2), "down* down* DOWN+NOT_RESPONDING");
    }

    #[test]
    fn words_of_states_may_be_short() {
        assert_eq!(NodeState::Idle.is_meant("IDLE"), Some(true));
        assert_eq!(NodeState::Mixed.is_meant("alloc"), Some(false));
        assert_eq!(NodeState::Allocated.is_meant("alloc"), Some(true));
        assert_eq!(NodeState::Drained.is_meant("drain"), Some(true));
        assert_eq!(NodeState::Idle.is_meant("lost"), None);
    }
}
