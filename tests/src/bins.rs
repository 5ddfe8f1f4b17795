//! Where the programs under test are: built once beside the test's own binary, or given.
use crate::repository;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// All programs of an installation that a cluster needs.
pub const NAMES: [&str; 4] = ["pcluster", "pcluster-headnode", "pcluster-agent", "pcluster-keeper"];

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The folder that holds [`NAMES`]: `PCLUSTER_BIN_DIR`, or the target folder of this test run, where
/// they are built first (Cargo tells the binaries of other packages to nobody).
///
/// # Panics
/// When they cannot be built or are not there.
#[must_use]
pub fn folder() -> &'static Path {
    FOLDER.get_or_init(|| {
        let folder = match std::env::var_os("PCLUSTER_BIN_DIR") {
            Some(given) => fs::canonicalize(&given).expect("PCLUSTER_BIN_DIR is a folder"),
            None => build(),
        };
        for name in NAMES {
            assert!(folder.join(name).is_file(), "{} has no {name}", folder.display());
        }
        folder
    })
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    // TARGET/PROFILE/deps/it-HASH
    let profile = own.ancestors().nth(2).expect("test binaries lie in TARGET/PROFILE/deps");
    let target = profile.parent().expect("a profile's folder lies in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("build").arg("--quiet").current_dir(repository());
    command.env("CARGO_TARGET_DIR", target);
    for name in NAMES {
        command.args(["-p", name]);
    }
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "the programs under test cannot be built: {status}");
    profile.to_path_buf()
}

/// Puts the programs of `from` into `folder`, each in place of what was there: a process that runs goes
/// on with its old program, and whoever starts one gets the new, as after an upgrade of a package.
///
/// # Panics
/// When the disk refuses.
pub fn put(from: &Path, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder can be made");
    for name in NAMES {
        let new = folder.join(format!(".{name}.new"));
        fs::copy(from.join(name), &new).expect("a program can be copied");
        fs::rename(&new, folder.join(name)).expect("a program can be replaced");
    }
}

/// The programs of an earlier version, which `scripts/previous` built (`PCLUSTER_PREVIOUS_BIN_DIR`).
#[must_use]
pub fn previous() -> Option<PathBuf> {
    let folder = std::env::var_os("PCLUSTER_PREVIOUS_BIN_DIR").map(PathBuf::from)?;
    for name in NAMES {
        assert!(folder.join(name).is_file(), "{} has no {name}", folder.display());
    }
    Some(folder)
}

/// Puts the programs into `folder`, with an agent that obeys `verb` only when `gate` is there: becomes
/// a machine, or sweeps up after one. The process is the same before and after, as the provider
/// expects it.
///
/// # Panics
/// When the disk refuses.
pub fn gate_to(folder: &Path, gate: &Path, verb: &str) {
    fs::create_dir_all(folder).expect("a folder can be made");
    for name in ["pcluster", "pcluster-headnode"] {
        // A symbolic link would not do: the head looks for the agent beside its real file.
        let (from, to) = (self::folder().join(name), folder.join(name));
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).expect("a program can be copied");
        }
    }
    let agent = folder.join("pcluster-agent");
    let real = self::folder().join("pcluster-agent");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = {verb} ]; then\n  while [ ! -e '{}' ]; do sleep 0.05; done\nfi\nexec '{}' \"$@\"\n",
        gate.display(),
        real.display()
    );
    program(&agent, &text);
}

/// Writes a program of this text, which everybody may run.
///
/// # Panics
/// When the disk refuses.
pub fn program(path: &Path, text: &str) {
    fs::write(path, text).expect("the folder is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
}
