//! The directory with `pcluster` and the Slurm names that stands before the `PATH` of jobs.
//!
//! Invariant: every user whose jobs run here can use it. Installed programs have it beside the
//! agent; for a build tree it is made in the node's scratch directory. Which names there are, the
//! program says itself.
use crate::node_dir::is_reachable;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds or makes the directory.
pub fn place(scratch: &Path, for_others: bool) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the agent's own path")?;
    let beside = own.parent().context("the agent's path has no folder")?;
    let ready = beside.join("slurm");
    let usable = |path: &Path| path.exists() && (!for_others || is_reachable(path));
    if usable(&ready.join("sbatch"))
        && fs::canonicalize(ready.join("pcluster")).is_ok_and(|to| usable(&to))
    {
        return Ok(ready);
    }
    let program = beside.join("pcluster");
    ensure!(program.is_file(), "there is no {}", program.display());
    let folder = scratch.join("bin");
    make(&folder, &program, usable(&program))
        .with_context(|| format!("cannot fill {}", folder.display()))?;
    Ok(folder)
}

fn make(folder: &Path, program: &Path, reachable: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let asked = Command::new(program).arg("internal-names").env_clear().output()?;
    if !asked.status.success() {
        bail!("{} does not say its names: {}", program.display(), asked.status);
    }
    let own = folder.join("pcluster");
    replace(&own, |to| {
        if reachable {
            return symlink(program, to);
        }
        fs::hard_link(program, to).or_else(|_| fs::copy(program, to).map(drop))
    })?;
    for name in String::from_utf8(asked.stdout)?.lines() {
        ensure!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "an odd name {name:?}");
        replace(&folder.join(name), |to| symlink("pcluster", to))?;
    }
    Ok(())
}

/// Puts something new at a path in one step: a job may be using what is there.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    make(&draft)?;
    fs::rename(&draft, path)
}
