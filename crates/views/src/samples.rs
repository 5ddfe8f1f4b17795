//! Configurations, users and specifications for tests, here and in the head.
//!
//! Deliberately absent: anything that a test of one thing only needs.
use pcluster_core::input::Principal;
use pcluster_model::config::Config;
use pcluster_model::{BlobHash, JobSpec};

/// The configuration of a file with this pool.
///
/// # Panics
/// When the file is wrong.
#[must_use]
pub fn config_of(compute: &str, rest: &str) -> Config {
    let text = format!("{rest}\nprovider = \"process\"\ncompute = {{ {compute} }}\n");
    pcluster_config::samples::config(&text)
}

/// Two nodes of four CPUs at most, at a price.
#[must_use]
pub fn config() -> Config {
    config_of(
        "cpus = 4, memory = \"8 GB\", max = 2, price = \"$0.36/h\", idle_timeout = \"60 s\"",
        "",
    )
}

/// A job with defaults.
///
/// # Panics
/// Never: the values are right.
#[must_use]
pub fn spec(name: &str, cpus: u32, limit_ms: u64) -> JobSpec {
    let zeros = BlobHash([0; 32]);
    serde_json::from_value(serde_json::json!({
        "name": name, "cpus_per_task": cpus, "output": "%x-%j.out", "script": zeros,
        "environment": zeros, "work_dir": "/lab/run", "time_limit_ms": limit_ms,
    }))
    .expect("a spec with defaults")
}

/// Somebody without rights.
#[must_use]
pub fn user(name: &str, uid: u32) -> Principal {
    Principal { user: name.into(), uid, gid: uid, admin: false }
}

/// Somebody with all of them.
#[must_use]
pub fn admin() -> Principal {
    Principal { user: "root".into(), uid: 0, gid: 0, admin: true }
}
