//! Where scratch of a node lies: on the disks of the machine's own, where its type has so much, or on a volume that
//! comes and goes with the machine.
//!
//! Invariant: what was asked for is free for jobs once there is a file system on it. Deliberately absent: pools that
//! ask for none, whose scratch is what the image leaves free on the root volume.
use super::types::TypeFacts;
use crate::provider::LaunchOrder;

const SCRIPT: &str = include_str!("scratch.sh");
const GIB: u64 = 1 << 30;
/// The file system's own: one part in so many (inodes), and what it keeps for itself, in bytes.
const OWN: (u64, u64) = (60, 32 << 20);

/// What holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scratch {
    Root,
    Store,
    Volume { gib: u64 },
}

impl Scratch {
    /// What an order asks for, on a type of which `facts` are known.
    pub fn of(order: &LaunchOrder, facts: Option<&TypeFacts>) -> Self {
        let asked = order.shape.total.tmp_bytes;
        let needed = asked.saturating_add(asked / OWN.0).saturating_add(OWN.1);
        match facts.map_or(0, |facts| facts.store_bytes) {
            _ if asked == 0 => Self::Root,
            largest if largest >= needed => Self::Store,
            _ => Self::Volume { gib: needed.div_ceil(GIB) },
        }
    }

    /// What the machine does for it before the agent starts.
    pub fn script(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Store => format!("scratch=store gib=0\n{SCRIPT}"),
            Self::Volume { gib } => format!("scratch=volume gib={gib}\n{SCRIPT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::tests::order;

    #[test]
    fn the_machines_own_disks_are_used_where_one_is_large_enough() {
        let of = |asked: u64, store: u64| {
            let mut order = order(7, 1);
            order.shape.total.tmp_bytes = asked;
            let facts = TypeFacts { store_bytes: store, ..TypeFacts::default() };
            Scratch::of(&order, Some(&facts))
        };
        const GB: u64 = 1_000_000_000;
        assert_eq!(of(0, 0), Scratch::Root);
        assert_eq!(of(0, 900 * GB), Scratch::Root, "nobody asked");
        assert_eq!(of(100 * GB, 118 * GB), Scratch::Store);
        // The file system needs some of it.
        assert_eq!(of(100 * GB, 100 * GB), Scratch::Volume { gib: 95 });
        assert_eq!(of(100 * GIB, 0), Scratch::Volume { gib: 102 });
        assert_eq!(of(1, 0), Scratch::Volume { gib: 1 });
        let mut order = order(7, 1);
        order.shape.total.tmp_bytes = GIB;
        assert_eq!(Scratch::of(&order, None), Scratch::Volume { gib: 2 });
    }
}
