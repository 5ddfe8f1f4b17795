//! The programs that a head's machine needs, as they lie beside this one.
//!
//! Invariant: all of them are for one system, Linux, and one architecture, read from their own first bytes.
use crate::remote::sha256;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Those without which there is no head, and no node of its kind.
const NEEDED: [&str; 4] = ["pcluster", "pcluster-headnode", "pcluster-agent", "pcluster-keeper"];
/// For nodes of another architecture, where they were built.
const OTHERS: [&str; 3] = ["pcluster-agent", "pcluster-keeper", "pcluster"];
const ARCHES: [&str; 2] = ["x86_64", "aarch64"];

/// What keeps this machine from giving a head its programs.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    #[error("the program {name} is not there (looked at {looked})")]
    Missing { name: &'static str, looked: String },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Built for another system: a head needs Linux.
    #[error("{} is not a program for Linux on x86_64 or aarch64", path.display())]
    NotLinux { path: PathBuf },
}

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// As it is called there: `pcluster-agent`, `aarch64/pcluster-agent`.
    pub name: String,
    pub sha256: String,
    path: PathBuf,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct HeadPrograms {
    /// As `uname -m` says it.
    pub arch: String,
    pub(crate) files: Vec<Program>,
}

impl HeadPrograms {
    /// Finds them in the first of these folders that has each.
    ///
    /// # Errors
    /// [`ProgramsError`].
    pub fn find(folders: &[PathBuf]) -> Result<Self, ProgramsError> {
        let mut files = Vec::new();
        let mut arch = String::new();
        for name in NEEDED {
            let path = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
            let path = path.ok_or_else(|| {
                let shown: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
                ProgramsError::Missing { name, looked: shown.join(", ") }
            })?;
            arch = machine_of(&path)?.to_owned();
            files.push(Program::of(name.to_owned(), path)?);
        }
        for other in ARCHES.into_iter().filter(|other| *other != arch) {
            let path =
                |name| folders.iter().map(|it| it.join(other).join(name)).find(|it| it.is_file());
            let found: Vec<_> =
                OTHERS.iter().filter_map(|name| Some((name, path(name)?))).collect();
            // Together or not at all: a node needs each.
            if found.len() == OTHERS.len() {
                for (name, path) in found {
                    files.push(Program::of(format!("{other}/{name}"), path)?);
                }
            }
        }
        Ok(Self { arch, files })
    }
}

impl Program {
    fn of(name: String, path: PathBuf) -> Result<Self, ProgramsError> {
        let mut program = Self { name, sha256: String::new(), path };
        program.sha256 = sha256(&program.read()?);
        Ok(program)
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, ProgramsError> {
        let unreadable = |source| ProgramsError::Unreadable { path: self.path.clone(), source };
        std::fs::read(&self.path).map_err(unreadable)
    }
}

/// The architecture of a program of Linux: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>.
fn machine_of(path: &Path) -> Result<&'static str, ProgramsError> {
    let unreadable = |source| ProgramsError::Unreadable { path: path.to_owned(), source };
    let mut start = [0; 20];
    let mut file = File::open(path).map_err(unreadable)?;
    let is_whole = file.read_exact(&mut start).is_ok() && start.starts_with(b"\x7fELF\x02\x01");
    match (is_whole, u16::from_le_bytes([start[18], start[19]])) {
        (true, 62) => Ok("x86_64"),
        (true, 183) => Ok("aarch64"),
        _ => Err(ProgramsError::NotLinux { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn program(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend([machine, 0, 1, 2, 3]);
        bytes
    }

    #[test]
    fn all_programs_are_found_with_those_of_the_other_architecture() {
        let folder = std::env::temp_dir().join(format!("pcluster-programs-{}", std::process::id()));
        fs::create_dir_all(folder.join("aarch64")).unwrap();
        let folders = [folder.join("nowhere"), folder.clone()];
        for name in ["pcluster", "pcluster-headnode", "pcluster-agent"] {
            fs::write(folder.join(name), program(62)).unwrap();
        }
        let missing = HeadPrograms::find(&folders).unwrap_err();
        assert!(matches!(missing, ProgramsError::Missing { name: "pcluster-keeper", .. }));
        fs::write(folder.join("pcluster-keeper"), program(62)).unwrap();
        for name in ["pcluster", "pcluster-agent"] {
            fs::write(folder.join("aarch64").join(name), program(183)).unwrap();
        }
        assert_eq!(HeadPrograms::find(&folders).unwrap().files.len(), 4, "a part is none");
        fs::write(folder.join("aarch64/pcluster-keeper"), program(183)).unwrap();
        let all = HeadPrograms::find(&folders).unwrap();
        assert_eq!((all.arch.as_str(), all.files.len()), ("x86_64", 7));
        assert_eq!(all.files[4].name, "aarch64/pcluster-agent");
        fs::write(folder.join("pcluster-keeper"), "#!/bin/sh\n").unwrap();
        assert!(matches!(HeadPrograms::find(&folders), Err(ProgramsError::NotLinux { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
