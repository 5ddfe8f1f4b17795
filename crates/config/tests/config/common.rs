//! What the tests share: a machine of fixed size, and golden files.
use pcluster_config::{Machine, Parsed, Source, parse};
use std::path::{Path, PathBuf};

/// Four CPUs and 8 GB, whatever runs the test.
pub fn machine() -> Machine {
    Machine {
        cpus: 4,
        memory_bytes: 8 << 30,
        hostname: "box".into(),
        home: "/home/ana".into(),
        zone_offset_ms: 3_600_000,
    }
}

/// `cluster.toml` in `/srv/Ana's Project`.
pub fn source() -> Source {
    Source {
        file_name: "cluster.toml".into(),
        folder: "/srv/Ana's Project".into(),
        in_system_dir: false,
    }
}

/// Parses with the fixed machine and place.
pub fn read(text: &str) -> Parsed {
    parse(text, &source(), &machine())
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares with the file, or rewrites it under `UPDATE=1`.
pub fn golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("make the folder");
        std::fs::write(path, actual).expect("write the golden file");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != actual {
        let line = expected.lines().zip(actual.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
        panic!(
            "{} differs from line {}:\n  file: {:?}\n  now:  {:?}\nUPDATE=1 rewrites it",
            path.display(),
            line + 1,
            expected.lines().nth(line).unwrap_or("(end)"),
            actual.lines().nth(line).unwrap_or("(end)")
        );
    }
}
