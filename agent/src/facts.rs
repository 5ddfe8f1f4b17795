//! What this machine is, found out once at start.
use crate::cage::Cage;
use crate::clock;
use crate::gpus::{self, Gpu};
use pcluster_model::Resources;
use pcluster_wire::Facts;
use std::path::Path;

/// Memory that an agent keeps from jobs where the launch order sets no limit.
const KEPT_BYTES: u64 = 256 << 20;

/// The machine as found, within the limit of the launch order.
pub fn find(scratch: &Path, limit: Option<Resources>, cage: &Cage, gpus: &[Gpu]) -> Facts {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = total_memory();
    let machine = Resources {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory.saturating_sub(KEPT_BYTES),
        gpus: u32::try_from(gpus.len()).unwrap_or(u32::MAX),
        tmp_bytes: free_bytes(scratch),
    };
    Facts {
        hostname: sysinfo::System::host_name().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        usable: limit.map_or(machine, |limit| within(limit, machine, memory)),
        gpu_type: gpus::kind_of(gpus),
        kernel: sysinfo::System::kernel_version().unwrap_or_default(),
        cage: cage.words(),
        switches_users: rustix::process::geteuid().is_root(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        clock: clock::wall(),
        shares: Vec::new(),
        refuses: Vec::new(),
        proves_shares: true,
        address: String::new(),
    }
}

/// The head divides this machine among nodes and may promise more CPUs than there are; memory that
/// does not exist it may not. A limit of no scratch means no limit.
fn within(limit: Resources, machine: Resources, memory: u64) -> Resources {
    Resources {
        cpus: limit.cpus,
        memory_bytes: if limit.memory_bytes == 0 {
            machine.memory_bytes
        } else {
            limit.memory_bytes.min(memory)
        },
        // Others of its machine may have the rest.
        gpus: limit.gpus.min(machine.gpus),
        tmp_bytes: if limit.tmp_bytes == 0 {
            machine.tmp_bytes
        } else {
            limit.tmp_bytes.min(machine.tmp_bytes)
        },
    }
}

/// Main memory of the machine in bytes; 0 where nobody can tell.
fn total_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0 };
    system.refresh_memory();
    system.total_memory()
}

fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Load over the last minute, in thousandths of a running process.
pub fn load_milli() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (whole, part) =
        text.split(' ').next().and_then(|word| word.split_once('.')).unwrap_or(("0", "0"));
    let hundredths: u32 = part.get(..2).and_then(|part| part.parse().ok()).unwrap_or(0);
    whole.parse::<u32>().unwrap_or(0).saturating_mul(1000).saturating_add(hundredths * 10)
}

/// For the boot log.
pub fn words(facts: &Facts) -> String {
    let gpus = match (facts.usable.gpus, facts.gpu_type.as_str()) {
        (0, _) => String::new(),
        (count, "") => format!("{count} GPUs, "),
        (count, kind) => format!("{count} GPUs ({kind}), "),
    };
    format!(
        "{} CPUs, {} MB, {gpus}{}{}",
        facts.usable.cpus,
        facts.usable.memory_bytes >> 20,
        facts.cage,
        if facts.switches_users { "" } else { "; jobs of this user only" },
    )
}
