//! `cluster.toml`, with the facts of this machine around it.
use super::{BootError, PlacedHere};
use pcluster_api::places::Surroundings;
use pcluster_config::{Machine, Parsed, Source};
use pcluster_model::config::Config;
use pcluster_providers::vm::total_memory;
use std::fs;
use std::path::{Path, PathBuf};

/// A file that was read and found right.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Absolute.
    pub path: PathBuf,
    pub config: Config,
    /// This machine was made for the head.
    pub placed: Option<PlacedHere>,
    /// Said once at the start.
    pub notes: Vec<String>,
}

impl ConfigFile {
    /// True where `up` puts the head on a machine of its own, and this is not that one.
    #[must_use]
    pub fn is_placed_elsewhere(&self) -> bool {
        self.config.head.instance_type.is_some() && self.placed.is_none()
    }
}

/// Reads the file and refuses what a head must not start with.
///
/// # Errors
/// Every mistake of the file at once, or why `up` refuses it.
pub fn read_config(path: &Path) -> Result<ConfigFile, BootError> {
    let path = std::path::absolute(path).map_err(BootError::io("find", path))?;
    let text = fs::read_to_string(&path).map_err(BootError::io("read", &path))?;
    let parsed = pcluster_config::parse(&text, &source(&path), &machine());
    let mut refusals = pcluster_config::up_refusals(&parsed);
    if !in_ec2() {
        refusals.extend(pcluster_config::out_of_reach(&parsed));
    }
    let Parsed { config, notes, .. } = &parsed;
    let Some(mut config) = config.clone() else {
        return Err(BootError::Config(pcluster_config::render_all(&parsed, &text, 100, false)));
    };
    if !refusals.is_empty() {
        let words = refusals.iter().map(|refusal| {
            let place = format!("{}:{}", parsed.file_name, refusal.line);
            format!("{place}: {}\nhint: {}", refusal.message, refusal.hint)
        });
        return Err(BootError::Refused(words.collect::<Vec<_>>().join("\n")));
    }
    let notes = notes.iter().map(|note| note.text.clone()).collect();
    let placed = PlacedHere::beside(&path)?;
    if let Some(placed) = &placed
        && !config.admins.contains(&placed.account)
    {
        config.admins.push(placed.account.clone());
    }
    Ok(ConfigFile { path, config, placed, notes })
}

fn source(path: &Path) -> Source {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let surroundings = Surroundings::of_process(rustix::process::geteuid().as_raw());
    let personal = surroundings.config_dir();
    Source {
        file_name: path.display().to_string(),
        folder: folder.display().to_string(),
        in_system_dir: folder == Path::new("/etc/pcluster")
            || personal.is_some_and(|personal| personal == folder),
    }
}

/// True on an instance: its firmware says so (Nitro), or its hypervisor (Xen).
pub(crate) fn in_ec2() -> bool {
    let starts = |file: &str, word: &str| {
        fs::read_to_string(file).is_ok_and(|text| text.to_ascii_lowercase().starts_with(word))
    };
    starts("/sys/class/dmi/id/sys_vendor", "amazon ec2") || starts("/sys/hypervisor/uuid", "ec2")
}

fn machine() -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: total_memory(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        zone_offset_ms: i64::from(jiff::Zoned::now().offset().seconds()) * 1000,
    }
}
