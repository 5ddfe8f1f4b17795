//! Reads `cluster.toml` with the facts of this machine around it.
//!
//! Invariant: the text is parsed by `pcluster-config` and nowhere else. Deliberately absent: finding
//! the file (`cluster`), and what the values mean.
use crate::cluster::surroundings;
use crate::failure::{Failure, code};
use crate::look::Look;
use pcluster_config::{Machine, Parsed, Source};
use pcluster_model::config::Config;
use std::path::Path;

/// A file that was read, right or wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub parsed: Parsed,
    pub text: String,
}

/// Reads and parses `file`.
///
/// # Errors
/// When it cannot be read as text. Mistakes in it are in `parsed.problems`.
pub fn load(file: &Path) -> Result<Loaded, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", file.display())))?;
    let parsed = pcluster_config::parse(&text, &source(file), &machine());
    Ok(Loaded { parsed, text })
}

/// The validated configuration, or every mistake with its line.
///
/// # Errors
/// As [`load`], and when there are mistakes: exit code 2.
pub fn config(loaded: &Loaded) -> Result<&Config, Failure> {
    loaded.parsed.config.as_ref().ok_or_else(|| mistakes(loaded))
}

/// All mistakes of the file, rendered.
#[must_use]
pub fn mistakes(loaded: &Loaded) -> Failure {
    let width = Look::here().width;
    let text = pcluster_config::render_all(&loaded.parsed, &loaded.text, width, false);
    Failure::Rendered { text, code: code::USAGE }
}

/// The name of the cluster. A file with mistakes in other lines still names it, so that `queue`
/// works while somebody edits.
///
/// # Errors
/// When the file cannot be read, or its name cannot be known.
pub fn name_of(file: &Path) -> Result<String, Failure> {
    let loaded = load(file)?;
    if let Some(config) = &loaded.parsed.config {
        return Ok(config.name.clone());
    }
    let named = loaded.parsed.effective.iter().find(|value| value.path == "name");
    let name = named.map(|value| value.value.trim_matches('"').to_owned());
    name.filter(|name| !name.is_empty()).ok_or_else(|| mistakes(&loaded))
}

fn source(file: &Path) -> Source {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let personal = surroundings().config_dir();
    let in_system_dir =
        folder == Path::new("/etc/pcluster") || personal.is_some_and(|dir| dir == folder);
    let shown = match std::env::current_dir() {
        Ok(here) if here == folder => "cluster.toml".to_owned(),
        _ => file.display().to_string(),
    };
    let named_otherwise = file.file_name().is_none_or(|name| name != "cluster.toml");
    Source {
        file_name: if named_otherwise { file.display().to_string() } else { shown },
        folder: folder.to_string_lossy().into_owned(),
        in_system_dir,
    }
}

/// This machine as `config check` sees it. The head asks the same questions when it starts.
fn machine() -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let offset = jiff::Zoned::now().offset().seconds();
    Machine {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory_bytes(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        zone_offset_ms: i64::from(offset) * 1000,
    }
}

/// Main memory, or what the control group of this process leaves of it.
fn memory_bytes() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .map_or(1 << 30, |kilobytes| kilobytes << 10);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    limits.filter_map(|text| text.trim().parse::<u64>().ok()).fold(total, u64::min)
}
