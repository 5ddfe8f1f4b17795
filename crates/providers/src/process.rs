//! Nodes as processes of this machine: a "machine" process plays the machine. It starts the agent,
//! starts it again when it dies, and its end is the end of the instance (`crate::local`).
//!
//! Deliberately absent: what is inside a node. `AGENT sweep DIR` ends what a machine left behind.
use crate::checkup::{self, Asked};
use crate::local::dir::InstanceDir;
use crate::local::{Body, KEEP_ENDED_MS, Local, LocalSettings, machine, plain};
use crate::provider::{ErrorClass, LaunchOrder, ProviderError};
use pcluster_api::{Finding, Topic};
use pcluster_images::find_program;
use pcluster_model::config::{Config, ImageSource, Pool, ProviderKind};
use pcluster_model::job::SOFT_FILES_VARIABLE;
use pcluster_model::{ClusterId, Shape};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A sweep that takes longer is reported and tried again by the caller.
const SWEEP: Duration = Duration::from_secs(20);

/// What the provider needs to know of its machine.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The cluster's state directory; instances lie in `nodes/` in it.
    pub state_dir: PathBuf,
    /// The program that is a machine: `PROGRAM machine DIR`, and `PROGRAM sweep DIR`.
    pub agent_binary: PathBuf,
    pub cluster: ClusterId,
    /// What `offerings` gives: the shapes of the pools.
    pub shapes: Vec<Shape>,
    /// What machines are started by: a program that becomes the words after it; `{node}` is a name.
    pub launcher: Vec<String>,
    /// Open files that jobs start with, where that is not what machines inherit.
    pub soft_files: Option<u64>,
    /// How long an ended instance stays listed, in milliseconds.
    pub keep_ended_ms: u64,
}

impl ProcessSettings {
    /// Settings with the product's times and no shapes.
    #[must_use]
    pub fn new(
        state_dir: impl Into<PathBuf>,
        agent_binary: impl Into<PathBuf>,
        cluster: ClusterId,
    ) -> Self {
        Self {
            state_dir: state_dir.into(),
            agent_binary: agent_binary.into(),
            cluster,
            shapes: Vec::new(),
            launcher: Vec::new(),
            soft_files: None,
            keep_ended_ms: KEEP_ENDED_MS,
        }
    }
}

/// The provider `process`.
pub type ProcessProvider = Local<Process>;

/// What such a machine is made of.
#[derive(Debug)]
pub struct Process {
    agent_binary: PathBuf,
    launcher: Vec<String>,
    soft_files: Option<u64>,
}

impl Local<Process> {
    /// A provider on this state directory. Nothing is made before the first launch.
    #[must_use]
    pub fn new(settings: ProcessSettings) -> Self {
        let ProcessSettings { state_dir, cluster, shapes, keep_ended_ms, .. } = settings;
        let body = Process {
            agent_binary: settings.agent_binary,
            launcher: settings.launcher,
            soft_files: settings.soft_files,
        };
        Self::of(LocalSettings { state_dir, cluster, shapes, keep_ended_ms }, body)
    }
}

impl Process {
    fn verb(&self, verb: &str, dir: &InstanceDir) -> Command {
        let mut command = machine::bare(&self.agent_binary);
        command.arg(verb).arg(dir.path());
        command
    }
}

impl Body for Process {
    const KIND: ProviderKind = ProviderKind::Process;
    const PREFIX: &'static str = "p-";

    fn check(&self, order: &LaunchOrder) -> Result<(), ProviderError> {
        let agent = &self.agent_binary;
        if let Err(error) = machine::check_program(agent) {
            let words = format!("cannot start nodes: {}: {}", agent.display(), plain(&error));
            return Err(ProviderError::new(ErrorClass::BadConfig, words));
        }
        check_image(&order.image.name, &order.image.reference)
    }

