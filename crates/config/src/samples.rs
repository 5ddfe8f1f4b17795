//! A configuration for tests and benches of other crates.
use crate::{Machine, Source, parse};
use pcluster_model::config::Config;

/// What this text says in a folder `/lab` on a machine of 8 CPUs and 32 GiB.
///
/// # Panics
/// When the file is wrong.
#[must_use]
pub fn config(text: &str) -> Config {
    let source =
        Source { file_name: "cluster.toml".into(), folder: "/lab".into(), in_system_dir: false };
    let machine = Machine {
        cpus: 8,
        memory_bytes: 32 << 30,
        hostname: "head".into(),
        home: "/root".into(),
        zone_offset_ms: 0,
    };
    parse(text, &source, &machine).config.expect("the file is right")
}
