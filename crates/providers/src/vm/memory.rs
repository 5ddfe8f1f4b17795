//! Memory that this machine can promise to virtual machines.
//!
//! Invariant: what a living machine was promised counts from its launch on, also while it has not touched
//! it, so that machines that are all at work at once still fit. Deliberately absent: machines of other
//! clusters and other programs; what they hold is seen only in what is free now.
use std::fs;

/// Memory that a virtual machine takes beside the guest's own, in bytes: QEMU, and a daemon for a folder.
pub(super) const OVERHEAD: u64 = 96 << 20;
/// Kept for this machine's own system and the head: so many bytes, and a twentieth of all.
const RESERVE: u64 = 256 << 20;

/// Memory of this machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub total: u64,
    /// Free, or can be freed; `None` where the kernel does not say.
    pub available: Option<u64>,
    /// To living machines, with what they take beside it.
    pub promised: u64,
    /// So many machines.
    pub machines: usize,
}

impl Memory {
    /// What this machine has, with living machines of these sizes.
    pub fn with(guests: impl Iterator<Item = u64>) -> Self {
        let (mut promised, mut machines) = (0, 0);
        for guest in guests {
            promised += guest + OVERHEAD;
            machines += 1;
        }
        Self { total: total(), available: line("MemAvailable:"), promised, machines }
    }

    /// Refuses one more machine whose guest has `guest` bytes, in words.
    pub fn holds(&self, guest: u64, shape: &str) -> Result<(), String> {
        let wanted = guest + OVERHEAD;
        let kept = RESERVE + self.total / 20;
        let megabytes = |bytes: u64| bytes >> 20;
        if self.promised + wanted > self.total.saturating_sub(kept) {
            return Err(format!(
                "this machine has {} MB of memory, keeps {} for itself and has promised {} to {} machines: one more {shape} takes {}",
                megabytes(self.total),
                megabytes(kept),
                megabytes(self.promised),
                self.machines,
                megabytes(wanted)
            ));
        }
        match self.available {
            Some(available) if available < wanted => Err(format!(
                "this machine has {} MB of memory free, one more {shape} takes {}",
                megabytes(available),
                megabytes(wanted)
            )),
            _ => Ok(()),
        }
    }
}

/// Main memory, or what the control group of this process leaves of it, in bytes.
#[must_use]
pub fn total() -> u64 {
    let total = line("MemTotal:").unwrap_or(1 << 30);
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .fold(total, u64::min)
}

/// A line of `/proc/meminfo`, in bytes.
fn line(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    /// A machine of 16 GB on which nothing but idle guests runs.
    fn with(guests: &[u64]) -> Memory {
        let here = Memory::with(guests.iter().copied());
        Memory { total: 16 * GB, available: Some(15 * GB), ..here }
    }

    #[test]
    fn machines_that_have_not_touched_their_memory_count() {
        // Three of 4 GB fit beside what is kept; all four would be promised more than there is.
        for count in 0..3 {
            with(&vec![4 * GB; count]).holds(4 * GB, "4c").unwrap();
        }
        let refused = with(&[4 * GB; 3]).holds(4 * GB, "4c").unwrap_err();
        assert_eq!(
            refused,
            "this machine has 16384 MB of memory, keeps 1075 for itself and has promised 12576 to 3 machines: one more 4c takes 4192"
        );
        with(&[4 * GB; 3]).holds(2 * GB, "2c").unwrap();
    }

    #[test]
    fn what_other_programs_hold_counts_as_it_is_now() {
        let tight = Memory { available: Some(GB), ..with(&[]) };
        let refused = tight.holds(GB, "1c").unwrap_err();
        assert_eq!(refused, "this machine has 1024 MB of memory free, one more 1c takes 1120");
        tight.holds(GB / 2, "1c").unwrap();
        Memory { available: None, ..tight }.holds(GB, "1c").unwrap();
    }

    #[test]
    fn this_machine_is_seen() {
        let here = Memory::with([GB].into_iter());
        assert!(here.total > 256 << 20 && here.available.is_some_and(|free| free <= here.total));
        assert_eq!((here.promised, here.machines), (GB + OVERHEAD, 1));
    }
}