    fn checkup(&self, asked: &Asked<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(program) = self.launcher.first()
            && find_program(program).is_none()
        {
            let what = format!("there is no {program} to start nodes with");
            let hint = "[process] launcher names a program in PATH, or nothing";
            found.push(Finding::attention(Topic::Provider, what).hint(hint));
        }
        if let Err(error) = machine::check_program(&self.agent_binary) {
            let what = format!("no node can be started by {}", self.agent_binary.display());
            let found_of = Finding::attention(Topic::Provider, what).why(plain(&error));
            found.push(found_of.hint("scripts/install    installs all programs"));
        }
        if found.is_empty() {
            let nodes: u32 = asked.pools(&ProviderKind::Process).map(|pool| pool.max).sum();
            let what = format!("nodes are processes of this machine, at most {nodes} of them");
            found.push(Finding::ok(Topic::Provider, what));
        }
        found.extend(asked.pools(&ProviderKind::Process).map(|pool| image_of(asked.config, pool)));
        found
    }

    fn furnish(&self, _: &LaunchOrder, _: &InstanceDir) -> Result<(), ProviderError> {
        Ok(())
    }

    fn command(&self, dir: &InstanceDir, name: &str) -> Command {
        let mut command = self.verb("machine", dir);
        if let Some(files) = self.soft_files {
            command.env(SOFT_FILES_VARIABLE, files.to_string());
        }
        launched(&self.launcher, name, command)
    }

    /// Agent, keepers and the processes of jobs.
    fn sweep(&self, dir: &InstanceDir) -> io::Result<()> {
        let console = machine::console(dir)?;
        let mut command = self.verb("sweep", dir);
        let mut child = command.stdout(console.try_clone()?).stderr(console).spawn()?;
        let until = Instant::now() + SWEEP;
        let mut pause = Duration::from_millis(1);
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(io::Error::other(format!("the sweep failed: {status}")));
                }
                None if Instant::now() >= until => {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::other("some of its processes do not end"));
                }
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// The command before which the launcher stands, if there is one. The launcher becomes the machine:
/// its number is the machine's.
fn launched(launcher: &[String], name: &str, command: Command) -> Command {
    let Some((program, words)) = launcher.split_first() else { return command };
    let named = |word: &String| word.replace("{node}", name);
    let mut whole = Command::new(named(program));
    whole.args(words.iter().map(named)).arg(command.get_program()).args(command.get_args());
    whole.current_dir("/").env_clear().stdin(Stdio::null());
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole
}

/// How a pool's image is.
fn image_of(config: &Config, pool: &Pool) -> Finding {
    let reference = match config.image(&pool.image).map(|image| &image.source) {
        Some(ImageSource::Directory(path)) => path.as_str(),
        _ => "",
    };
    match check_image(&pool.image, reference) {
        Err(error) => checkup::attention(Topic::Image, &error.message)
            .why(format!("nodes of pool {} begin with it", pool.name)),
        Ok(()) if reference.is_empty() => Finding::ok(Topic::Image, "host: this machine as it is"),
        Ok(()) => Finding::ok(Topic::Image, format!("{}: {reference}", pool.image)),
    }
}

/// An image is a directory with `image.toml`; no reference is the machine as it is.
fn check_image(name: &str, reference: &str) -> Result<(), ProviderError> {
    if reference.is_empty() {
        return Ok(());
    }
    let bad = |words: String| {
        ProviderError::new(ErrorClass::BadConfig, format!("image {name:?}: {words}"))
    };
    let directory = Path::new(reference);
    if !directory.is_absolute() {
        return Err(bad(format!("{reference} is not an absolute path")));
    }
    if !directory.is_dir() {
        return Err(bad(format!("{reference} is not a directory")));
    }
    let file = directory.join("image.toml");
    let text = fs::read_to_string(&file)
        .map_err(|error| bad(format!("cannot read {}: {}", file.display(), plain(&error))))?;
    text.parse::<toml::Table>()
        .map(drop)
        .map_err(|error| bad(format!("{}: {}", file.display(), error.message())))
}

#[cfg(test)]
mod tests;
