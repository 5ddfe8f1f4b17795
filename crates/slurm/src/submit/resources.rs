//! CPUs, memory and GPUs of a job.
//!
//! Invariant: what cannot be spread evenly is rounded up, never down. Deliberately absent: what
//! machines there are.
use super::layout::Layout;
use super::spec::{counted, invalid, sized};
use crate::options::Words;
use crate::refusal::Refusal;
use pcluster_client::submit::words;
use pcluster_model::job::MemoryAsk;

/// Memory as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub ask: MemoryAsk,
    /// `--mem=0`: all of a node's.
    pub whole: bool,
}

/// GPUs on each node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gpus {
    pub per_node: u32,
    /// Model in lower case; empty is any.
    pub kind: String,
}

const MEMORY: [&str; 3] = ["mem", "mem-per-cpu", "mem-per-gpu"];

/// The last of the three options counts; two of them in one place are refused.
pub(super) fn memory(words: &Words, gpus: u32, command: &str) -> Result<Memory, Refusal> {
    let Some(last) = words.last_of(&MEMORY) else {
        return Ok(Memory { ask: MemoryAsk::Proportional, whole: false });
    };
    let rival = words.said.iter().find(|said| {
        MEMORY.contains(&said.option.name)
            && said.option.name != last.option.name
            && std::mem::discriminant(&said.origin) == std::mem::discriminant(&last.origin)
    });
    if rival.is_some() {
        let text = "--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.";
        return Err(Refusal::fatal(command, text));
    }
    let name = last.option.name;
    let bytes = sized(words, name, command)?.unwrap_or(0);
    let (ask, whole) = match (name, bytes) {
        ("mem", 0) => (MemoryAsk::Proportional, true),
        (_, 0) => (MemoryAsk::Proportional, false),
        ("mem", bytes) => (MemoryAsk::PerNode(bytes), false),
        ("mem-per-cpu", bytes) => (MemoryAsk::PerCpu(bytes), false),
        (_, bytes) => (MemoryAsk::PerNode(bytes.saturating_mul(u64::from(gpus.max(1)))), false),
    };
    Ok(Memory { ask, whole })
}

/// CPUs of each task.
pub(super) fn cpus(
    words: &Words,
    layout: &Layout,
    gpus: u32,
    command: &str,
) -> Result<u32, Refusal> {
    let tasks_on_one =
        layout.per_node.unwrap_or_else(|| layout.tasks.div_ceil(layout.nodes.max(1))).max(1);
    let mut cpus = counted(words, "cpus-per-task", command)?.unwrap_or(1);
    let per_gpu = counted(words, "cpus-per-gpu", command)?;
    if let Some(per_gpu) = per_gpu.filter(|_| !words.has("cpus-per-task")) {
        cpus = per_gpu.saturating_mul(gpus).div_ceil(tasks_on_one).max(1);
    }
    if let Some(least) = counted(words, "mincpus", command)? {
        cpus = cpus.max(least.div_ceil(tasks_on_one));
    }
    Ok(cpus)
}

/// GPUs on each node, from the last option that speaks of them.
pub(super) fn gpus(words: &Words, layout: &Layout, command: &str) -> Result<Gpus, Refusal> {
    let names = ["gpus", "gpus-per-node", "gpus-per-task", "gres"];
    let nodes = layout.nodes.max(1);
    let Some(said) = words.last_of(&names) else {
        let per_gpu = counted(words, "ntasks-per-gpu", command)?;
        let all = per_gpu.map_or(0, |per_gpu| layout.tasks.div_ceil(per_gpu));
        return Ok(Gpus { per_node: all.div_ceil(nodes), kind: String::new() });
    };
    let text = said.value.as_deref().unwrap_or_default();
    let name = said.option.name;
    if name == "gres" {
        return gres(text, command);
    }
    let (count, kind) = words::gpus(&format!("--{name}"), text)
        .map_err(|failure| invalid(command, name).because(&failure))?;
    let on_one = layout.per_node.unwrap_or_else(|| layout.tasks.div_ceil(nodes));
    let per_node = match name {
        "gpus" => count.div_ceil(nodes),
        "gpus-per-task" => count.saturating_mul(on_one),
        _ => count,
    };
    Ok(Gpus { per_node, kind })
}

/// `gpu:2`, `gpu:a10g:2`, `gres:gpu:2`, `none`.
pub(crate) fn gres(text: &str, command: &str) -> Result<Gpus, Refusal> {
    let refuse = || {
        Refusal::error(command, "Invalid generic resource (gres) specification", 1)
            .hint("only GPUs are counted: --gres=gpu:2 or --gres=gpu:MODEL:2")
    };
    let mut found = Gpus::default();
    let parts: Vec<&str> = text.split(',').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| part.eq_ignore_ascii_case("none")) {
        return Ok(found);
    }
    if parts.len() != 1 {
        return Err(refuse());
    }
    for part in parts {
        let part =
            part.strip_prefix("gres:").or_else(|| part.strip_prefix("gres/")).unwrap_or(part);
        let (count, kind) = words::gres(part).map_err(|_| refuse())?;
        found = Gpus { per_node: count, kind };
    }
    Ok(found)
}
