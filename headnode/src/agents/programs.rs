//! The programs of a node, as this head has them: offered in orders and welcomes, given out by their hash.
//!
//! Invariant: what is given under a hash has that hash, also when an upgrade has put other files in the place
//! of these: they stay open from the head's start. Programs of one architecture are offered together, or none
//! of them. Deliberately absent: who may have them (`listener`).
use pcluster_images::program_beside;
use pcluster_model::BlobHash;
use pcluster_model::config::ProviderKind;
use pcluster_wire::{NODE_PROGRAMS, Program, Programs};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Pieces in which a program is read.
const PIECE: usize = 256 << 10;

/// Programs for nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct NodePrograms {
    opened: Arc<Vec<Opened>>,
    known: Arc<OnceLock<Known>>,
}

/// All programs of an architecture.
#[derive(Debug)]
struct Opened {
    arch: String,
    files: Vec<(&'static str, File)>,
}

#[derive(Debug)]
struct Known {
    offered: Vec<Programs>,
    by_hash: BTreeMap<BlobHash, Arc<File>>,
}

impl NodePrograms {
    /// Those beside the head's own program, and those of other architectures in folders beside it.
    #[must_use]
    pub fn beside(folder: &Path) -> Self {
        let own = std::env::consts::ARCH;
        let others = ["x86_64", "aarch64"].into_iter().filter(|arch| *arch != own);
        let places = others.map(|arch| (arch, folder.join(arch)));
        let opened = [(own, folder.to_path_buf())].into_iter().chain(places).filter_map(open);
        Self { opened: Arc::new(opened.collect()), known: Arc::default() }
    }

    /// What is offered to nodes. Reads all programs the first time.
    #[must_use]
    pub fn offered(&self) -> Vec<Programs> {
        self.known().offered.clone()
    }

    /// As `offered`, if they have been read.
    #[must_use]
    pub fn read_already(&self) -> Vec<Programs> {
        self.known.get().map(|known| known.offered.clone()).unwrap_or_default()
    }

    /// The program of this hash.
    #[must_use]
    pub fn open(&self, hash: BlobHash) -> Option<Arc<File>> {
        self.known().by_hash.get(&hash).cloned()
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| {
            let mut known = Known { offered: Vec::new(), by_hash: BTreeMap::new() };
            for opened in self.opened.iter() {
                match read(opened) {
                    Ok((programs, files)) => {
                        known.offered.push(programs);
                        known.by_hash.extend(files);
                    }
                    Err(error) => {
                        tracing::warn!(arch = opened.arch, %error, "programs for nodes cannot be read");
                    }
                }
            }
            known
        })
    }
}

/// True where a machine may come with other programs: process nodes and virtual machines of this machine are
/// started with the head's own.
#[must_use]
pub fn are_offered(provider: &ProviderKind) -> bool {
    match provider {
        ProviderKind::Process | ProviderKind::Vm => false,
        ProviderKind::Ssh | ProviderKind::Ec2 | ProviderKind::External(_) => true,
    }
}

fn open((arch, folder): (&str, PathBuf)) -> Option<Opened> {
    let mut files = Vec::new();
    for name in NODE_PROGRAMS {
        files.push((name, File::open(program_beside(&folder, name)?).ok()?));
    }
    Some(Opened { arch: arch.to_owned(), files })
}

type Read = (Programs, Vec<(BlobHash, Arc<File>)>);

fn read(opened: &Opened) -> io::Result<Read> {
    let mut files = Vec::new();
    let mut by_hash = Vec::new();
    for (name, file) in &opened.files {
        let (sha256, bytes) = hash(file)?;
        files.push(Program { name: (*name).to_owned(), sha256, bytes });
        by_hash.push((sha256, Arc::new(file.try_clone()?)));
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok((Programs { arch: opened.arch.clone(), version, files }, by_hash))
}

fn hash(file: &File) -> io::Result<(BlobHash, u64)> {
    let mut sum = Sha256::new();
    let mut at = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read_at(&mut piece, at)?;
        if count == 0 {
            return Ok((BlobHash(sum.finalize().into()), at));
        }
        sum.update(&piece[..count]);
        at += count as u64;
    }
}

/// The next piece of a program; `None` at its end.
pub(super) fn piece(file: &File, at: u64) -> io::Result<Option<Vec<u8>>> {
    let mut piece = vec![0; PIECE];
    let count = file.read_at(&mut piece, at)?;
    piece.truncate(count);
    Ok((count > 0).then_some(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn programs_are_offered_together_and_stay_what_they_were() {
        let root = std::env::temp_dir().join(format!("pcluster-programs-{}", std::process::id()));
        let folder = root.join("libexec/pcluster");
        fs::create_dir_all(folder.join("slurm")).unwrap();
        fs::write(folder.join("pcluster-agent"), "agent").unwrap();
        fs::write(folder.join("pcluster-keeper"), "keeper").unwrap();
        assert_eq!(NodePrograms::beside(&folder).offered(), [], "the command is missing");
        fs::write(folder.join("slurm/pcluster"), "command").unwrap();
        let programs = NodePrograms::beside(&folder);
        assert_eq!(programs.read_already(), []);
        // An upgrade replaces them.
        fs::remove_file(folder.join("pcluster-agent")).unwrap();
        fs::write(folder.join("pcluster-agent"), "newer agent").unwrap();
        let offered = programs.offered();
        assert_eq!(programs.read_already(), offered);
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].arch, std::env::consts::ARCH);
        let agent = &offered[0].files[0];
        assert_eq!((agent.name.as_str(), agent.bytes), ("pcluster-agent", 5));
        let file = programs.open(agent.sha256).unwrap();
        assert_eq!(piece(&file, 0).unwrap().unwrap(), b"agent");
        assert_eq!(piece(&file, 5).unwrap(), None);
        assert!(programs.open(BlobHash([0; 32])).is_none());
        // Another architecture has a folder of its own.
        let other = if std::env::consts::ARCH == "aarch64" { "x86_64" } else { "aarch64" };
        fs::create_dir(folder.join(other)).unwrap();
        for name in NODE_PROGRAMS {
            fs::write(folder.join(other).join(name), name).unwrap();
        }
        let both = NodePrograms::beside(&folder).offered();
        assert_eq!(
            both.iter().map(|set| set.arch.as_str()).collect::<Vec<_>>(),
            [std::env::consts::ARCH, other]
        );
        fs::remove_dir_all(&root).unwrap();
    }
}
