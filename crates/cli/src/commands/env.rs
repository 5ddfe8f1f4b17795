//! `env`: puts the Slurm names into the reach of a shell.
use crate::cluster::Global;
use crate::failure::{Failure, Outcome, code};
use crate::say;
use clap::Args;
use serde::Serialize;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Write the shell line that puts sbatch, squeue and the others in front of PATH
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(pcluster env)\"
  pcluster env >> ~/.bashrc
  pcluster env --json")]
pub struct EnvArgs {}

#[derive(Serialize)]
struct Env {
    schema: &'static str,
    path: PathBuf,
    names: Vec<&'static str>,
}

/// `env`.
///
/// # Errors
/// When the names are nowhere and cannot be made.
pub fn run(global: &Global) -> Outcome {
    let own = std::env::current_exe().and_then(std::fs::canonicalize).map_err(|error| {
        Failure::refused(format!("cannot find the path of this program: {error}"))
    })?;
    let folder = match installed(&own) {
        Some(folder) => folder,
        None => beside(&own).map_err(|error| {
            Failure::refused("the Slurm names are not installed")
                .fact("tried", format!("to link them beside {}: {error}", own.display()))
                .hint("scripts/install PREFIX    installs them, too")
        })?,
    };
    if global.json {
        let names = pcluster_slurm::NAMES.to_vec();
        say::json(&Env { schema: "pcluster.env/1", path: folder, names })?;
    } else {
        let folder = quoted(&folder.to_string_lossy());
        say::data(&format!("export PATH={folder}:\"$PATH\"\n"))?;
    }
    Ok(code::DONE)
}

/// `internal-names`: every name of the Slurm face, for whoever makes the links.
///
/// # Errors
/// A closed pipe.
pub fn names() -> Outcome {
    say::data(&pcluster_slurm::NAMES.map(|name| format!("{name}\n")).concat())?;
    Ok(code::DONE)
}

/// `PREFIX/libexec/pcluster/slurm` of `PREFIX/bin/pcluster`.
fn installed(own: &Path) -> Option<PathBuf> {
    let folder = own.parent()?.parent()?.join("libexec/pcluster/slurm");
    folder.join("sbatch").exists().then_some(folder)
}

/// A folder of links beside a program that is not installed.
fn beside(own: &Path) -> io::Result<PathBuf> {
    let folder = own.with_file_name("slurm");
    std::fs::create_dir_all(&folder)?;
    link(Path::new("../pcluster"), &folder.join("pcluster"))?;
    for name in pcluster_slurm::NAMES {
        link(Path::new("pcluster"), &folder.join(name))?;
    }
    Ok(folder)
}

fn link(to: &Path, at: &Path) -> io::Result<()> {
    if std::fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match symlink(to, at) {
        // Another one was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(
            quoted("/usr/local/libexec/pcluster/slurm"),
            "/usr/local/libexec/pcluster/slurm"
        );
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }

    #[test]
    fn links_are_made_once_and_mended() {
        let root = std::env::temp_dir().join(format!("pc-env-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let own = root.join("pcluster");
        std::fs::write(&own, "").unwrap();
        let folder = beside(&own).unwrap();
        std::fs::remove_file(folder.join("sbatch")).unwrap();
        std::fs::write(folder.join("sbatch"), "something else").unwrap();
        assert_eq!(beside(&own).unwrap(), folder);
        let target = std::fs::canonicalize(folder.join("sbatch")).unwrap();
        assert_eq!(target, std::fs::canonicalize(&own).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
