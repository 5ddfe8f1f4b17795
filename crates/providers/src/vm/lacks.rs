//! What this machine lacks for virtual machines, each with what helps: a launch asks, and so does
//! whoever wants to know before anybody waits for one (`pcluster-headnode vm-lacks`).
//!
//! Invariant: programs are looked for where machines find them. Deliberately absent: images, which say
//! themselves what building them needs, and memory, which is another with every launch.
use super::qemu;
use pcluster_images::find_program;
use std::fmt;

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// `there is no qemu-system-x86_64`.
    pub what: String,
    /// `apt install qemu-system-x86`.
    pub help: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.what, self.help)
    }
}

/// What machines are to have beside processors, memory and a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// A card on a bridge of this machine.
    pub bridge: bool,
    /// Folders that this machine shares with them.
    pub folders: bool,
}

/// All that is missing here for machines with these needs.
#[must_use]
pub fn lacks(needs: Needs) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut program = |found: bool, name: &str, help: &str| {
        if !found {
            lacks.push(Lack { what: format!("there is no {name}"), help: help.to_owned() });
        }
    };
    let install = format!("apt install {}", qemu::PACKAGE);
    program(qemu::program().is_some(), qemu::NAME, &install);
    program(find_program("mke2fs").is_some(), "mke2fs", "apt install e2fsprogs");
    if needs.folders {
        let help = "apt install virtiofsd (Debian 12: qemu-system-common)";
        program(qemu::virtiofsd().is_some(), "virtiofsd, which shares folders with nodes", help);
    }
    if needs.bridge {
        program(find_program("ip").is_some(), "ip, which makes bridges", "apt install iproute2");
        if !rustix::process::geteuid().is_root() {
            lacks.push(Lack {
                what: "network = \"bridge\" needs a head that runs as root".into(),
                help: "[vm] network = \"user\" does not".into(),
            });
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_needs_never_lack_less_and_each_lack_says_what_helps() {
        let few = lacks(Needs::default());
        let many = lacks(Needs { bridge: true, folders: true });
        assert!(few.iter().all(|lack| many.contains(lack)), "{few:?} {many:?}");
        assert!(many.iter().all(|lack| lack.to_string().contains("\nhint: ")), "{many:?}");
    }
}
