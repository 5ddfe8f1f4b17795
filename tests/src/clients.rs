//! Real clients of the Slurm face: their programs, their environments, and a cluster for them.
//!
//! Invariant: a client runs unmodified, in a folder of its own, with the Slurm names in front of
//! `PATH`; only where it is installed is ours to say. Deliberately absent: what a client does
//! (`tests/clients`) and how it is installed (`scripts/clients`).
use crate::people::Person;
use crate::{Cluster, Said, Setup, not_run, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longer than any program of a client takes here on a busy machine with two cores.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(600);

/// The commands that clients call.
pub const SLURM_NAMES: [&str; 14] = [
    "sbatch", "srun", "salloc", "squeue", "scancel", "sinfo", "sacct", "scontrol", "sacctmgr",
    "sshare", "sstat", "sprio", "seff", "sattach",
];

/// Three nodes of 4 CPUs in a partition `main`, whatever this machine has: what the programs ask for.
#[must_use]
pub fn setup() -> Setup {
    Setup::compute("name = \"main\", cpus = 4, memory = \"6 GB\", max = 3, idle_timeout = \"5 s\"")
}

/// The folder of a client's own environment; nothing, said so, where it is not installed.
#[must_use]
pub fn environment(name: &str) -> Option<PathBuf> {
    let script = repository().join("scripts/clients");
    let said = Command::new(script).args(["path", name]).output().expect("a shell can be run");
    if said.status.success() {
        return Some(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()));
    }
    not_run(&format!("client {name}: not installed (scripts/clients install {name})"));
    None
}

/// A program of the project's own.
#[must_use]
pub fn own(program: &str) -> PathBuf {
    repository().join("tests/clients").join(program)
}

/// A file or folder of the data that lies beside the repository, or where `PCLUSTER_SHARED` says;
/// nothing, said so, where there is none.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("PCLUSTER_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| repository().join("../shared"));
    let found = shared.join(path).canonicalize().ok();
    if found.is_none() {
        not_run(&format!("{path} of the shared data (no ../shared)"));
    }
    found
}

/// Whether these programs of the system are there; said so where one is not.
#[must_use]
pub fn have(tools: &[&str]) -> bool {
    let there = |tool: &&str| {
        if tool.starts_with('/') {
            return Path::new(tool).exists();
        }
        let asked = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", tool]).output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !there(tool)).collect();
    if !missing.is_empty() {
        not_run(&format!(
            "clients: {} not installed (scripts/test installs it)",
            missing.join(", ")
        ));
    }
    missing.is_empty()
}

/// A cluster whose Slurm names lie in a folder of their own.
#[derive(Debug)]
pub struct Face {
    cluster: Cluster,
}

impl Face {
    /// A cluster of [`setup`] without a node.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self::with(label, setup())
    }

    /// As [`Face::new`], set up otherwise.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn with(label: &str, setup: Setup) -> Self {
        let face = Self { cluster: Cluster::with(label, setup) };
        fs::create_dir_all(face.names()).expect("a folder can be made");
        for name in SLURM_NAMES {
            let target = face.cluster.bin().join("pcluster");
            std::os::unix::fs::symlink(target, face.names().join(name)).expect("it is ours");
        }
        fs::create_dir_all(face.cluster.root().join("tmp")).expect("a folder can be made");
        face
    }

    /// The cluster itself.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The folder of `sbatch`, `squeue` and their like.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.cluster.root().join("slurm")
    }

    /// A new folder for a program, below the one with `cluster.toml`.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.cluster.work().join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    /// Any program with the Slurm names in front, then those of `venv`, in `folder`.
    #[must_use]
    pub fn command(&self, program: &Path, venv: Option<&Path>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        self.cluster.dress(&mut command);
        let venv = venv.map(|venv| format!("{}:", venv.join("bin").display())).unwrap_or_default();
        let path = format!(
            "{}:{venv}{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            self.names().display(),
            self.cluster.bin().display()
        );
        command.current_dir(folder).env("PATH", path);
        let name = if crate::people::is_root() { "root".to_owned() } else { whoami() };
        command.env("USER", &name).env("LOGNAME", &name);
        command.env("TMPDIR", self.cluster.root().join("tmp"));
        // Programs lie in the checkout, which a test leaves as it was.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // Open MPI asks for both before it starts anything as root.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // More ranks than CPUs here: those that wait let others work.
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
        // Its transport through memory takes the machine's name for the node, and here all share one.
        command.env("OMPI_MCA_btl", "self,tcp");
        command
    }

    /// A program of a client: `.py` by the environment's Python, all else by bash.
    #[must_use]
    pub fn client(&self, program: &Path, venv: Option<&Path>, folder: &Path) -> Command {
        let python = program.extension().is_some_and(|ext| ext == "py");
        let interpreter = match (python, venv) {
            (true, Some(venv)) => venv.join("bin/python"),
            (true, None) => PathBuf::from("/usr/bin/python3"),
            (false, _) => PathBuf::from("/bin/bash"),
        };
        let mut command = self.command(&interpreter, venv, folder);
        command.arg(program);
        command
    }

    /// Runs a program of a client to its end.
    pub fn say(&self, command: &mut Command) -> Said {
        Said::of(command, &self.cluster.root().join("said"), CLIENT_PATIENCE)
    }

    /// `TEXT` as a shell reads it, with the Slurm names in front, in the cluster's folder.
    pub fn shell(&self, text: &str) -> Said {
        let mut command = self.command(Path::new("/bin/bash"), None, &self.cluster.work());
        self.say(command.args(["-c", text]))
    }

    /// As [`Face::shell`]; what it says on stdout, which must be all, without the last line's end.
    #[track_caller]
    pub fn asks(&self, text: &str) -> String {
        let said = self.shell(text).expect_code(0);
        said.out.trim_end_matches('\n').to_owned()
    }

    /// Another user's shell with the Slurm names in front, in a folder of theirs.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn command_as(&self, person: &Person, program: &Path) -> Command {
        let home = self.cluster.root().join(format!("home-{}", person.name));
        fs::create_dir_all(&home).expect("a folder can be made");
        person.own(&home);
        let mut command = self.command(program, None, &home);
        command.env("HOME", &home).env("TMPDIR", "/tmp").env_remove("PCLUSTER_STATE_DIR");
        command.env("PCLUSTER_CONFIG", self.cluster.work().join("cluster.toml"));
        person.run(&mut command);
        command
    }

    /// Nothing runs and no node is left; the cluster goes down and leaves nothing behind.
    #[track_caller]
    pub fn to_zero(&self) {
        // A client has its results a moment before its last jobs have ended.
        let queue = || Some(self.asks("squeue --noheader")).filter(|queue| queue.is_empty());
        let empty = crate::within(crate::PATIENCE, queue).is_some();
        assert!(empty, "left in the queue: {}", self.asks("squeue --noheader"));
        self.cluster.until_no_nodes();
        self.cluster.down(&[]);
    }
}

fn whoami() -> String {
    let said = Command::new("id").arg("-un").output().expect("every system has id");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}
